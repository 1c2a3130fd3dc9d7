"""Example people: strands, skin, cloth and light for one picture at a time."""
