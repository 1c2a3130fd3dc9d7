"""Stage 2 for callers that own the sampling loop: the conditions of a clip, one denoising call, the decoder.

`render_video` streams windows and finishes each before the next. An external sampler needs the opposite order: all
frames at one noise level, then the next level. `ClipConditions` hold what both need; `denoise_clip` runs a renderer's
windows inside one call, and `decode_clip` composites as the stream does: one step gives the same frames. Differences
between profiles are left to the renderer."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ...body.model import HalfBody
from ...records import Cameras, Identity, Motion, Regions
from ...shapes import REGIONS, dims, joined, size_of
from ..guides.layout import GUIDE_BLOCK, GuideLayout
from ..guides.loose_hair import LooseHair
from ..guides.maps import background_plate, render_guides, skin_of
from ..networks.experts import Experts
from ..networks.unet import Condition
from .bundle import channels_last
from .composite import composite, with_strands
from .renderer import PortraitFeatures, RenderedChunk, Renderer
from .steady import steadied

_TOGETHER = 16  # frames whose guides are drawn together


@dataclass(frozen=True, eq=False)
class ClipConditions:
    """The inputs that all denoising calls of a clip of T frames share, and what decoding needs.

    guide: (T, G, H/4, W/4) in half precision, as from `Renderer.keep`; for a denoiser that reads drawings, the drawing
        (T, 3, H, W) as bytes.
    regions: (T, P, H, W) in half precision: background, body, face and hands.
    lift: (T, C, h, w) the portrait projected onto the body, encoded.
    yaw: (T,) degrees.
    portrait: (1, C, h, w) encoded, framed as on the canvas.
    tokens: (1, n, D) the portrait's image embedding, for a denoiser that reads one.
    reads: what the denoiser reads as guides, "maps" (of the posed body) or "openpose" (skeleton drawings).
    strands: (T, 4, H, W) in half precision, the loose hair behind the person (`LooseHair.layer`); None for none."""

    guide: Tensor
    regions: Tensor
    lift: Tensor
    yaw: Tensor
    portrait: Tensor
    tokens: Tensor | None = None
    reads: str = "maps"
    strands: Tensor | None = None

    def __len__(self) -> int:
        return len(self.yaw)

    @property
    def person(self) -> Tensor:
        """Return the person's alpha (T, 1, H, W)."""
        return Regions(self.regions.float()).person


def clip_bytes(size: tuple[int, int]) -> float:
    """Return the main memory per frame of a clip of size (H, W), in bytes."""
    return size[0] * size[1] * 2 * (GuideLayout().channels / GUIDE_BLOCK**2 + len(REGIONS) + 4)


@torch.no_grad()
def prepare_clip(
    body: HalfBody,
    renderer: Renderer,
    identity: Identity,
    motion: Motion,
    cameras: Cameras,
    callback: Callable[[int, Tensor], None] | None = None,
    predicted: bool = True,
) -> ClipConditions:
    """Return the guides, regions and encoded lift of all frames, computed on the records' device and kept on the CPU.

    body: the half body.
    renderer: its autoencoder and mask predictor are used, its denoiser is not.
    identity: the person.
    motion, cameras: T frames each.
    callback: called with (frames done, lift of the last one (3, H, W)).
    predicted: regions by the mask predictor, else the fitted body's silhouette.

    ValueError where motion and cameras differ in length, or a side is no multiple of 64."""
    if len(motion) != len(cameras) or not len(motion):
        raise ValueError(f"motion has {len(motion)} frames, cameras {len(cameras)}; they must agree and not be empty")
    if any(side % 64 or side < 64 for side in cameras.size):
        rows, columns = cameras.size
        raise ValueError(
            f"latents for a sampler need sides that are multiples of 64, got {columns}x{rows}; Render Video and Stereo-"
            "Talker take any multiple of 8"
        )
    rest = body.rest(identity.shape[None], identity.shell[None])
    parts: list[tuple[Tensor, ...]] = []
    strands: list[Tensor] = []
    hair = LooseHair(body, identity)
    skin = skin_of(body, identity, cameras, background_plate(identity, cameras, continued=True))
    for start in range(0, len(motion), _TOGETHER):
        frames = slice(start, start + _TOGETHER)
        seen = render_guides(body, identity, motion[frames], cameras[frames], rest, skin)
        performed = identity.performed(motion[frames])
        guide = renderer.guide(body, rest, performed, cameras[frames], seen)
        regions = renderer.predict_regions(seen, guide, predicted).masks
        lift = renderer.encode(seen.lift).float().cpu()
        parts.append((renderer.keep(guide).cpu(), regions.half().cpu(), lift, seen.yaw.cpu()))
        if (layer := hair.layer(performed, cameras[frames])) is not None:
            strands.append(layer.half().cpu())
        if callback:
            callback(start + len(seen), seen.lift[-1])
    framed = background_plate(replace(identity, background=identity.portrait), cameras)[None]
    tokens = renderer.portrait_tokens(framed)
    return ClipConditions(
        *(joined(list(column)) for column in zip(*parts, strict=True)),
        portrait=renderer.encode(framed).float().cpu(),
        tokens=None if tokens is None else tokens.float().cpu(),
        reads=renderer.reads,
        strands=joined(strands) if strands else None,
    )


