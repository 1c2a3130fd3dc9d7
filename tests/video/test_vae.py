import pytest
import torch
import torch.nn.functional as F

from stereotalker_core import checkpoint
from stereotalker_core.video.vae import AutoencoderConfig, TinyAutoencoder

CONFIG = AutoencoderConfig(4, 8, 8, 8, groups=4)


def test_shapes_and_normalised_latents():
    vae = TinyAutoencoder(CONFIG)
    image = torch.rand(2, 3, 64, 128) * 2 - 1
    vae.mean.fill_(0.3)
    vae.std.fill_(2.0)
    z = vae.encode(image)
    assert z.shape == (2, 4, 8, 16)
    torch.testing.assert_close(vae.denormalise(z), vae.raw_latents(image))
    assert vae.decode(z).shape == image.shape
    assert vae.decode(z, torch.randn(2, 131, 16, 32)).shape == image.shape


def test_new_guided_decoder_returns_the_lift():
    vae = TinyAutoencoder(CONFIG)
    lift = torch.rand(1, 3, 32, 32) * 2 - 1
    guide = torch.cat([F.pixel_unshuffle(lift, 4), torch.randn(1, 83, 8, 8)], 1)
    torch.testing.assert_close(vae.decode(torch.randn(1, 4, 4, 4), guide), lift)


def test_odd_sizes_are_refused():
    with pytest.raises(ValueError, match="divisible by 8"):
        TinyAutoencoder(CONFIG).encode(torch.zeros(1, 3, 60, 64))


def test_checkpoint_round_trip(tmp_path):
    vae = TinyAutoencoder(CONFIG)
    vae.mean.fill_(0.25)
    checkpoint.save(vae, tmp_path / "v.safetensors", dtype=torch.float32)
    again = checkpoint.load(TinyAutoencoder, tmp_path / "v.safetensors")
    assert again.config == CONFIG
    for name, value in vae.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
