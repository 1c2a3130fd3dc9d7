"""The portrait's pixels on the body: lift, light, fill."""
