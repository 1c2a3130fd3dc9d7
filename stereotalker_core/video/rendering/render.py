"""Stage 2 as one call: identity + motion + cameras -> frames, a few at a time, in constant memory.

Mode "play" (`play`): guides, regions and the guided decoder of every frame.

Mode "diffusion", as in the paper:

1. The portrait is encoded once; its reference keys and values and its tokens serve every frame.
2. Per window: guides, regions, one pass of the denoiser per step, from one noise for the whole clip.
3. Neighbouring windows share `overlap` frames whose latents are cross-faded; every frame is decoded once.

Both modes:

4. The face pass, if requested, draws the face's square again at a multiple of the resolution (`face_pass`).
5. Where the picture hardly moves, frames are averaged over time (`steady`), a few frames behind the windows.
6. Composite: the network's pixels inside the mask, the background outside, and between them the portrait's loose hair
(`guides.loose_hair`)."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from ...body.model import HalfBody
from ...camera.trajectories import checked_size
from ...records import Cameras, Guides, Identity, Motion, Regions
from ...shapes import joined
from ..guides.loose_hair import LooseHair
from ..guides.maps import background_plate, join_guides, render_guides, skin_of
from .composite import composite, resolve_background, with_strands
from .face_pass import face_window, with_face
from .play import played
from .ranges import needed, only, within
from .renderer import RenderedChunk, Renderer, checked_mode
from .steady import steadied
from .windows import cross_fade, frame_windows, padded


@dataclass
class _FrameWindow:
    guides: Guides
    guide: Tensor
    regions: Tensor
    latents: Tensor

    def part(self, frames: slice) -> "_FrameWindow":
        return _FrameWindow(self.guides[frames], self.guide[frames], self.regions[frames], self.latents[frames])


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

    body, renderer, identity: whom to draw, and with what.
    motion, cameras: T frames each.
    steps, seed: denoising steps and seed of mode "diffusion"; 1 step has the best PSNR and is the steadiest.
    background: "portrait", an (r, g, b) in 0..1, or an image.
    window, overlap: frames of the temporal layers' windows, and how many of them neighbours share.
    use_predicted_mask: alpha by the mask predictor, else of the fitted body.
    face_scale: 2 to 4 draws the face again at that multiple of the resolution and blends it in; 1 does not.
    frames: (first, stop), only these frames, equal to those of the whole clip (see `ranges`); None draws all.
    callback: called with (frames done, of all) after every chunk; what it raises stops the rendering.
    mode: one of MODES, None = the renderer's own.

    The same seed gives the same frames on one machine. ValueError for sides that are no multiples of 8, a motion and
    cameras of different length, and a mode for which the renderer lacks networks."""
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
    with torch.no_grad():
        hair = LooseHair(body, identity)
    return _composed(only(finished, begin, part), plate, drawn, part, callback, (hair, motion, cameras))


def _source(
    renderer: Renderer, mode: str | None, count: int, part: tuple[int, int], steps: int, seed: int, window: int,
    overlap: int, predicted: bool,
) -> tuple[Callable[..., Iterator[tuple[Tensor, Tensor]]], int]:  # fmt: skip
    """Return the function that draws `part` from (body, renderer, identity, motion, cameras), and its first frame.

    mode: one of MODES, None = the renderer's own; count: frames of the clip; part: (first, stop) of those to draw.
    steps, seed, window, overlap, predicted: as in `render_video`."""
    mode = checked_mode(mode or renderer.modes[0])
    if mode == "play":
        if "play" not in renderer.modes:
            raise ValueError("mode 'play' needs the nano renderer's decoder; full-size sets have 'diffusion' alone")
        around = within(count, part)
        return partial(played, frames=around, predicted=predicted), around[0]
    if not renderer.can_denoise:
        raise ValueError("this renderer was loaded for mode 'play'; load it for 'diffusion'")
    if not 1 <= window <= renderer.longest_window:
        raise ValueError(f"window must be from 1 to {renderer.longest_window}, got {window}")
    plan = needed(frame_windows(count, window, overlap), overlap, part)
    return partial(_decoded, plan=plan, overlap=overlap, steps=steps, seed=seed, predicted=predicted), plan[0][0]


def _composed(
    parts: Iterator[tuple[Tensor, ...]], plate: Tensor, drawn: bool, frames: tuple[int, int],
    callback: Callable[[int, int], None] | None, loose: tuple[LooseHair, Motion, Cameras],
) -> Iterator[RenderedChunk]:  # fmt: skip
    """Yield frames over their background, with the loose hair between the two.

    parts: pictures and alpha; plate: the background, one or one a frame; drawn: whether `parts` were drawn over it;
    frames: (first, stop) of the clip; callback: as in `render_video`; loose: the hair, and motion and cameras of the
    whole clip."""
    done, count = frames
    hair, motion, cameras = loose
    for values, *_ in parts:
        now = slice(done, done + len(values))
        done += len(values)
        with torch.no_grad():
            behind = (plate[now] if len(plate) > 1 else plate).to(values.device)
            alpha = values[:, 3:]
            strands = hair.layer(hair.identity.performed(motion[now]), cameras[now], alpha.to(motion.rotations))
            strands = None if strands is None else strands.to(values)
            picture = composite(values[:, :3], alpha, behind, drawn, strands)
            chunk = RenderedChunk(picture, with_strands(alpha, strands))
        yield chunk  # outside of no_grad, which would otherwise reach into the caller
        if callback:
            callback(done - frames[0], count - frames[0])


def _cut_out(body, renderer, identity, motion, cameras, source, plate=None) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the frames of a source on a canvas of any size: drawn on a larger canvas, whose sides are multiples of 64,
    and cropped.

    body, renderer, identity, motion, cameras: as in `render_video`.
    source: the function that draws the frames, from `_source`.
    plate: (3, H, W) background on this canvas, if already computed.

    Yields picture and alpha (t, 4, H, W), lift (t, 3, H, W)."""
    whole, (rows, columns) = padded(cameras)
    for values, lift in source(body, renderer, identity, motion, whole, plate=plate if whole is cameras else None):
        yield values[..., rows, columns], lift[..., rows, columns]


def _decoded(
    body, renderer, identity, motion, cameras, plan, overlap, steps, seed, predicted, plate=None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the finished frames of every window: picture and alpha (t, 4, H, W), lift (t, 3, H, W).

    plan: (first, stop) frames of the windows.
    plate: (3, H, W) the photograph's background behind the person on this canvas; None computes it.
    predicted: alpha by the mask predictor, else of the fitted body.

    The other arguments are those of `render_video`."""
    framed = background_plate(replace(identity, background=identity.portrait), cameras)
    portrait = renderer.encode_portrait(framed[None])
    with torch.no_grad():
        rest = body.rest(identity.shape[None], identity.shell[None])
        plate = background_plate(identity, cameras, continued=True) if plate is None else plate
        skin = skin_of(body, identity, cameras, plate)
    tail: _FrameWindow | None = None
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
            now = _FrameWindow(guides, guide, regions, latents)
            final = end - start if last else plan[number + 1][0] - start
            if last and end < len(motion):  # of a part: decoded in the portions of the whole clip
                final -= overlap
            tail = None if last else now.part(slice(final, None))
        together = renderer.decoded_together(cameras.size)
        for first in range(0, final, together):  # frame by frame through what follows, not a window at once
            few = now.part(slice(first, min(final, first + together)))
            with torch.no_grad():
                frames = renderer.decode(few.latents, few.guide)
                values = torch.cat([frames, Regions(few.regions).person.to(frames)], 1), few.guides.lift
            yield values
