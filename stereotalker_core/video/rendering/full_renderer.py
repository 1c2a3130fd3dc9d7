"""The full profile's renderer: public weights behind the interface of `Renderer`, drawn by the same `render_video`.

It differs where the public recipes differ: the portrait's token comes from CLIP, guides are what the checkpoint was
trained on, every frame has a noise of its own, steps are zero-SNR DDIM with guidance over context windows.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ...body.model import HalfBody, Rest
from ...records import Cameras, Guides, Motion, Regions
from ..guides.maps import GUIDE_BLOCK, guide_tensor
from ..guides.skeleton_drawing import draw_skeleton
from ..networks.image_encoder import ImageEncoder
from ..networks.mask import MaskPredictor
from ..networks.public_autoencoder import PublicAutoencoder
from ..networks.reference import ReferenceNet
from ..networks.unet import Condition, StereoTalkerUNet
from .clip import DECODE_PUBLIC
from .contexts import ContextWindows
from .guidance import sample_guided
from .render import Portrait, Renderer

_DRAWING = 3 * GUIDE_BLOCK**2  # channels of the drawing, packed to the size of the other maps


@dataclass(frozen=True)
class FullRenderer(Renderer):
    """unet with prediction "v" or "epsilon", vae a PublicAutoencoder; mask predictor and experts as in nano.

    guidance 1 = none, 3.5 = AnimateAnyone's. windows: of the motion modules. tile: side in latents of decoded tiles,
    None = whole pictures. longest: frames that share one denoising run; longer videos are cross-faded. on_step(done of
    1.0) runs after every step of such a run; what it raises stops the rendering.
    """

    unet: StereoTalkerUNet
    reference: ReferenceNet
    vae: PublicAutoencoder
    mask_predictor: MaskPredictor
    image_encoder: ImageEncoder | None = field(default=None, kw_only=True)
    guidance: float = field(default=3.5, kw_only=True)
    windows: ContextWindows = field(default_factory=ContextWindows, kw_only=True)
    tile: int | None = field(default=None, kw_only=True)
    longest: int = field(default=240, kw_only=True)
    on_step: Callable[[float], None] | None = field(default=None, kw_only=True)
    steadies: ClassVar[bool] = False  # frames are the public recipe's
    default_mode: ClassVar[str] = "diffusion"

    def __post_init__(self) -> None:
        config = self.unet.config
        if config.prediction == "residual":
            raise ValueError("this renderer samples 'v' and 'epsilon' networks; use Renderer for a 'residual' one")
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
        return self.unet.unet.conv_in.weight.dtype

    @property
    def longest_window(self) -> int:
        return self.longest

    def autocast(self) -> AbstractContextManager:
        """None: the networks run in the dtype they were loaded in."""
        return nullcontext()

    def compiled(self, backend: str = "inductor") -> "FullRenderer":
        """The same renderer whose denoiser torch.compile translates at its first call (minutes; then faster).

        backend: torch.compile's; "inductor" needs a C++ compiler on the CPU, Triton on a GPU.
        """
        self.unet.unet.compile(backend=backend)
        return self

    def channels_last(self) -> "FullRenderer":
        """Convolution weights in the layout that GPUs (and CPUs) convolve fastest in."""
        for network in (self.unet, self.reference, self.vae):
            network.to(memory_format=torch.channels_last)
        return self

    def encode_portrait(self, image: Tensor) -> Portrait:
        """Portrait (1, 3, H, W) in [-1, 1], framed like the frames -> token, and the reference keys and values."""
        with torch.no_grad():
            tokens = self.image_encoder(image).to(self.dtype)
            bank = self.reference(self.vae.encode(image).to(self.dtype), tokens)
            return Portrait(tokens, self.unet.cache_reference(bank))

    def guide(self, body: HalfBody, rest: Rest, motion: Motion, cameras: Cameras, guides: Guides) -> Tensor:
        """The maps that the mask predictor reads, and behind them the drawing where the checkpoint wants one."""
        maps = guide_tensor(guides)
        if self.unet.config.guides == "maps":
            return maps
        drawing = draw_skeleton(body, body.pose(rest, motion.rotations, motion.expression), cameras)
        return torch.cat([maps, F.pixel_unshuffle((drawing + 1) / 2, GUIDE_BLOCK)], 1)

    def pose_input(self, guide: Tensor) -> Tensor:
        """What the pose guider wants, out of `guide`: maps (T, 131, H/4, W/4) or RGB (T, 3, H, W) in [0, 1]."""
        if self.unet.config.guides == "maps":
            return guide
        return F.pixel_shuffle(guide[:, -_DRAWING:], GUIDE_BLOCK)

    def predict_regions(self, guides: Guides, guide: Tensor, predicted: bool = True) -> Regions:
        maps = guide if self.unet.config.guides == "maps" else guide[:, :-_DRAWING]
        return super().predict_regions(guides, maps, predicted)

    def noise(self, size: tuple[int, int], seed: int, frames: range = range(1)) -> Tensor:
        """(T, C, H/8, W/8): every frame's noise depends on the seed and the frame's number alone."""
        shape = (self.unet.config.latent_channels, size[0] // 8, size[1] // 8)
        parts = []
        for frame in frames:
            generator = torch.Generator().manual_seed((seed * 1_000_003 + frame) % 2**63)
            parts.append(torch.randn(shape, generator=generator))
        return torch.stack(parts).to(self.device)

    def denoise(
        self, guides: Guides, guide: Tensor, regions: Regions, portrait: Portrait, noise: Tensor, steps: int,
        motion: bool = True,
    ) -> Tensor:  # fmt: skip
        """Guides of T frames -> clean latents (T, C, h, w) float32. motion False: frames as independent images."""
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
        report = self.on_step and (lambda step, steps: self.on_step(step / steps))
        return sample_guided(
            self.unet, noise, cond, steps=steps, scale=self.guidance, windows=windows, callback=report
        )

    def decode(self, latents: Tensor, guide: Tensor) -> Tensor:
        """Latents (T, C, h, w) -> frames (T, 3, H, W) in [-1, 1]; the guide is not used."""
        with torch.no_grad():
            parts = [self.vae.decode(part, tile=self.tile) for part in latents.split(DECODE_PUBLIC)]
            return torch.cat(parts).clamp(-1, 1)

    def with_guidance(self, guidance: float) -> "FullRenderer":
        """The same renderer with another strength of the portrait (1 = one pass a step instead of two)."""
        return replace(self, guidance=guidance)
