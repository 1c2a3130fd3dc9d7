"""A live person: sound goes in as 20 ms blocks while it is spoken, frames come out with bounded latency.

Frames are drawn in hops of HOP frames. Every hop waits for LOOK_AHEAD more frames of sound, because a mouth closes
before a "b" is heard: a frame comes at most (HOP + LOOK_AHEAD) / 25 s after its own sound began, plus the time to draw
it. The first frame of speech after silence comes HOP / 25 s after it began, because the idle hop is held back until
then. Motion is sampled in the windows of stage 1, each continuing the frames already shown; frames are drawn as in mode
"play", TOGETHER at once, and returned as soon as they are drawn. Without sound the person idles as if in silence; idle
frames are not drawn ahead, so that none are wasted when speech begins.

Memory does not grow: CONTEXT frames of sound and of motion are kept, and the waiting sound is limited."""

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
    """The drawn frame of a live person.

    picture: (3, H, W) in [-1, 1].
    sound: (640,) at 16 kHz, the 40 ms to be played with it.
    number: counted from 0 since the start of the performance.
    speaking: whether its sound was pushed; false for silence that was filled in."""

    picture: Tensor
    sound: Tensor
    number: int
    speaking: bool


class Live:
    """The live performance of one person: `push` sound, call `hop` or `frames` to draw; `look` and `interrupt` any
    time.

    models: all networks (`pipeline.Models`).
    identity: the person, fitted.
    view: where the camera starts, and the size of the pictures; ValueError for one that orbits. None: the default.
    options: settings of the motion; None: the default with three sampling steps, enough because windows continue each
        other.
    look: settings of the pictures, such as the background (`pipeline.Look`); None: the default.

    `push`, `look` and `interrupt` may be called from another thread than the one that draws."""

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
        """Return the seconds of sound that have been pushed and not yet used."""
        return len(self._waiting) / SAMPLE_RATE

    @property
    def speaking(self) -> bool:
        """Return whether speech has been pushed that is not yet drawn."""
        return len(self._waiting) > 0 or any(self._real)

    def push(self, samples: Tensor) -> None:
        """Append sound (S,) at 16 kHz in [-1, 1]. ValueError for other than finite floats, or with more than a minute
        waiting."""
        if samples.ndim != 1 or not samples.is_floating_point() or not bool(torch.isfinite(samples).all()):
            raise ValueError(f"sound must be finite floats (S,) at {SAMPLE_RATE} Hz, got {tuple(samples.shape)}")
        with self._lock:
            if len(self._waiting) + len(samples) > LONGEST_WAIT:
                raise ValueError(
                    f"more than {LONGEST_WAIT // SAMPLE_RATE} s of sound wait to be spoken; send it as it is said"
                )
            self._waiting = torch.cat([self._waiting, samples.detach().cpu().float().clamp(-1, 1)])

    def interrupt(self) -> None:
        """Stop speaking at once: sound that waits, was looked ahead at, or is being drawn is replaced by silence."""
        with self._lock:
            self._waiting = torch.zeros(0)
            self._heard = self._heard.clone()  # the thread that draws may be reading the old one
            self._heard[len(self._heard) - LOOK_AHEAD * SAMPLES :] = 0
            self._real = [False] * LOOK_AHEAD
            self.interruptions += 1

    def look(self, yaw: float, pitch: float = 0.0) -> None:
        """Turn the camera: the next hop pans to these angles, in degrees. ValueError for angles out of range."""
        checked = replace(self.view, yaw=yaw, pitch=pitch)
        self.yaw, self.pitch = checked.yaw, checked.pitch

    def pace(self) -> int:
        """Return how many pictures of the next hop to draw: fewer when much sound waits, to keep the delay bounded."""
        behind = self.waiting * FPS / HOP  # hops
        return HOP if behind < 2 else (HOP + 1) // 2 if behind < 4 else 1

    def frames(self, idle: bool = True, pictures: int = HOP) -> list[LiveFrame]:
        """Return the frames of the next hop as one list, see `hop`; [] where `hop` yields none."""
        return [frame for few in self.hop(idle, pictures) for frame in few]

    @torch.no_grad()
    def hop(self, idle: bool = True, pictures: int = HOP) -> Iterator[list[LiveFrame]]:
        """Draw the next HOP frames; yield them a few at a time.

        idle: fill missing sound with silence, for when the frames shown so far run out; False yields nothing if sound
        is missing.
        pictures: how many of the HOP frames are drawn, 1..HOP; the others repeat the previous picture. See `pace`."""
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
        """Take a hop of sound from the queue -> (the sound in context, which frames of the hop to draw are speech)."""
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
        """Draw frames (3, H, W) as `video.rendering.play` does, one per frame of the motion."""
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
    """The clock that says when the next hop is due: when its sound is complete, or the previous hop has been shown.

    Times are seconds of any clock. While somebody speaks, or has just begun to, it waits GRACE seconds longer for
    sound: silence inserted too early would leave a gap in a word, or delay the first one."""

    def __init__(self, now: float):
        self.shown = now  # when the latest hop began to be shown

    def due(self, live: Live, now: float) -> bool:
        """Return whether to draw a hop now; now: seconds."""
        if live.waiting >= HOP / FPS:
            return True
        return now - self.shown >= HOP / FPS + (GRACE if live.speaking else 0.0)

    def begun(self, now: float) -> None:
        """Record that drawing a hop begins now; now: seconds."""
        self.shown = max(self.shown + HOP / FPS, now)


def stream(live: Live, blocks: Iterable[Tensor | None]) -> Iterator[LiveFrame]:
    """Map sound to frames as it arrives: each block (S,) is pushed; None means 20 ms passed without sound.

    The iterator yields a hop as soon as it has its sound (or that much time has passed), and the last of them when
    `blocks` ends. Frames follow the pace of the blocks: blocks in real time give frames in real time."""
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
