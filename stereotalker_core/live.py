"""A person who speaks while the sound is still coming: 20 ms blocks in, frames out, with bounded latency.

Every hop of HOP frames waits for LOOK_AHEAD frames of sound behind it, because a mouth closes before a "b" is heard:
a frame is given at most (HOP + LOOK_AHEAD) / 25 s of sound after its own began, and the time it takes to draw; the
first frame of speech that comes out of nothing HOP / 25 s after it began, for the idle hop is held until then. Motion
is sampled in the windows of stage 1, each seeded with the frames that were shown; frames are drawn as in mode "play",
TOGETHER at once, and given as soon as they are drawn. Where no sound comes, the person hears silence, and idles; no
frame of that is drawn ahead, so that nothing has to be thrown away when speech begins.

Memory does not grow: CONTEXT frames of sound and of motion are kept, and what waits to be spoken is limited.
"""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .camera.trajectories import framing_for, orbit
from .motion.generation.live import SAMPLES, LiveMotion
from .motion.generation.sampling import MotionOptions
from .pipeline import Look, Models, View
from .records import Cameras, Identity, Motion
from .shapes import FPS, SAMPLE_RATE, size_of
from .video.guides.maps import Skin, background_plate, render_guides, skin_of
from .video.rendering.composite import composite, resolve_background

HOP, LOOK_AHEAD = 4, 3  # frames
TOGETHER = 2  # frames that are drawn at once, and given before the next are drawn
CONTEXT = 48  # frames of sound that the networks hear
LONGEST_WAIT = 60 * SAMPLE_RATE  # samples that may wait to be spoken
GRACE = HOP / FPS  # seconds that sound may be late while somebody speaks, before silence is put in


@dataclass(frozen=True)
class LiveFrame:
    """Hold a picture (3, H, W) in [-1, 1], the sound (640,) at 16 kHz that belongs to it, its number, whether it is
    speech."""

    picture: Tensor
    sound: Tensor
    number: int
    speaking: bool


