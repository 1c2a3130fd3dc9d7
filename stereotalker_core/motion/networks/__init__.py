"""The language prior and the denoiser."""
