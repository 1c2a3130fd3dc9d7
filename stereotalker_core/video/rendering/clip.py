"""Stage 2 for callers that own the sampling loop: what a clip is conditioned on, one denoising call, the decoder.

`render_video` streams windows and finishes each before the next. A sampler from outside wants the opposite order, all
frames at one noise level, then the next level. A `Clip` holds what both need; `denoise_clip` runs the same windows with
the same cross-fade inside one call, and `decode_clip` composites as the stream does: one step gives the same frames.

Renderers of the full profile go the same way: their `Clip` holds the drawing that their pose guider was trained on and
the image embedding of the portrait, and their windows are averaged instead of cross-faded.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ...body.model import HalfBody, Rest
from ...precision import rendering_precision
from ...records import Cameras, Identity, Motion, Regions
from ...shapes import REGIONS, dims, frames_together, joined
from ..guides.maps import GUIDE_BLOCK, background_plate, guide_tensor, render_guides, skin_of
from ..guides.skeleton_drawing import draw_skeleton
from ..networks.experts import Experts
from ..networks.image_encoder import ImageEncoder
from ..networks.mask import MaskPredictor
from ..networks.public_autoencoder import PublicAutoencoder
from ..networks.reference import ReferenceNet
from ..networks.unet import Condition, StereoTalkerUNet
from ..networks.vae import TinyAutoencoder
from .composite import composite
from .contexts import ContextWindows, averaged
from .render import Portrait, RenderedChunk, cross_fade, decoded_together, windows
from .steady import steadied

WINDOW, OVERLAP = 16, 2  # frames that see each other, and those that neighbouring windows share
DECODE_PUBLIC = 2  # frames that a public autoencoder decodes together: it needs more memory than the denoiser
Autoencoder = TinyAutoencoder | PublicAutoencoder


@dataclass(frozen=True, eq=False)
class Clip:
    """Conditions of T frames: guide (T, G, H/4, W/4) and regions (T, P, H, W) in half precision, lift (T, C, h, w)
    encoded, yaw (T,) degrees, portrait (1, C, h, w) encoded as the canvas frames it.

    For a denoiser that reads drawings guide is the drawing, (T, 3, H, W) bytes; for one that reads an image embedding
    tokens (1, n, D) is that of the portrait.
    """

    guide: Tensor
    regions: Tensor
    lift: Tensor
    yaw: Tensor
    portrait: Tensor
    tokens: Tensor | None = None

    def __len__(self) -> int:
        return len(self.yaw)

    @property
    def person(self) -> Tensor:
        """(T, 1, H, W) alpha of the person."""
        return Regions(self.regions.float()).person


def clip_bytes(size: tuple[int, int], guide_channels: int = 131) -> float:
    """Main memory a frame of a Clip takes, in bytes."""
    return size[0] * size[1] * 2 * (guide_channels / 16 + len(REGIONS))


def autocast(device: torch.device, public: bool = False) -> AbstractContextManager:
    """bf16 where it is faster on this CPU, as `Renderer` computes. public networks keep their own dtype."""
    return nullcontext() if public else rendering_precision(device)


@torch.no_grad()
def prepare_clip(
    body: HalfBody,
    vae: Autoencoder,
    predictor: MaskPredictor | None,
    identity: Identity,
    motion: Motion,
    cameras: Cameras,
    callback: Callable[[int, Tensor], None] | None = None,
    *,
    guides: str = "maps",
    image_encoder: ImageEncoder | None = None,
) -> Clip:
    """Guides, regions and encoded lift of all frames, computed on the records' device and kept on the CPU.

    predictor None takes the fitted body's own silhouette. callback(frames done, lift of the last one (3, H, W)).
    guides: what the denoiser reads, "maps" or "openpose". image_encoder: of a denoiser that reads image embeddings.
    ValueError where motion and cameras disagree in length, or a side is no multiple of 64.
    """
    if len(motion) != len(cameras) or not len(motion):
        raise ValueError(f"motion has {len(motion)} frames, cameras {len(cameras)}; they must agree and not be empty")
    if any(side % 64 or side < 64 for side in cameras.size):
        rows, columns = cameras.size
        raise ValueError(
            f"latents for a sampler need sides that are multiples of 64, got {columns}x{rows}; Render Video and Stereo-"
            "Talker take any multiple of 8"
        )
    rest = body.rest(identity.shape[None], identity.shell[None])
    masks = predictor or MaskPredictor.for_parts(body.part_names).to(motion.rotations.device)
    public = isinstance(vae, PublicAutoencoder)
    parts: list[tuple[Tensor, ...]] = []
    plate = background_plate(identity, cameras, continued=True)
    skin = skin_of(body, identity, cameras, plate)
    for start in range(0, len(motion), WINDOW):
        frames = slice(start, start + WINDOW)
        seen = render_guides(body, identity, motion[frames], cameras[frames], rest, skin)
        maps = guide_tensor(seen, len(body.part_names))
        with autocast(maps.device, public):
            regions = masks.predict(seen, maps).masks if predictor else masks.silhouette(seen.part)
            lift = _encode(vae, seen.lift)
        if guides == "maps":
            guide = maps.half()
        else:
            guide = _drawing(body, rest, identity.performed(motion[frames]), cameras[frames])
        parts.append((guide.cpu(), regions.half().cpu(), lift, seen.yaw.cpu()))
        if callback:
            callback(start + len(seen), seen.lift[-1])
    framed = background_plate(replace(identity, background=identity.portrait), cameras)[None]
    with autocast(framed.device, public):
        portrait = _encode(vae, framed)
    tokens = None if image_encoder is None else image_encoder(framed).float().cpu()
    return Clip(*(joined(column) for column in zip(*parts, strict=True)), portrait, tokens)


def _encode(vae: Autoencoder, images: Tensor) -> Tensor:
    together = DECODE_PUBLIC if isinstance(vae, PublicAutoencoder) else frames_together(*images.shape[-2:])
    return torch.cat([vae.encode(_channels_last(part)).float().cpu() for part in images.split(together)])


def _drawing(body: HalfBody, rest: Rest, motion: Motion, cameras: Cameras) -> Tensor:
    """(T, 3, H, W) bytes: the common OpenPose drawing."""
    drawing = draw_skeleton(body, body.pose(rest, motion.rotations, motion.expression), cameras)
    return ((drawing + 1) * 127.5).round().byte()


@torch.no_grad()
def read_portrait(unet: StereoTalkerUNet, reference: ReferenceNet, clip: Clip) -> Portrait:
    """The clip's portrait as tokens, reference keys and values: once a sampling run.

    ValueError where the clip was made for a denoiser of another kind.
    """
    config = unet.config
    drawn, kind = clip.guide.dtype == torch.uint8, "drawings" if config.guides == "openpose" else "maps"
    if drawn != (config.guides == "openpose") or (clip.tokens is None) == (config.tokens == 0):
        raise ValueError(f"this conditioning was made with another VAE: the MODEL reads {kind}; take both from one set")
    if clip.portrait.shape[1] != config.latent_channels:
        raise ValueError(f"latents of {clip.portrait.shape[1]} channels, the MODEL has {config.latent_channels}")
    weight = unet.unet.conv_in.weight
    public = config.tokens == 0
    z = clip.portrait.to(weight.device, weight.dtype)
    with autocast(weight.device, public):
        tokens = clip.tokens.to(weight.device, weight.dtype) if public else unet.portrait_tokens(z)
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
    context: ContextWindows | None = None,
) -> Tensor:
    """Noisy latents (T, C, h, w) of all frames at one noise level in [0, 1] -> clean latents, window by window.

    Neighbouring windows share `OVERLAP` frames, cross-faded; with a `context` windows are its own and averaged.
    callback(frames done). ValueError for another length.
    """
    if len(x) != len(clip):
        raise ValueError(f"{len(x)} latents for a clip of {len(clip)} frames; they belong together")
    dims(x, "T C h w", C=unet.config.latent_channels, h=clip.lift.shape[-2], w=clip.lift.shape[-1])
    if context is not None:

        def denoise(index: Tensor) -> Tensor:
            found = unet(x[index], sigma, _condition(unet, experts, clip, portrait, index.cpu(), x.device)).float()
            if callback:
                callback(int(index.max()) + 1)
            return found

        return averaged(denoise, len(x), context, str(x.device))
    clean = torch.empty_like(x, dtype=torch.float32)
    done = 0
    for start, end in windows(len(x), WINDOW, OVERLAP):
        frames = slice(start, end)
        cond = _condition(unet, experts, clip, portrait, torch.arange(start, end), x.device)
        with autocast(x.device):
            found = unet(x[frames], sigma, cond).float()
        known = max(0, done - start)
        if known:
            found = torch.cat([cross_fade(clean[start:done], found[:known]), found[known:]])
        clean[frames], done = found, end
        if callback:
            callback(done)
    return clean


def _condition(unet, experts, clip: Clip, portrait: Portrait, index: Tensor, device: torch.device) -> Condition:
    """What the denoiser is told of some frames of a clip."""
    guide = clip.guide[index].to(device)
    drawn = guide.dtype == torch.uint8
    kind = unet.unet.conv_in.weight.dtype if unet.config.tokens == 0 else torch.float32
    return Condition(
        guide=_channels_last((guide.float() / 255 if drawn else guide.float()).to(kind)),
        tokens=portrait.tokens,
        yaw=clip.yaw[index].to(device),
        lift=clip.lift[index].to(device),
        reference=portrait.reference,
        regions=clip.regions[index].to(device).float(),
        experts=experts,
        clip_length=len(index),
    )


@torch.no_grad()
def decode_clip(
    vae: Autoencoder, clip: Clip, latents: Tensor, plate: Tensor, tile: int | None = None, drawn: bool = False
) -> Iterator[RenderedChunk]:
    """Clean latents (T, C, h, w) -> frames over the background plate (1 or T, 3, H, W), a few at a time.

    tile: side in latents of the tiles that a public autoencoder decodes; None = whole pictures. drawn: the plate is the
    portrait's own background, as the guides show it.
    """
    if len(latents) != len(clip):
        raise ValueError(f"{len(latents)} latents for a clip of {len(clip)} frames; keep them together")
    done = 0
    for values in _steadied(vae, clip, latents, tile):
        now = slice(done, done + len(values))
        done += len(values)
        behind = (plate[now] if len(plate) > 1 else plate).to(values.device)
        yield RenderedChunk(composite(values[:, :3], values[:, 3:], behind, drawn), values[:, 3:])


def _steadied(vae: Autoencoder, clip: Clip, latents: Tensor, tile: int | None) -> Iterator[Tensor]:
    """Picture and alpha (t, 4, H, W), steadied as the stream does it: not of sets with a public recipe."""
    parts = _decoded(vae, clip, latents, tile)
    if isinstance(vae, PublicAutoencoder) or clip.guide.dtype == torch.uint8:
        return (values for values, _ in parts)
    return steadied((values, F.pixel_shuffle(guide[:, : 3 * GUIDE_BLOCK**2], GUIDE_BLOCK)) for values, guide in parts)


def _decoded(vae: Autoencoder, clip: Clip, latents: Tensor, tile: int | None) -> Iterator[tuple[Tensor, Tensor]]:
    """Picture and alpha (t, 4, H, W) of a few frames, and their guide."""
    public = isinstance(vae, PublicAutoencoder)
    together = DECODE_PUBLIC if public else decoded_together(clip.regions.shape[-2:])
    for start in range(0, len(clip), together):
        frames = slice(start, start + together)
        guide = clip.guide[frames].to(latents.device).float()
        with autocast(latents.device, public):
            if public:
                picture = vae.decode(latents[frames], tile=tile)
            else:
                picture = vae.decode(latents[frames], _channels_last(guide))
        alpha = Regions(clip.regions[frames].to(latents.device).float()).person
        yield torch.cat([picture.float().clamp(-1, 1), alpha], 1), guide


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
