"""A third profile is one class; a guide map more is one row of `layout.MAPS`."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from stereotalker_core.records import Regions
from stereotalker_core.video.guides import layout
from stereotalker_core.video.guides.layout import GuideLayout, GuideMap
from stereotalker_core.video.guides.maps import guide_tensor, render_guides
from stereotalker_core.video.networks.mask import MaskPredictor
from stereotalker_core.video.networks.vae import AutoencoderConfig, TinyAutoencoder
from stereotalker_core.video.rendering.clip import decode_clip, denoise_clip, prepare_clip, read_portrait
from stereotalker_core.video.rendering.nano import NanoRenderer
from stereotalker_core.video.rendering.profiles import assemble
from stereotalker_core.video.rendering.render import render_video
from stereotalker_core.video.rendering.renderer import PortraitFeatures
from tests.video import samples
from tests.video.rendering.test_render import BODY, body, cameras, identity, motion  # noqa: F401

FRAMES, SIZE = 5, 64


@dataclass(frozen=True)
class Averages:
    """A profile whose latents are an eighth of the picture, and whose denoiser subtracts the noise that it knows of."""

    modes: ClassVar[tuple[str, ...]] = ("diffusion",)
    steadies: ClassVar[bool] = False
    one_noise: ClassVar[bool] = True
    needs_guides: ClassVar[bool] = False
    makes_tokens: ClassVar[bool] = True
    can_denoise: ClassVar[bool] = True
    longest_window: ClassVar[int] = 16
    latent_channels: ClassVar[int] = 3
    latent_scale: ClassVar[float] = 1.0
    reads: ClassVar[str] = "maps"
    device: ClassVar[torch.device] = torch.device("cpu")

    def windowing(self, frames: int) -> tuple[int, int]:
        return 4, 1

    def reporting(self, on_step) -> "Averages":
        return self

    def guide(self, body, rest, motion, cameras, guides) -> Tensor:  # noqa: F811
        return guide_tensor(guides)

    def predict_regions(self, guides, guide, predicted=True) -> Regions:
        person = (guides.part > 0).float()
        return Regions(torch.cat([1 - person, person, 0 * person, 0 * person], 1))

    def encode(self, images: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(images, 8)

    def decode(self, latents: Tensor, guide) -> Tensor:
        return torch.nn.functional.interpolate(latents, scale_factor=8.0)

    def decoded_together(self, size) -> int:
        return 2

    def restore(self, guides, guide) -> Tensor:
        return self.decode(self.encode(guides.lift), guide)

    def encode_portrait(self, image: Tensor) -> PortraitFeatures:
        return self.read_portrait(self.encode(image), None)

    def portrait_tokens(self, image: Tensor) -> None:
        return None

    def read_portrait(self, latents: Tensor, tokens) -> PortraitFeatures:
        return PortraitFeatures(latents.mean((2, 3))[None], {})

    def noise(self, size, seed, frames=range(1)) -> Tensor:
        return torch.randn(1, 3, size[0] // 8, size[1] // 8, generator=torch.Generator().manual_seed(seed))

    def denoise(self, guides, guide, regions, portrait, noise, steps, motion=True) -> Tensor:  # noqa: F811
        return self.encode(guides.lift)

    def keep(self, guide: Tensor) -> Tensor:
        return guide.half()

    def shown(self, kept: Tensor) -> Tensor:
        return kept.float()

    def denoise_level(self, x, sigma, condition, callback=None) -> Tensor:
        return condition(torch.arange(len(x))).lift


def test_a_third_profile_renders(identity):  # noqa: F811
    """By the stream and by way of a sampler from outside, with the same frames."""
    renderer, plate = Averages(), torch.zeros(1, 3, SIZE, SIZE)
    options = {"background": plate[0], "window": 4, "overlap": 1, "use_predicted_mask": False}
    chunks = list(render_video(BODY, renderer, identity, motion(FRAMES), cameras(FRAMES), **options))
    frames = torch.cat([chunk.frames for chunk in chunks])
    assert frames.shape == (FRAMES, 3, SIZE, SIZE) and frames.isfinite().all() and frames.std() > 0.05
    clip = prepare_clip(BODY, renderer, identity, motion(FRAMES), cameras(FRAMES), predicted=False)
    portrait = read_portrait(renderer, clip)
    clean = denoise_clip(renderer, (), clip, portrait, torch.zeros_like(clip.lift), 1.0)
    found = torch.cat([chunk.frames for chunk in decode_clip(renderer, clip, clean, plate)])
    assert torch.allclose(found, frames, atol=1e-2)


def test_networks_choose_their_renderer():
    nano = samples.renderer()
    assert isinstance(assemble(nano.unet, nano.vae, reference=nano.reference, tile=3), NanoRenderer)
    with pytest.raises(ValueError, match="different renderers"):
        assemble(nano.unet, torch.nn.Identity())


def test_a_guide_map_more_is_one_row(monkeypatch, identity):  # noqa: F811
    """With a row for the depth, new networks read it, the old maps keep their places, and frames are drawn."""
    guides = render_guides(BODY, identity, motion(2), cameras(2))
    before = guide_tensor(guides)
    depth = GuideMap("depth", 1, lambda found: found.depth - 2)
    monkeypatch.setattr(layout, "MAPS", (*layout.MAPS, depth))
    made, after = GuideLayout(), guide_tensor(guides)
    assert made.channels == before.shape[1] + 16 == after.shape[1]
    torch.testing.assert_close(after[:, :112], before[:, :112])
    torch.testing.assert_close(after[:, made.labels], before[:, 112:])
    torch.testing.assert_close(made.map_of(after, "depth"), guides.depth - 2)
    predictor = MaskPredictor.for_parts(BODY.part_names, widths=(8, 8, 8))
    vae = TinyAutoencoder(AutoencoderConfig(4, 8, 8, 8, made.channels, sharpen=0.5))
    renderer = NanoRenderer(None, None, vae.eval(), predictor.eval())
    chunks = list(render_video(BODY, renderer, identity, motion(2), cameras(2), background=(0.5, 0.5, 0.5)))
    assert torch.cat([chunk.frames for chunk in chunks]).shape == (2, 3, SIZE, SIZE)
    moved = after.clone()
    moved[:, made.channels_of("depth")] += 1
    probe = torch.nn.init.normal_(vae.guided.out.weight)
    assert probe.any() and not torch.equal(renderer.decode(torch.zeros(2, 4, 8, 8), after),
                                           renderer.decode(torch.zeros(2, 4, 8, 8), moved))


def test_maps_are_asked_for_by_name():
    with pytest.raises(KeyError, match="no guide map 'heat'"):
        GuideLayout().channels_of("heat")
    with pytest.raises(ValueError, match="112 guide channels"):
        GuideLayout.of_channels(112)
    assert GuideLayout.of_channels(131) == GuideLayout(18) and GuideLayout().labels == slice(112, 131)
