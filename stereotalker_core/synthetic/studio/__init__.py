"""Example people, one picture at a time: strands of hair, skin, cloth and light."""