@torch.no_grad()
def read_portrait(renderer: Renderer, clip: ClipConditions) -> PortraitFeatures:
    """Return the clip's portrait as tokens and reference keys and values, once per sampling run.

    ValueError where the clip was prepared for a denoiser of another kind."""
    if clip.reads != renderer.reads or (clip.tokens is None) != renderer.makes_tokens:
        kind = "drawings" if renderer.reads == "openpose" else "maps"
        raise ValueError(f"this conditioning was made with another VAE: the MODEL reads {kind}; take both from one set")
    if clip.portrait.shape[1] != renderer.latent_channels:
        raise ValueError(f"latents of {clip.portrait.shape[1]} channels, the MODEL has {renderer.latent_channels}")
    return renderer.read_portrait(clip.portrait.to(renderer.device), clip.tokens)


def without_portrait(portrait: PortraitFeatures) -> PortraitFeatures:
    """Return the unconditional features for classifier-free guidance: zero tokens, no reference."""
    return PortraitFeatures(torch.zeros_like(portrait.tokens), {})


@torch.no_grad()
def denoise_clip(
    renderer: Renderer,
    experts: tuple[tuple[Experts, float], ...],
    clip: ClipConditions,
    portrait: PortraitFeatures,
    x: Tensor,
    sigma: float,
    callback: Callable[[int], None] | None = None,
) -> Tensor:
    """Denoise latents (T, C, h, w) of all frames at one noise level -> clean latents, window by window.

    renderer: the networks.
    experts: (module, factor on its output) pairs.
    clip: the conditions.
    portrait: its features, from `read_portrait`.
    x: (T, C, h, w) noisy.
    sigma: noise level in [0, 1].
    callback: called with the number of frames done.

    ValueError where x has another length than the clip."""
    if len(x) != len(clip):
        raise ValueError(f"{len(x)} latents for a clip of {len(clip)} frames; they belong together")
    dims(x, "T C h w", C=renderer.latent_channels, h=clip.lift.shape[-2], w=clip.lift.shape[-1])

    def condition(index: Tensor) -> Condition:
        return Condition(
            guide=channels_last(renderer.shown(clip.guide[index].to(x.device))),
            tokens=portrait.tokens,
            yaw=clip.yaw[index].to(x.device),
            lift=clip.lift[index].to(x.device),
            reference=portrait.reference,
            regions=clip.regions[index].to(x.device).float(),
            experts=experts,
            clip_length=len(index),
        )

    return renderer.denoise_level(x, sigma, condition, callback)


@torch.no_grad()
def decode_clip(
    renderer: Renderer, clip: ClipConditions, latents: Tensor, plate: Tensor, drawn: bool = False
) -> Iterator[RenderedChunk]:
    """Decode clean latents (T, C, h, w) -> frames over a background, a few at a time.

    renderer: the networks.
    clip: the conditions of the T frames.
    latents: (T, C, h, w), ValueError for another length.
    plate: background (1 or T, 3, H, W) in [-1, 1].
    drawn: whether the plate is the portrait's own background, over which the networks drew."""
    if len(latents) != len(clip):
        raise ValueError(f"{len(latents)} latents for a clip of {len(clip)} frames; keep them together")
    done = 0
    for values in _steadied(renderer, clip, latents):
        now = slice(done, done + len(values))
        done += len(values)
        behind = (plate[now] if len(plate) > 1 else plate).to(values.device)
        strands = None if clip.strands is None else clip.strands[now].to(values)
        picture = composite(values[:, :3], values[:, 3:], behind, drawn, strands)
        yield RenderedChunk(picture, with_strands(values[:, 3:], strands))


def _steadied(renderer: Renderer, clip: ClipConditions, latents: Tensor) -> Iterator[Tensor]:
    """Yield picture and alpha (t, 4, H, W) of the clip, a few frames at a time, steadied over time if the profile does
    so.

    Arguments as in `decode_clip`."""
    parts = _decoded(renderer, clip, latents)
    if not renderer.steadies:
        return (values for values, _ in parts)
    layout = GuideLayout.of_channels(clip.guide.shape[1])
    return steadied((values, layout.map_of(guide, "lift")) for values, guide in parts)


def _decoded(renderer: Renderer, clip: ClipConditions, latents: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Decode the clip a few frames at a time: yield (picture and alpha (t, 4, H, W), the clip's `guide` of these
    frames).

    Arguments as in `decode_clip`."""
    together = renderer.decoded_together(size_of(clip.regions))
    for start in range(0, len(clip), together):
        frames = slice(start, start + together)
        guide = clip.guide[frames].to(latents.device).float()
        picture = renderer.decode(latents[frames], guide)
        alpha = Regions(clip.regions[frames].to(latents.device).float()).person
        yield torch.cat([picture, alpha], 1), guide
