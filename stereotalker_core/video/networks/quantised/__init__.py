"""Networks of playback in 8-bit integers: convolutions, and the nano autoencoder made of them."""
