"""U-Net, experts, reference, mask, autoencoders."""
