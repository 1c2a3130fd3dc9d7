"""Stage 2 as one call: identity + motion + cameras -> frames, few at a time, in memory that does not grow.

Mode "play" (`play`): guides, regions and the guided decoder of every frame. Mode "diffusion", as the paper has it:
1. Portrait: encoded once; its reference keys and values and its tokens serve every frame.
2. Per window: guides, regions, one pass of the denoiser per step, from one noise for the whole clip.
3. Neighbouring windows share `overlap` frames whose latents are cross-faded; every frame is decoded once.
Both:
4. The face pass, where it is asked for, draws the face's square again at a multiple of the size (`face_pass`).
5. Where the guides stand still, frames are averaged over time (`steady`), a few frames behind the windows.
6. Composite: the network's pixels inside the mask, the background outside.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor

from ... import checkpoint
from ...body.model import HalfBody, Rest
from ...camera.trajectories import checked_size
from ...precision import rendering_precision
from ...records import Cameras, Guides, Identity, Motion, Regions
from ...shapes import frames_together, joined
from ..guides.loops import warm_up
from ..guides.maps import background_plate, guide_tensor, join_guides, render_guides, skin_of
from ..networks.experts import MaskExperts, ViewExperts
from ..networks.mask import MaskPredictor
from ..networks.reference import ReferenceCache, ReferenceNet
from ..networks.unet import Condition, StereoTalkerUNet, sample
from ..networks.vae import TinyAutoencoder
from .composite import composite, resolve_background
from .face_pass import face_window, with_face
from .play import TOGETHER, played
from .ranges import needed, only, within
from .steady import steadied

logger = logging.getLogger(__name__)
_STEP = 64  # pixels that the networks halve down to one
MODES = ("play", "diffusion")


@dataclass(frozen=True)
class RenderedChunk:
    """Consecutive frames (t, 3, H, W) in [-1, 1] and the person's alpha (t, 1, H, W)."""

    frames: Tensor
    masks: Tensor


@dataclass(frozen=True)
class Portrait:
    """What the networks keep of a portrait: cross-attention tokens (1, n, D), reference keys and values."""

    tokens: Tensor
    reference: ReferenceCache


