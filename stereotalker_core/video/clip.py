"""Stage 2 for callers that own the sampling loop: what a clip is conditioned on, one denoising call, the decoder.

`render_video` streams windows and finishes each before the next. A sampler from outside wants the opposite order, all
frames at one noise level, then the next level. A `Clip` holds what both need; `denoise_clip` runs the same windows with
the same cross-fade inside one call, and `decode_clip` composites as the stream does: one step gives the same frames.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..body.model import HalfBody
from ..records import Cameras, Identity, Motion, Regions
from ..shapes import REGIONS, dims
from .experts import Experts
from .guides import background_plate, guide_tensor, render_guides
from .mask import MaskPredictor
from .reference import ReferenceNet
from .render import DECODE, Portrait, RenderedChunk, composite, cpu_has_bf16, cross_fade, windows
from .unet import Condition, StereoTalkerUNet
from .vae import TinyAutoencoder

WINDOW, OVERLAP = 16, 4  # frames that see each other, and those that neighbouring windows share


@dataclass(frozen=True, eq=False)
class Clip:
    """Conditions of T frames: guide (T, G, H/4, W/4) and regions (T, P, H, W) in half precision, lift (T, C, h, w)
    encoded, yaw (T,) degrees, portrait (1, C, h, w) encoded as the canvas frames it."""

    guide: Tensor
    regions: Tensor
    lift: Tensor
    yaw: Tensor
    portrait: Tensor

    def __len__(self) -> int:
        return len(self.yaw)

    @property
    def person(self) -> Tensor:
        """(T, 1, H, W) alpha of the person."""
        return Regions(self.regions.float()).person


def clip_bytes(size: tuple[int, int], guide_channels: int = 131) -> float:
    """Main memory a frame of a Clip takes, in bytes."""
    return size[0] * size[1] * 2 * (guide_channels / 16 + len(REGIONS))


def autocast(device: torch.device) -> AbstractContextManager:
    """bf16 where the CPU has the instructions for it, as `Renderer` computes."""
    if device.type == "cpu" and cpu_has_bf16():
        return torch.autocast("cpu", torch.bfloat16)
    return nullcontext()


@torch.no_grad()
def prepare_clip(
    body: HalfBody,
    vae: TinyAutoencoder,
    predictor: MaskPredictor | None,
    identity: Identity,
    motion: Motion,
    cameras: Cameras,
    callback: Callable[[int, Tensor], None] | None = None,
) -> Clip:
    """Guides, regions and encoded lift of all frames, computed on the records' device and kept on the CPU.

    predictor None takes the fitted body's own silhouette. callback(frames done, lift of the last one (3, H, W)).
    ValueError where motion and cameras disagree in length, or a side is no multiple of 64.
    """
    if len(motion) != len(cameras) or not len(motion):
        raise ValueError(f"motion has {len(motion)} frames, cameras {len(cameras)}; they must agree and not be empty")
    if any(side % 64 or side < 64 for side in cameras.size):
        raise ValueError(f"the frame size must be multiples of 64, got {cameras.size[0]}x{cameras.size[1]}")
    rest = body.rest(identity.shape[None], identity.shell[None])
    masks = predictor or MaskPredictor.for_parts(body.part_names).to(motion.rotations.device)
    parts: list[tuple[Tensor, ...]] = []
    for start in range(0, len(motion), WINDOW):
        frames = slice(start, start + WINDOW)
        guides = render_guides(body, identity, motion[frames], cameras[frames], rest)
        guide = guide_tensor(guides, len(body.part_names))
        with autocast(guide.device):
            regions = masks.predict(guides, guide).masks if predictor else masks.silhouette(guides.part)
            lift = vae.encode(_channels_last(guides.lift))
        parts.append((guide.half().cpu(), regions.half().cpu(), lift.float().cpu(), guides.yaw.cpu()))
        if callback:
            callback(start + len(guides), guides.lift[-1])
    framed = background_plate(replace(identity, background=identity.portrait), cameras)
    with autocast(framed.device):
        portrait = vae.encode(_channels_last(framed[None])).float().cpu()
    return Clip(*(torch.cat(column) for column in zip(*parts, strict=True)), portrait)


@torch.no_grad()
def read_portrait(unet: StereoTalkerUNet, reference: ReferenceNet, clip: Clip) -> Portrait:
    """The clip's portrait as tokens, reference keys and values: once a sampling run."""
    device = next(unet.parameters()).device
    with autocast(device):
        z = clip.portrait.to(device)
        tokens = unet.portrait_tokens(z)
        return Portrait(tokens, unet.cache_reference(reference(z, tokens)))


def without_portrait(portrait: Portrait) -> Portrait:
    """The unconditional side of classifier-free guidance: zero tokens, no reference; guides and masks stay."""
    return Portrait(torch.zeros_like(portrait.tokens), {})


@torch.no_grad()
def denoise_clip(
    unet: StereoTalkerUNet,
    experts: tuple[tuple[Experts, float], ...],
    clip: Clip,
    portrait: Portrait,
    x: Tensor,
    sigma: float,
    callback: Callable[[int], None] | None = None,
) -> Tensor:
    """Noisy latents (T, C, h, w) of all frames at one noise level in [0, 1] -> clean latents, window by window.

    Neighbouring windows share `OVERLAP` frames, cross-faded. callback(frames done). ValueError for another length.
    """
    if len(x) != len(clip):
        raise ValueError(f"{len(x)} latents for a clip of {len(clip)} frames; they belong together")
    dims(x, "T C h w", C=unet.config.latent_channels, h=clip.lift.shape[-2], w=clip.lift.shape[-1])
    clean = torch.empty_like(x, dtype=torch.float32)
    done = 0
    for start, end in windows(len(x), WINDOW, OVERLAP):
        frames = slice(start, end)
        cond = Condition(
            guide=_channels_last(clip.guide[frames].to(x.device).float()),
            tokens=portrait.tokens,
            yaw=clip.yaw[frames].to(x.device),
            lift=clip.lift[frames].to(x.device),
            reference=portrait.reference,
            regions=clip.regions[frames].to(x.device).float(),
            experts=experts,
            clip_length=end - start,
        )
        with autocast(x.device):
            found = unet(x[frames], sigma, cond).float()
        known = max(0, done - start)
        if known:
            found = torch.cat([cross_fade(clean[start:done], found[:known]), found[known:]])
        clean[frames], done = found, end
        if callback:
            callback(done)
    return clean


@torch.no_grad()
def decode_clip(vae: TinyAutoencoder, clip: Clip, latents: Tensor, plate: Tensor) -> Iterator[RenderedChunk]:
    """Clean latents (T, C, h, w) -> frames over the background plate (1 or T, 3, H, W), a few at a time."""
    if len(latents) != len(clip):
        raise ValueError(f"{len(latents)} latents for a clip of {len(clip)} frames; keep them together")
    for start in range(0, len(clip), DECODE):
        frames = slice(start, start + DECODE)
        guide = _channels_last(clip.guide[frames].to(latents.device).float())
        with autocast(latents.device):
            picture = vae.decode(latents[frames], guide).float().clamp(-1, 1)
        alpha = Regions(clip.regions[frames].to(latents.device).float()).person
        behind = (plate[frames] if len(plate) > 1 else plate).to(latents.device)
        yield RenderedChunk(composite(picture, alpha, behind), alpha)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
