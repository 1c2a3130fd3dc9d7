import pytest
import torch
import torch.nn.functional as F

from stereotalker_core import checkpoint
from stereotalker_core.video.networks.vae import AutoencoderConfig, TinyAutoencoder, binomial_blur

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


def test_sharpening_adds_what_a_blur_takes_where_the_portrait_shows():
    vae = TinyAutoencoder(AutoencoderConfig(4, 8, 8, 8, groups=4, sharpen=0.5)).eval()
    lift, visible = torch.rand(1, 3, 32, 32) * 2 - 1, (torch.rand(1, 1, 32, 32) > 0.5).float()
    maps = torch.cat([lift, torch.zeros(1, 3, 32, 32), visible * 2 - 1], 1)
    guide = torch.cat([F.pixel_unshuffle(maps, 4), torch.randn(1, 19, 8, 8)], 1)
    kernel = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]) / 16
    padded = F.pad(lift, (1, 1, 1, 1), mode="replicate")
    blurred = torch.zeros_like(lift)
    for y in range(3):
        for x in range(3):
            blurred += kernel[y, x] * padded[..., y : y + 32, x : x + 32]
    torch.testing.assert_close(binomial_blur(lift), blurred)
    torch.testing.assert_close(vae.decode(torch.randn(1, 4, 4, 4), guide), lift + 0.5 * visible * (lift - blurred))


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