class Live:
    """Play one person live: `push` sound, ask `frames` for what can be drawn; `look` and `interrupt` at any time.

    `push`, `look` and `interrupt` may be called by another thread than the one that draws.

    models, identity: as of `pipeline`. view: where the camera starts; its size is that of the pictures.
    options: of stage 1; three steps are enough for windows that are seeded. ValueError for a view that orbits.
    """

    def __init__(
        self,
        models: Models,
        identity: Identity,
        view: View | None = None,
        options: MotionOptions | None = None,
        look: Look | None = None,
    ):
        self.models, self.identity, self.view = models, identity, view or View()
        if self.view.until_yaw is not None:
            raise ValueError("a live camera does not orbit; give the yaw to start with, and move it with look()")
        self.settings = look or Look()
        self.yaw, self._shown_yaw, self.pitch = self.view.yaw, self.view.yaw, self.view.pitch
        self._framing = framing_for(models.body, identity, self.view.framing, self.view.yaw_origin)
        self._size = self.view.canvas(size_of(identity.portrait))
        self._waiting = torch.zeros(0)  # sound that was pushed and not yet given to the networks
        self._heard = torch.zeros(CONTEXT * SAMPLES)  # what they have heard, the look-ahead included
        self._real = [False] * LOOK_AHEAD  # of which frames of the look-ahead are no silence that was put in
        self._lock = threading.Lock()  # of the sound: blocks come while frames are drawn
        self.interruptions = 0
        self._motion = LiveMotion(models.motion, options or MotionOptions(steps=3), HOP, LOOK_AHEAD)
        self._plate: Tensor | None = None
        self._skin: Skin | None = None
        with torch.no_grad():
            self._rest = models.body.rest(identity.shape[None], identity.shell[None])

    @property
    def waiting(self) -> float:
        """Return the seconds of sound that wait to be spoken."""
        return len(self._waiting) / SAMPLE_RATE

    @property
    def speaking(self) -> bool:
        """Return whether speech has been pushed that is not yet drawn."""
        return len(self._waiting) > 0 or any(self._real)

    def push(self, samples: Tensor) -> None:
        """Append sound (S,) at 16 kHz in [-1, 1]. ValueError: no finite floats, or more than a minute waits."""
        if samples.ndim != 1 or not samples.is_floating_point() or not bool(torch.isfinite(samples).all()):
            raise ValueError(f"sound must be finite floats (S,) at {SAMPLE_RATE} Hz, got {tuple(samples.shape)}")
        with self._lock:
            if len(self._waiting) + len(samples) > LONGEST_WAIT:
                raise ValueError(
                    f"more than {LONGEST_WAIT // SAMPLE_RATE} s of sound wait to be spoken; send it as it is said"
                )
            self._waiting = torch.cat([self._waiting, samples.detach().cpu().float().clamp(-1, 1)])

    def interrupt(self) -> None:
        """Silence the person at once: what waits, was looked ahead at or is being drawn is not heard."""
        with self._lock:
            self._waiting = torch.zeros(0)
            self._heard = self._heard.clone()  # the thread that draws may be reading the old one
            self._heard[len(self._heard) - LOOK_AHEAD * SAMPLES :] = 0
            self._real = [False] * LOOK_AHEAD
            self.interruptions += 1

    def look(self, yaw: float, pitch: float = 0.0) -> None:
        """Turn the camera: the next hop pans there. ValueError for angles out of range."""
        checked = replace(self.view, yaw=yaw, pitch=pitch)
        self.yaw, self.pitch = checked.yaw, checked.pitch

    def pace(self) -> int:
        """Return how many pictures of the next hop to draw: fewer, the more sound waits, so that the delay stays
        bounded."""
        behind = self.waiting * FPS / HOP  # hops
        return HOP if behind < 2 else (HOP + 1) // 2 if behind < 4 else 1

    def frames(self, idle: bool = True, pictures: int = HOP) -> list[LiveFrame]:
        """Return all that `hop` gives; [] where a whole hop of sound is not there yet and `idle` is False."""
        return [frame for few in self.hop(idle, pictures) for frame in few]

    @torch.no_grad()
    def hop(self, idle: bool = True, pictures: int = HOP) -> Iterator[list[LiveFrame]]:
        """Draw the next HOP frames, given a few at a time; none where `idle` is False and sound is missing.

        idle: fill what is missing with silence; ask for it when the frames shown so far run out.
        pictures: how many are drawn, 1..HOP; the others repeat the one before. See `pace`.
        """
        with self._lock:
            if len(self._waiting) < HOP * SAMPLES and not idle:
                return
            heard, real = self._hear()
            before = self.interruptions
        end = len(heard) - LOOK_AHEAD * SAMPLES
        sound = heard[end - HOP * SAMPLES : end].split(SAMPLES)
        cameras = orbit(self._framing, HOP + 1, self._shown_yaw, self.yaw, self.pitch, self._size)[1:]
        self._shown_yaw, number = self.yaw, self._motion.number
        motion = self._motion.next(heard)
        owner = [i * pictures // HOP for i in range(HOP)]  # which picture each frame shows
        for first in range(0, pictures, TOGETHER):
            few = range(first, min(first + TOGETHER, pictures))
            chosen = [owner.index(picture) for picture in few]
            drawn = self._drawn(motion[chosen], cameras[chosen])
            stopped = self.interruptions != before  # meanwhile: what is drawn stays to be seen, and is not heard
            yield [
                LiveFrame(
                    drawn[owner[i] - first],
                    torch.zeros_like(sound[i]) if stopped else sound[i],
                    number + i,
                    real[i] and not stopped,
                )
                for i in range(HOP)
                if owner[i] in few
            ]

    def _hear(self) -> tuple[Tensor, list[bool]]:
        """Take a hop of sound -> what is heard now, and which frames of the hop that is to be drawn are speech."""
        wanted = HOP * SAMPLES
        fresh, self._waiting = self._waiting[:wanted], self._waiting[wanted:]
        missing = wanted - len(fresh)
        silence, after = fresh.new_zeros(missing), self._real[-1]
        self._heard = torch.cat([self._heard, *((fresh, silence) if after else (silence, fresh))])[wanted:]
        filled = -(-len(fresh) // SAMPLES)  # frames that hold some of it
        spoken = [True] * filled  # silence goes before what begins, after what ends: no hole in what is said
        real = self._real + (spoken + [False] * (HOP - filled) if after else [False] * (HOP - filled) + spoken)
        self._real = real[HOP:]
        return self._heard, real[:HOP]

    def _drawn(self, motion: Motion, cameras: Cameras) -> list[Tensor]:
        """Draw as `video.play` does: frames of (3, H, W)."""
        models, renderer = self.models, self.models.renderer
        cameras = cameras.to(renderer.device)
        if self._plate is None:
            self._plate = background_plate(self.identity, cameras, continued=True)
            self._skin = skin_of(models.body, self.identity, cameras, self._plate)
        guides = render_guides(models.body, self.identity, motion, cameras, self._rest, self._skin)
        guide = renderer.guide(models.body, self._rest, self.identity.performed(motion), cameras, guides)
        alpha = renderer.predict_regions(guides, guide, self.settings.predicted_mask).person.float()
        frames = renderer.restore(guides, guide)
        drawn = isinstance(self.settings.background, str)
        plate = self._plate[None] if drawn else resolve_background(self.settings.background, self.identity, cameras)
        return list(composite(frames, alpha, plate.to(frames), drawn).cpu())


class Beat:
    """Tell when the next hop is due: as soon as its sound is there, or when the one before has been shown.

    Times are seconds of any clock. While somebody speaks, or has just begun to, sound is waited for GRACE seconds:
    silence put in too early would be a hole in a word, or a delay of the first one.
    """

    def __init__(self, now: float):
        self.shown = now  # when the latest hop began to be shown

    def due(self, live: Live, now: float) -> bool:
        """Return whether to draw a hop now."""
        if live.waiting >= HOP / FPS:
            return True
        return now - self.shown >= HOP / FPS + (GRACE if live.speaking else 0.0)

    def begun(self, now: float) -> None:
        """Note that a hop is drawn from now on."""
        self.shown = max(self.shown + HOP / FPS, now)


def stream(live: Live, blocks: Iterable[Tensor | None]) -> Iterator[LiveFrame]:
    """Map sound as it comes -> frames: a block (S,) is pushed, None means that 20 ms have passed without one.

    The iterator gives a hop as soon as it has its sound (or that much time has passed), and ends with the last of it
    when `blocks` ends. Frames keep the pace of the blocks: pass them on in real time and they come in real time.
    """
    due = 0  # samples that have passed
    hop = HOP * SAMPLES
    for block in blocks:
        passed = SAMPLE_RATE // 50
        if block is not None:
            live.push(block)
            passed = len(block)
        due += passed
        while due >= hop:
            due -= hop
            for few in live.hop(pictures=live.pace()):
                yield from few
    rest = live.waiting * SAMPLE_RATE + due + LOOK_AHEAD * SAMPLES
    for _ in range(-(-int(rest) // hop)):
        yield from live.frames()