@dataclass(frozen=True)
class Renderer:
    """The networks of stage 2. Experts may be absent; their strength scales them, 0 equals the base model bitwise.

    Without unet and reference it plays, and cannot denoise.
    """

    unet: StereoTalkerUNet | None
    reference: ReferenceNet | None
    vae: TinyAutoencoder
    mask_predictor: MaskPredictor
    view_experts: ViewExperts | None = None
    mask_experts: MaskExperts | None = None
    view_strength: float = 1.0
    mask_strength: float = 1.0
    steadies: ClassVar[bool] = True  # frames are averaged where the guides stand still
    default_mode: ClassVar[str] = "play"

    @classmethod
    def load(
        cls, folder: str | Path, device: str = "cpu", dtype: torch.dtype = torch.float32, mode: str = "diffusion"
    ) -> "Renderer":
        """The six files of a folder, for mode "play" two; FileNotFoundError, ValueError: one is missing or wrong."""
        parts = {"vae": TinyAutoencoder, "mask_predictor": MaskPredictor}
        if checked_mode(mode) == "diffusion":
            parts |= {"unet": StereoTalkerUNet, "reference": ReferenceNet}
            parts |= {"view_experts": ViewExperts, "mask_experts": MaskExperts}
        folder = Path(folder)
        loaded = {k: checkpoint.load(c, folder / f"{k}.safetensors", device, dtype) for k, c in parts.items()}
        for module in loaded.values():
            module.requires_grad_(False).to(memory_format=torch.channels_last)
        warm_up()
        return cls(**({"unet": None, "reference": None} | loaded))

    @property
    def device(self) -> torch.device:
        return next(self.vae.parameters()).device

    def experts(self) -> tuple[tuple[ViewExperts | MaskExperts, float], ...]:
        """The experts that are loaded, with their strengths."""
        pairs = ((self.view_experts, self.view_strength), (self.mask_experts, self.mask_strength))
        return tuple((module, strength) for module, strength in pairs if module is not None)

    def autocast(self) -> AbstractContextManager:
        """bf16 where it is faster on this CPU; elsewhere the networks' own dtype."""
        return rendering_precision(self.device)

    def encode_portrait(self, image: Tensor) -> Portrait:
        """Portrait (1, 3, H, W) in [-1, 1], framed like the frames -> Portrait."""
        with torch.no_grad(), self.autocast():
            z = self._encode(image)
            tokens = self.unet.portrait_tokens(z)
            return Portrait(tokens, self.unet.cache_reference(self.reference(z, tokens)))

    def predict_regions(self, guides: Guides, guide: Tensor, predicted: bool = True) -> Regions:
        """Regions by the mask predictor, or the fitted body's own silhouette."""
        with torch.no_grad(), self.autocast():
            if predicted:
                return self.mask_predictor.predict(guides, guide)
            return Regions(self.mask_predictor.silhouette(guides.part))

    def denoise(
        self, guides: Guides, guide: Tensor, regions: Regions, portrait: Portrait, noise: Tensor, steps: int,
        motion: bool = True,
    ) -> Tensor:  # fmt: skip
        """Guides of T frames -> clean latents (T, C, h, w). noise (1, C, h, w), shared by all frames.

        motion False treats the frames as independent images (no temporal layers).
        """
        with torch.no_grad(), self.autocast():
            cond = Condition(
                guide=_channels_last(guide),
                tokens=portrait.tokens,
                yaw=guides.yaw,
                lift=self._encode(guides.lift),
                reference=portrait.reference,
                regions=regions.masks.float(),
                experts=self.experts(),
                clip_length=len(guides) if motion else None,
            )
            return sample(self.unet, noise.expand(len(guides), -1, -1, -1), cond, steps)

    def decode(self, latents: Tensor, guide: Tensor) -> Tensor:
        """Latents (T, C, h, w), guide tensor -> frames (T, 3, H, W) in [-1, 1]."""
        with torch.no_grad(), self.autocast():
            together = decoded_together((4 * guide.shape[-2], 4 * guide.shape[-1]))
            parts = zip(latents.split(together), guide.split(together), strict=True)
            return joined([self.vae.decode(few, _channels_last(seen)).float().clamp(-1, 1) for few, seen in parts])

    def restore(self, guides: Guides, guide: Tensor) -> Tensor:
        """Guides of T frames, guide tensor -> frames (T, 3, H, W) in [-1, 1], without the denoiser."""
        with torch.no_grad(), self.autocast():
            latents = self._encode(guides.lift)
        return self.decode(latents, guide)

    @property
    def longest_window(self) -> int:
        """Frames that `denoise` can take at once."""
        return self.unet.config.motion_length

    def guide(self, body: HalfBody, rest: Rest, motion: Motion, cameras: Cameras, guides: Guides) -> Tensor:
        """What `predict_regions`, `denoise` and `decode` are given of T frames: (T, G, H/4, W/4)."""
        return guide_tensor(guides, self.vae.config.guide_channels - 113)

    def noise(self, size: tuple[int, int], seed: int, frames: range = range(1)) -> Tensor:
        """(1, C, H/8, W/8) standard normal, the same on every device and for all `frames` of a clip."""
        shape = (1, self.unet.config.latent_channels, size[0] // 8, size[1] // 8)
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(self.device)

    def _encode(self, image: Tensor) -> Tensor:
        parts = image.split(frames_together(*image.shape[-2:]))
        return torch.cat([self.vae.encode(_channels_last(part)) for part in parts])


def decoded_together(size: tuple[int, int]) -> int:
    """Frames of size (H, W) that the nano decoder takes at once."""
    return min(TOGETHER, frames_together(*size))


def load_nano(device: str = "cpu", dtype: torch.dtype = torch.float32, mode: str = "diffusion") -> Renderer:
    """The renderer that ships with the package; for mode "play" without U-Net, reference network and experts."""
    return Renderer.load(checkpoint.NANO, device, dtype, mode)


def checked_mode(mode: str) -> str:
    """One of MODES; ValueError for another."""
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is unknown; use one of {', '.join(MODES)}")
    return mode


def windows(frames: int, window: int, overlap: int) -> list[tuple[int, int]]:
    """[(start, end), ...] that cover all frames, neighbours sharing exactly `overlap`."""
    if not 0 <= overlap < window:
        raise ValueError(f"overlap must be from 0 to window - 1 = {window - 1}, got {overlap}")
    starts = range(0, max(1, frames - overlap), window - overlap)
    return [(start, min(frames, start + window)) for start in starts]


def cross_fade(previous: Tensor, following: Tensor) -> Tensor:
    """Two versions of the same t frames -> one that leaves the first linearly for the second."""
    weight = torch.linspace(0, 1, len(previous) + 2, device=previous.device)[1:-1].view(-1, 1, 1, 1)
    return torch.lerp(previous, following, weight)


@dataclass
class _Window:
    guides: Guides
    guide: Tensor
    regions: Tensor
    latents: Tensor

    def part(self, frames: slice) -> "_Window":
        return _Window(self.guides[frames], self.guide[frames], self.regions[frames], self.latents[frames])


def render_video(
    body: HalfBody,
    renderer: Renderer,
    identity: Identity,
    motion: Motion,
    cameras: Cameras,
    *,
    steps: int = 1,
    seed: int = 0,
    background: str | tuple[float, float, float] | Tensor = "portrait",
    window: int = 16,
    overlap: int = 2,
    use_predicted_mask: bool = True,
    face_scale: int = 1,
    frames: tuple[int, int] | None = None,
    callback: Callable[[int, int], None] | None = None,
    mode: str | None = None,
) -> Iterator[RenderedChunk]:
    """Stream exactly len(motion) frames of the identity performing `motion`, seen by `cameras`.

    mode: one of MODES, None = the renderer's own. Of "diffusion": steps 1-4 (1 is sharpest in PSNR and steadiest), the
    noise's seed; window frames see each other in the temporal layers, `overlap` are shared. face_scale: 2 to 4 draws
    the face once more at so many times the canvas's resolution and blends it in; 1 leaves that out.
    frames: (first, stop) of the clip to give alone, equal to those of the whole clip (see `ranges`); None gives all.
    callback(frames done, of all) runs after every chunk; what it raises stops the rendering. The same seed gives the
    same frames on one machine. ValueError for sizes that are no multiple of 8, counts that disagree, and a mode that
    the renderer lacks the networks for.
    """
    if len(motion) != len(cameras):
        raise ValueError(f"motion has {len(motion)} frames, cameras {len(cameras)}; they must agree")
    if not len(motion):
        raise ValueError("the motion has no frames")
    checked_size(cameras.size)
    part = frames or (0, len(motion))
    if not 0 <= part[0] < part[1] <= len(motion):
        raise ValueError(f"frames {part[0]}:{part[1]} do not lie in the clip's {len(motion)}")
    source, begin = _source(renderer, mode, len(motion), part, steps, seed, window, overlap, use_predicted_mask)
    plate = resolve_background(background, identity, cameras)
    drawn = isinstance(background, str)  # the portrait's own, which the guides show to the networks
    parts = _cut_out(body, renderer, identity, motion, cameras, source, plate[0] if drawn else None)
    if face_scale != 1:
        with torch.no_grad():
            rest = body.rest(identity.shape[None], identity.shell[None])
            square = face_window(body, rest, identity.performed(motion), cameras, face_scale)
        if square:
            faces = _cut_out(body, renderer, identity, motion, square.cameras(cameras), source)
            parts = with_face(parts, faces, square)
    finished = ((values,) for values in steadied(parts)) if renderer.steadies else parts
    return _composed(only(finished, begin, part), plate, drawn, part, callback)


def _source(
    renderer: Renderer, mode: str | None, count: int, part: tuple[int, int], steps: int, seed: int, window: int,
    overlap: int, predicted: bool,
) -> tuple[Callable[..., Iterator[tuple[Tensor, Tensor]]], int]:  # fmt: skip
    """What draws `part` of (body, renderer, identity, motion, cameras) in this mode, and the first frame it draws."""
    mode = checked_mode(mode or renderer.default_mode)
    if mode == "play":
        if renderer.default_mode != "play":
            raise ValueError("mode 'play' needs the nano renderer's decoder; full-size sets have 'diffusion' alone")
        around = within(count, part)
        return partial(played, frames=around, predicted=predicted), around[0]
    if renderer.unet is None or renderer.reference is None:
        raise ValueError("this renderer was loaded for mode 'play'; load it for 'diffusion'")
    if not 1 <= window <= renderer.longest_window:
        raise ValueError(f"window must be from 1 to {renderer.longest_window}, got {window}")
    plan = needed(windows(count, window, overlap), overlap, part)
    return partial(_decoded, plan=plan, overlap=overlap, steps=steps, seed=seed, predicted=predicted), plan[0][0]


def _composed(
    parts: Iterator[tuple[Tensor, ...]], plate: Tensor, drawn: bool, frames: tuple[int, int],
    callback: Callable[[int, int], None] | None,
) -> Iterator[RenderedChunk]:  # fmt: skip
    done, count = frames
    for values, *_ in parts:
        now = slice(done, done + len(values))
        done += len(values)
        with torch.no_grad():
            behind = (plate[now] if len(plate) > 1 else plate).to(values.device)
            chunk = RenderedChunk(composite(values[:, :3], values[:, 3:], behind, drawn), values[:, 3:])
        yield chunk  # outside of no_grad, which would otherwise reach into the caller
        if callback:
            callback(done - frames[0], count - frames[0])


def padded(cameras: Cameras) -> tuple[Cameras, tuple[slice, slice]]:
    """The same cameras on the next canvas that the networks can halve, and where the old one lies: rows, columns.

    Latents are 8 times smaller and the U-Net halves them three times: sides become multiples of 64.
    """
    more = [-side % _STEP for side in cameras.size]
    cut = [slice(extra // 2, extra // 2 + side) for side, extra in zip(cameras.size, more, strict=True)]
    if any(more):
        intrinsics = cameras.intrinsics.clone()
        intrinsics[:2, 2] += intrinsics.new_tensor([cut[1].start, cut[0].start])
        size = tuple(side + extra for side, extra in zip(cameras.size, more, strict=True))
        cameras = replace(cameras, intrinsics=intrinsics, size=size)
    return cameras, (cut[0], cut[1])


def _cut_out(body, renderer, identity, motion, cameras, source, plate=None) -> Iterator[tuple[Tensor, Tensor]]:
    """What `source` draws on any canvas: a little larger where sides are no multiples of 64, and cut to size."""
    whole, (rows, columns) = padded(cameras)
    for values, lift in source(body, renderer, identity, motion, whole, plate=plate if whole is cameras else None):
        yield values[..., rows, columns], lift[..., rows, columns]


def _decoded(
    body, renderer, identity, motion, cameras, plan, overlap, steps, seed, predicted, plate=None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Finished frames of every window: picture and alpha (t, 4, H, W), lift (t, 3, H, W)."""
    framed = background_plate(replace(identity, background=identity.portrait), cameras)
    portrait = renderer.encode_portrait(framed[None])
    with torch.no_grad():
        rest = body.rest(identity.shape[None], identity.shell[None])
        plate = background_plate(identity, cameras, continued=True) if plate is None else plate
        skin = skin_of(body, identity, cameras, plate)
    tail: _Window | None = None
    for number, (start, end) in enumerate(plan):
        last = number == len(plan) - 1
        known = len(tail.guides) if tail else 0
        fresh = slice(start + known, end)
        with torch.no_grad():
            guides = render_guides(body, identity, motion[fresh], cameras[fresh], rest, skin)
            guide = renderer.guide(body, rest, identity.performed(motion[fresh]), cameras[fresh], guides)
            regions = renderer.predict_regions(guides, guide, predicted).masks.float()
            if tail:
                guides = join_guides([tail.guides, guides])
                guide, regions = joined([tail.guide, guide]), joined([tail.regions, regions])
            noise = renderer.noise(cameras.size, seed, range(start, end))
            latents = renderer.denoise(guides, guide, Regions(regions), portrait, noise, steps)
            if tail:
                latents = torch.cat([cross_fade(tail.latents, latents[:known]), latents[known:]])
            now = _Window(guides, guide, regions, latents)
            final = end - start if last else plan[number + 1][0] - start
            if last and end < len(motion):  # of a part: decoded in the portions of the whole clip
                final -= overlap
            tail = None if last else now.part(slice(final, None))
        together = decoded_together(cameras.size)
        for first in range(0, final, together):  # frame by frame through what follows, not a window at once
            few = now.part(slice(first, min(final, first + together)))
            with torch.no_grad():
                frames = renderer.decode(few.latents, few.guide)
                values = torch.cat([frames, Regions(few.regions).person.to(frames)], 1), few.guides.lift
            yield values


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
