"""The stability of stage 2 over time and camera: flicker, window seams, yaw sweep, stereo."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ...body.model import HalfBody
from ...camera.trajectories import stereo_pair
from ...records import Cameras, Identity, Motion
from ...synthetic.data.avatar_frames import FACE
from ...synthetic.data.dataset import DatasetConfig
from ...synthetic.movement.poses import joint_heads
from ...synthetic.people.avatar import make_avatar
from ...synthetic.people.performance import random_motion
from ...synthetic.people.portrait import canonical_cameras, reference_portrait, true_identity
from ...synthetic.people.render import AvatarFrames, render_avatar
from ...video.guides.maps import background_plate
from ...video.rendering.render import render_video
from ...video.rendering.renderer import Renderer
from ...video.rendering.windows import frame_windows
from ..bootstrap import bootstrap

PEOPLE, QUICK_PEOPLE = 6, 2
LONG_PEOPLE, LONG_SECONDS, LOOP = 2, 60, 50  # people, length and frames of the loop whose rounds are compared
FRAMES, WINDOW, OVERLAP = 40, 16, 2
SEAM_FRAMES = 30  # two windows, and what the motion modules can take as one
_STILL = 2 / 127.5  # two grey levels: what changes less in the truth is static
_YAWS = (-50.0, 0.0, 35.0, 65.0, -20.0, 15.0)  # fixed camera of each person's clip
_SHIFTS = range(-16, 17)  # pixels of disparity that are tried


@dataclass(frozen=True)
class Subject:
    """The person to render: body, identity with the true fit, seed of avatar and motion; mode: as in `render_video`."""

    body: HalfBody
    identity: Identity
    seed: int
    mode: str | None = None  # of `render_video`

    def render(
        self, renderer: Renderer, motion: Motion, cameras: Cameras, window: int = WINDOW
    ) -> tuple[Tensor, Tensor]:
        """Render a motion of this person -> frames (T, 3, H, W) and alpha (T, 1, H, W).

        renderer: draws the frames; motion, cameras: T frames each; window: frames of the temporal layers' windows."""
        settings = {"window": window, "overlap": OVERLAP, "mode": self.mode}
        chunks = list(render_video(self.body, renderer, self.identity, motion, cameras, **settings))
        return torch.cat([c.frames for c in chunks]), torch.cat([c.masks for c in chunks])


def subject(body: HalfBody, seed: int, mode: str | None = None) -> Subject:
    """Return the synthetic person of a seed with its true fit; mode: as in `render_video`."""
    avatar = make_avatar(body, seed)
    return Subject(body, true_identity(body, avatar, reference_portrait(body, avatar, seed * 11 + 1)), seed, mode)


def evaluate_temporal(renderer: Renderer, quick: bool = False, mode: str | None = None) -> dict[str, dict[str, float]]:
    """Measure stability over held-out people -> {name: {"value", "low", "high"}}.

    The names: flicker_ratio, seam_ratio, sweep_outlier (`outlier` of a `yaw_sweep`), disparity_right and, unless quick,
    identity_drift_db over LONG_PEOPLE of them. mode: as in `render_video`."""
    body = HalfBody()
    seeds = DatasetConfig("val", QUICK_PEOPLE if quick else PEOPLE, shards=1).seeds(0)
    found: dict[str, list[float]] = {}
    for place, seed in enumerate(seeds):
        person = subject(body, seed, mode)
        scores = clip_scores(renderer, person, _YAWS[place % len(_YAWS)])
        frames = yaw_sweep(renderer, person, 4 if quick else 2)
        scores["sweep_outlier"] = outlier(frames)
        scores["disparity_right"] = disparity_right(renderer, person)
        if not quick and place < LONG_PEOPLE:
            scores["identity_drift_db"] = identity_drift(renderer, person, LONG_SECONDS)
        for name, value in scores.items():
            found.setdefault(name, []).append(value)
    return {name: bootstrap(values) for name, values in found.items()}


def performance(person: Subject, frames: int, yaw: float) -> tuple[Motion, Cameras, AvatarFrames]:
    """Return a random motion of the person, a camera that stands still at `yaw` degrees, and the true frames."""
    body, avatar = person.body, make_avatar(person.body, person.seed)
    rest = body.rest(avatar.shape[None], avatar.shell[None])
    motion = random_motion(body, joint_heads(body, rest), frames, torch.Generator().manual_seed(person.seed))
    cameras = canonical_cameras(body, avatar.shape, torch.full((frames,), yaw), 256)
    wall = background_plate(person.identity, cameras)
    return motion, cameras, render_avatar(body, avatar, motion, cameras, background=wall, rest=rest)


