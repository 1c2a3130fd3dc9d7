"""The networks of stage 2: U-Net, experts, reference, mask, autoencoders."""
