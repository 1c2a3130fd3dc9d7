"""The full profile: public weights behind the same protocol as the nano ones, drawn by the same `render_video`.

It differs where the public recipes differ: the portrait's token comes from CLIP, guides are those the checkpoint was
trained on, every frame has its own noise, and steps are zero-SNR DDIM with guidance over context windows."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...body.model import HalfBody, Rest
from ...precision import channels_last_weights
from ...records import Cameras, Guides, Motion, Regions
from ..guides.layout import GUIDE_BLOCK
from ..guides.maps import guide_tensor
from ..guides.skeleton_drawing import draw_skeleton
from ..networks.contexts import ContextWindows, averaged_over_windows
from ..networks.guidance import sample_guided
from ..networks.image_encoder import ImageEncoder
from ..networks.public_autoencoder import PublicAutoencoder, PublicAutoencoderConfig
from ..networks.unet import Condition, StereoTalkerUNet
from .bundle import Bundle, channels_last
from .renderer import PortraitFeatures

DECODED_TOGETHER = 2  # frames that a public autoencoder takes at once: it needs more memory than the denoiser
_OVERLAP = 4  # frames that neighbouring denoising runs share
_DRAWING = 3 * GUIDE_BLOCK**2  # channels of the drawing, packed to the size of the other maps


@dataclass(frozen=True)
class PublicRenderer(Bundle):
    """The renderer with public weights: unet with prediction "v" or "epsilon", vae a PublicAutoencoder, others as in
    nano.

    guidance: 1 = none, 3.5 = AnimateAnyone's.
    windows: context windows of the motion modules.
    tile: side in latents of decoded tiles, None = whole pictures.
    longest: frames that share one denoising run; longer videos are cross-faded.
    on_step: called after every step with the finished fraction of a run; what it raises stops the rendering.
    steered_by: what the denoiser reads as guides, "maps" or "openpose" (skeleton drawings), where there is no U-Net to
        ask."""

    vae: PublicAutoencoder | None
    image_encoder: ImageEncoder | None = field(default=None, kw_only=True)
    guidance: float = field(default=3.5, kw_only=True)
    windows: ContextWindows = field(default_factory=ContextWindows, kw_only=True)
    tile: int | None = field(default=None, kw_only=True)
    longest: int = field(default=240, kw_only=True)
    on_step: Callable[[float], None] | None = field(default=None, kw_only=True)
    steered_by: str = field(default="maps", kw_only=True)
    modes: ClassVar[tuple[str, ...]] = ("diffusion",)
    steadies: ClassVar[bool] = False  # frames are as in the public programs
    one_noise: ClassVar[bool] = False
    needs_guides: ClassVar[bool] = False
    settings: ClassVar[tuple[str, ...]] = (
        "image_encoder", "guidance", "windows", "tile", "longest", "on_step", "steered_by"
    )  # fmt: skip

    @classmethod
    def fits(cls, unet: StereoTalkerUNet | None, vae: nn.Module | None) -> bool:
        """Tell whether these networks (None where absent) belong to this profile."""
        return (unet is None or unet.config.tokens == 0) and (vae is None or isinstance(vae, PublicAutoencoder))

    def __post_init__(self) -> None:
        if self.unet is None:
            return
        config = self.unet.config
        if config.prediction == "residual":
            raise ValueError("this renderer samples 'v' and 'epsilon' networks; use NanoRenderer for a 'residual' one")
        if self.vae is None:
            return
        if self.image_encoder is None:
            raise ValueError("give the image encoder of the set; the portrait's token comes from it")
        if self.image_encoder.config.out != config.cross_dim:
            raise ValueError(
                f"the image encoder gives {self.image_encoder.config.out} channels, the denoiser reads "
                f"{config.cross_dim}; take both from one set"
            )
        if self.windows.length > config.motion_length:
            raise ValueError(
                f"windows of {self.windows.length} frames; the motion modules reach {config.motion_length}"
            )

    @property
    def dtype(self) -> torch.dtype:
        """Return the dtype of the denoiser's weights."""
        return self.denoiser[0].unet.conv_in.weight.dtype

    @property
    def reads(self) -> str:
        """Return what the denoiser reads as guides: "maps" (of the posed body) or "openpose" (skeleton drawings)."""
        return self.steered_by if self.unet is None else self.unet.config.guides

    @property
    def makes_tokens(self) -> bool:
        """Return False: the portrait's token comes from the image encoder."""
        return False

    @property
    def latent_scale(self) -> float:
        """Return Stable Diffusion's latent scale, by which its programs divide latents before passing them on."""
        return PublicAutoencoderConfig.scale if self.vae is None else self.vae.config.scale

    @property
    def autoencoder(self) -> PublicAutoencoder:
        """Return the autoencoder. ValueError where there is none."""
        if self.vae is None:
            raise ValueError("this renderer was made without an autoencoder")
        return self.vae

    @property
    def longest_window(self) -> int:
        """Return the most frames that `denoise` can take at once."""
        return self.longest

    def windowing(self, frames: int) -> tuple[int, int]:
        """Return (window, overlap): as many frames in one run as memory allows."""
        run = min(frames, self.longest)
        return run, min(_OVERLAP, run - 1)

    def reporting(self, on_step: Callable[[float], None]) -> "PublicRenderer":
        """Return the same renderer, which calls on_step(fraction done) after every step of a run."""
        return replace(self, on_step=on_step)

    def channels_last(self) -> "PublicRenderer":
        """Convert the convolution weights to channels-last layout, in which convolutions are fastest -> self."""
        for network in (*self.denoiser, self.autoencoder):
            channels_last_weights(network)
        return self

    def encode(self, images: Tensor) -> Tensor:
        """Map images (N, 3, H, W) in [-1, 1] -> latents (N, C, H/8, W/8)."""
        with torch.no_grad():
            return torch.cat([self.autoencoder.encode(channels_last(few)) for few in images.split(DECODED_TOGETHER)])

    def encode_portrait(self, image: Tensor) -> PortraitFeatures:
        """Map a portrait (1, 3, H, W) in [-1, 1], framed like the frames -> its token, reference keys and values."""
        with torch.no_grad():
            return self.read_portrait(self.autoencoder.encode(image), self.portrait_tokens(image))

    def portrait_tokens(self, image: Tensor) -> Tensor:
        """Return the image embedding (1, n, D) of a portrait (1, 3, H, W). ValueError without an image encoder."""
        if self.image_encoder is None:
            raise ValueError("give the image encoder of the set; the portrait's token comes from it")
        with torch.no_grad():
            return self.image_encoder(image)

    def read_portrait(self, latents: Tensor, tokens: Tensor | None) -> PortraitFeatures:
        """Map the portrait's latents (1, C, h, w) and embedding (1, n, D) -> its token, reference keys and values."""
        unet, reference = self.denoiser
        if tokens is None:
            raise ValueError("the denoiser reads the portrait's image embedding")
        with torch.no_grad():
            tokens = tokens.to(latents.device, self.dtype)
            return PortraitFeatures(tokens, unet.cache_reference(reference(latents.to(self.dtype), tokens)))

    def guide(self, body: HalfBody, rest: Rest, motion: Motion, cameras: Cameras, guides: Guides) -> Tensor:
        """Return the guide tensor (T, G, H/4, W/4) of the maps, for the mask predictor; if the denoiser reads skeleton
        drawings, these follow as further channels.

        Arguments as in `Renderer.guide`."""
        maps = guide_tensor(guides)
        if self.reads == "maps":
            return maps
        drawing = draw_skeleton(body, body.pose(rest, motion.rotations, motion.expression), cameras)
        return torch.cat([maps, F.pixel_unshuffle((drawing + 1) / 2, GUIDE_BLOCK)], 1)

    def pose_input(self, guide: Tensor) -> Tensor:
        """Extract the pose guider's input from `guide`: maps (T, 131, H/4, W/4) or RGB (T, 3, H, W) in [0, 1]."""
        if self.reads == "maps":
            return guide
        return F.pixel_shuffle(guide[:, -_DRAWING:], GUIDE_BLOCK)

    def predict_regions(self, guides: Guides, guide: Tensor, predicted: bool = True) -> Regions:
        """Return the regions of T frames, by the mask predictor or (predicted False) from the fitted body's silhouette.
        """
        maps = guide if self.reads == "maps" else guide[:, :-_DRAWING]
        return super().predict_regions(guides, maps, predicted)

    def alpha(self, guides: Guides, guide: Tensor, predicted: bool = True) -> Tensor:
        """Return the person's alpha (T, 1, H, W), as part of `predict_regions`, whose arguments it takes."""
        return self.predict_regions(guides, guide, predicted).person.float()

    def noise(self, size: tuple[int, int], seed: int, frames: range = range(1)) -> Tensor:
        """Return noise (T, C, H/8, W/8); a frame's noise depends on the seed and the frame's number alone."""
        shape = (self.latent_channels, size[0] // 8, size[1] // 8)
        parts = []
        for frame in frames:
            generator = torch.Generator().manual_seed((seed * 1_000_003 + frame) % 2**63)
            parts.append(torch.randn(shape, generator=generator))
        return torch.stack(parts).to(self.device)

    def denoise(
        self, guides: Guides, guide: Tensor, regions: Regions, portrait: PortraitFeatures, noise: Tensor, steps: int,
        motion: bool = True,
    ) -> Tensor:  # fmt: skip
        """Denoise T frames -> clean latents (T, C, h, w) float32; arguments as in `NanoRenderer.denoise`.

        noise: (T, C, h, w), one per frame."""
        unet, _ = self.denoiser
        cond = Condition(
            guide=self.pose_input(guide).to(self.dtype),
            tokens=portrait.tokens,
            yaw=guides.yaw,
            reference=portrait.reference,
            regions=regions.masks.float(),
            experts=self.experts(),
            clip_length=len(guides),
        )
        windows = self.windows if motion else ContextWindows(1, 0)
        told = self.on_step
        report = told and (lambda step, steps: told(step / steps))
        return sample_guided(
            unet, noise, cond, steps=steps, scale=self.guidance, windows=windows, callback=report
        )

    def decode(self, latents: Tensor, guide: Tensor | None) -> Tensor:
        """Map latents (T, C, h, w) -> frames (T, 3, H, W) in [-1, 1]; guide: ignored."""
        with torch.no_grad():
            parts = [self.autoencoder.decode(few, tile=self.tile) for few in latents.split(DECODED_TOGETHER)]
            return torch.cat(parts).float().clamp(-1, 1)

    def decoded_together(self, size: tuple[int, int]) -> int:
        """Return how many frames the decoder takes at once, for any size."""
        return DECODED_TOGETHER

    def restore(self, guides: Guides, guide: Tensor) -> Tensor:
        """Return the frames (T, 3, H, W) without the denoiser: the lift, encoded and decoded."""
        return self.decode(self.encode(guides.lift), guide)

    def keep(self, guide: Tensor) -> Tensor:
        """Convert a guide to what is kept for a clip: maps in half precision, or the drawing (T, 3, H, W) as bytes."""
        return guide.half() if self.reads == "maps" else (self.pose_input(guide) * 255).round().byte()

    def shown(self, kept: Tensor) -> Tensor:
        """Convert a guide from `keep` to the pose guider's input, in the denoiser's dtype."""
        return (kept.float() if self.reads == "maps" else kept.float() / 255).to(self.dtype)

    def denoise_level(
        self, x: Tensor, sigma: float, condition: Callable[[Tensor], Condition],
        callback: Callable[[int], None] | None = None,
    ) -> Tensor:  # fmt: skip
        """Denoise latents (T, C, h, w) of all frames at one noise level -> clean ones; windows are averaged.

        x: noisy latents; sigma: noise level; condition: frame indices (n,) -> Condition; callback: called with frames
        done."""
        unet, _ = self.denoiser

        def denoise(index: Tensor) -> Tensor:
            found = unet(x[index], sigma, condition(index.cpu())).float()
            if callback:
                callback(int(index.max()) + 1)
            return found

        return averaged_over_windows(denoise, len(x), self.windows, str(x.device))