def identity_drift(renderer: Renderer, person: Subject, seconds: float, yaw: float = 0.0) -> float:
    """Return the dB by which the face is worse in the last round of a motion that repeats back and forth than in the
    first.

    person: whom to draw; seconds: length of the video; yaw: degrees. The rounds are rendered as one stream; windows
    begin at different frames in every round."""
    motion, cameras, truth = performance(person, LOOP // 2, yaw)
    order = torch.cat([torch.arange(LOOP // 2), torch.arange(LOOP // 2).flip(0)])
    rounds = max(2, round(seconds * motion.fps / LOOP))
    long = motion[order.repeat(rounds)]
    face = (truth.alpha > 0.5) & (truth.region == FACE)[:, None]
    found, done = torch.zeros(rounds * LOOP), 0
    stream = render_video(
        person.body, renderer, person.identity, long, cameras[torch.zeros(len(long), dtype=torch.long)],
        window=WINDOW, overlap=OVERLAP, mode=person.mode,
    )  # fmt: skip
    for chunk in stream:
        for frame in chunk.frames:
            at = order[done % LOOP]
            error = (frame - truth.rgb[at]).square().mean(0, keepdim=True) / 4
            found[done] = -10 * torch.log10(error[face[at]].mean().clamp_min(1e-8))
            done += 1
    return float(found[:LOOP].nanmean() - found[-LOOP:].nanmean())


def clip_scores(renderer: Renderer, person: Subject, yaw: float, frames: int = FRAMES) -> dict[str, float]:
    """Return {"flicker_ratio", "seam_ratio": value} of one clip from a fixed camera, compared with the true frames.

    renderer: what is measured.
    person: whom it draws.
    yaw: degrees.
    frames: length of the clip.

    The values are those of the functions of these names; "seam_ratio" is divided by that of the same frames drawn in a
    single window."""
    motion, cameras, truth = performance(person, frames, yaw)
    ours, _ = person.render(renderer, motion, cameras)
    inside = (truth.alpha > 0.5).float()
    some, plan = slice(SEAM_FRAMES), frame_windows(SEAM_FRAMES, WINDOW, OVERLAP)
    whole, _ = person.render(renderer, motion[some], cameras[some], window=SEAM_FRAMES)
    windowed, _ = person.render(renderer, motion[some], cameras[some])
    seams = [seam_ratio(x, truth.rgb[some], inside[some], plan) for x in (windowed, whole)]
    return {
        "flicker_ratio": flicker_ratio(ours, truth.rgb, inside),
        "seam_ratio": seams[0] / seams[1],  # the same frames without seams: people do not move evenly
    }


def flicker_ratio(ours: Tensor, truth: Tensor, person: Tensor) -> float:
    """Return the mean absolute second difference over time, relative to the truth's, where the true person stands
    still.

    ours, truth: (T, 3, H, W); person: (T, 1, H, W) mask."""
    step = truth.diff(dim=0).abs().amax(1, keepdim=True)
    still = ((step[1:] < _STILL) & (step[:-1] < _STILL)).float() * person[:-2] * person[1:-1] * person[2:]
    second = [(x.diff(n=2, dim=0).abs().mean(1, keepdim=True) * still).sum() for x in (ours, truth)]
    return float(second[0] / second[1].clamp_min(1e-6))


def seam_ratio(ours: Tensor, truth: Tensor, person: Tensor, plan: list[tuple[int, int]]) -> float:
    """Return the error of frame-to-frame changes where the renderer's windows overlap, and elsewhere, as a ratio.

    ours, truth: (T, 3, H, W); person: (T, 1, H, W) mask; plan: (first, stop) frames of the windows."""
    wrong = (ours.diff(dim=0) - truth.diff(dim=0)).abs().mean(1, keepdim=True) * person[1:]
    change = wrong.sum((1, 2, 3)) / person[1:].sum((1, 2, 3)).clamp_min(1)
    seam = torch.zeros(len(change), dtype=torch.bool)
    for (_, end), (start, _) in zip(plan, plan[1:], strict=False):
        seam[start - 1 : end] = True  # from the last frame of one window alone to the first of the next alone
    return float(change[seam].mean() / change[~seam].mean())


def yaw_sweep(renderer: Renderer, person: Subject, degrees: float = 2.0) -> Tensor:
    """Render the portrait's pose with the mouth closed, seen from -90 to 90 degrees in steps -> (T, 3, H, W)."""
    count = round(180 / degrees) + 1
    motion = Motion(person.identity.rotations.expand(count, -1, -1), person.identity.expression.expand(count, -1))
    cameras = canonical_cameras(person.body, person.identity.shape, torch.linspace(-90, 90, count), 256)
    return person.render(renderer, motion, cameras)[0]


def outlier(frames: Tensor) -> float:
    """Return the largest change between consecutive frames (T, 3, H, W) over the median change."""
    change = frames.diff(dim=0).abs().mean((1, 2, 3))
    return float(change.max() / change.median().clamp_min(1e-6))


def disparity_right(renderer: Renderer, person: Subject) -> float:
    """Return the fraction of stereo pairs in which the right eye sees the person further left than the left eye does.
    """
    yaws = torch.tensor([-60.0, -30.0, 0.0, 30.0, 60.0])
    motion = Motion(person.identity.rotations.expand(5, -1, -1), person.identity.expression.expand(5, -1))
    pair = stereo_pair(canonical_cameras(person.body, person.identity.shape, yaws, 256))
    left, right = (torch.cat(person.render(renderer, motion, c), 1) for c in pair)
    return float(np.mean([disparity(a, b) > 0 for a, b in zip(left, right, strict=True)]))


def disparity(left: Tensor, right: Tensor) -> int:
    """Return the disparity of two pictures with alpha (4, H, W) in px: x in `left` minus x in `right` at the best
    match."""
    inside = (left[3:] > 0.5) | (right[3:] > 0.5)
    edge = max(abs(s) for s in _SHIFTS)
    inside[..., :edge], inside[..., -edge:] = False, False
    errors = [float(((left - right.roll(s, -1)).square() * inside).sum()) for s in _SHIFTS]
    return _SHIFTS[int(np.argmin(errors))]
