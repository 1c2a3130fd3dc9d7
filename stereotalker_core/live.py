"""A live person: sound goes in as 20 ms blocks while it is spoken, frames come out with bounded latency.

Frames are drawn in hops of HOP frames. Every hop waits for LOOK_AHEAD more frames of sound, because a mouth closes
before a "b" is heard: a frame comes at most (HOP + LOOK_AHEAD) / 25 s after its own sound began, plus the time to draw
it. The first frame of speech after silence comes HOP / 25 s after it began, because the idle hop is held back until
then. Motion is sampled in the windows of stage 1, each continuing the frames already shown; frames are drawn as in mode
"play", TOGETHER at once, and returned as soon as they are drawn. Without sound the person idles as if in silence; idle
frames are not drawn ahead, so that none are wasted when speech begins. A `Crew` works in
threads: it samples the motion of a hop while the hop before is drawn; the pictures are the same.

Memory does not grow: CONTEXT frames of sound and of motion are kept, and the waiting sound is limited."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .camera.trajectories import framing_for, orbit
from .motion.generation.live import SAMPLES, LiveMotion
from .motion.generation.sampling import MotionOptions
from .pipeline import Look, Models, View
from .records import Cameras, Guides, Identity, Motion
from .shapes import FPS, SAMPLE_RATE, size_of
from .video.guides.loose_hair import LooseHair
from .video.guides.maps import Skin, background_plate, render_guides, skin_of
from .video.rendering.composite import composite, resolve_background

HOP, LOOK_AHEAD = 5, 3  # frames
TOGETHER = 3  # frames that are drawn at once, and given before the next are drawn
AHEAD = 3  # hops of a person that a crew has begun and not yet drawn, at most
CONTEXT = 48  # frames of sound that the networks hear
LONGEST_WAIT = 60 * SAMPLE_RATE  # samples that may wait to be spoken
GRACE = HOP / FPS  # seconds that sound may be late while somebody speaks, before silence is put in


_Drawable = tuple[Guides, Tensor, Tensor, Tensor | None]  # what `Live._guided` makes


@dataclass(frozen=True)
class LiveFrame:
    """The drawn frame of a live person.

    picture: (3, H, W) in [-1, 1].
    sound: (640,) at 16 kHz, the 40 ms to be played with it.
    number: counted from 0 since the start of the performance.
    speaking: whether its sound was pushed; false for silence that was filled in.
    begin: seconds of sound that were pushed before its own."""

    picture: Tensor
    sound: Tensor
    number: int
    speaking: bool
    begin: float = 0.0


@dataclass(frozen=True)
class _Plan:
    """The decisions about a hop, made before it is drawn.

    heard: sound (S,) from which the motion is sampled; sound: (640,) to be played with each frame.
    real: whether each frame is speech, not silence that was filled in; cameras: one per frame.
    owner: index of the picture that each frame shows; number: that of the first frame, from the start of the
    performance.
    begin: seconds of sound pushed before the first frame; interruptions: how many there had been when the hop began."""

    heard: Tensor
    sound: tuple[Tensor, ...]
    real: list[bool]
    cameras: Cameras
    owner: list[int]
    number: int
    begin: float
    interruptions: int

    def portions(self) -> list[list[int]]:
        """Return lists of the frames to draw, at most TOGETHER in each: the index of the first frame that shows a
        picture."""
        chosen = [self.owner.index(picture) for picture in range(self.owner[-1] + 1)]
        return [chosen[i : i + TOGETHER] for i in range(0, len(chosen), TOGETHER)]

    def frames(self, chosen: list[int], drawn: list[Tensor], stopped: bool) -> list[LiveFrame]:
        """Return the frames that show the pictures drawn for the frames `chosen`.

        stopped: whether the person was interrupted after the hop began; then the frames are silent."""
        first = self.owner[chosen[0]]
        return [
            LiveFrame(
                drawn[picture - first],
                torch.zeros_like(self.sound[i]) if stopped else self.sound[i],
                self.number + i,
                self.real[i] and not stopped,
                self.begin + i / FPS,
            )
            for i, picture in enumerate(self.owner)
            if 0 <= picture - first < len(chosen)
        ]


class Crew:
    """The three threads that draw hops: one samples motion, one draws guides, one runs the networks for the pictures.

    Any number of `Live` may share a crew; each thread handles hops in the order in which they were begun. Tensor
    operations should use fewer threads then (`torch.set_num_threads`), because three run at once. A context manager.
    """

    def __init__(self) -> None:
        self.motion, self.guides, self.pictures = self._threads = tuple(
            ThreadPoolExecutor(1, f"live {step}") for step in ("motion", "guides", "pictures")
        )

    def close(self) -> None:
        """Stop the threads and wait for them to end; work that has not been started is cancelled."""
        for thread in self._threads:  # motion first: the other threads wait for its results
            thread.shutdown(cancel_futures=True)

    def __enter__(self) -> "Crew":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@dataclass(frozen=True)
class Part:
    """The handle of frames that a crew is drawing; the future `pictures` is done when they are drawn or failed."""

    pictures: Future[list[Tensor]]
    _given: Callable[[list[Tensor]], list[LiveFrame]]

    def frames(self) -> list[LiveFrame]:
        """Wait for the frames and return them, silent if the person was interrupted after the hop began.

        Exceptions of the crew's threads are raised here; CancelledError if the crew was closed."""
        return self._given(self.pictures.result())


class Live:
    """The live performance of one person: `push` sound, call `hop` or `frames` to draw; `look` and `interrupt` any
    time.

    models: all networks (`pipeline.Models`).
    identity: the person, fitted.
    view: where the camera starts, and the size of the pictures; ValueError for one that orbits or has keyframes. None:
        the default.
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
        if self.view.keys:
            raise ValueError("a live camera has no keyframes, because its clip has no length; move it with look()")
        self.settings = look or Look()
        self.yaw, self._shown_yaw, self.pitch = self.view.yaw, self.view.yaw, self.view.pitch
        framing = framing_for(models.body, identity, self.view.framing, self.view.yaw_origin)
        self._framing = framing if self.view.distance == 1 else framing.zoomed(self.view.distance)
        self._size = self.view.canvas(size_of(identity.portrait))
        self._waiting = torch.zeros(0)  # sound that was pushed and not yet given to the networks
        self._heard = torch.zeros(CONTEXT * SAMPLES)  # what they have heard, the look-ahead included
        self._real = [False] * LOOK_AHEAD  # of which frames of the look-ahead are no silence that was put in
        self._lock = threading.Lock()  # of the sound: blocks come while frames are drawn
        self._pushed, self._number = 0, 0  # samples so far; the next frame
        self._begun: deque[list[Part]] = deque()  # the hops that a crew is drawing
        self.interruptions = 0
        self._motion = LiveMotion(models.motion, options or MotionOptions(steps=3), HOP, LOOK_AHEAD)
        self._plate: Tensor | None = None
        self._hair: LooseHair | None = None
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
            self._pushed += len(samples)

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

    def hop(self, idle: bool = True, pictures: int = HOP) -> Iterator[list[LiveFrame]]:
        """Draw the next HOP frames; yield them a few at a time.

        idle: fill missing sound with silence, for when the frames shown so far run out; False yields nothing if sound
        is missing.
        pictures: how many of the HOP frames are drawn, 1..HOP; the others repeat the previous picture. See `pace`."""
        plan = self._planned(idle, pictures)
        if plan is None:
            return
        motion = self._motion.next(plan.heard)
        for chosen in plan.portions():
            drawn = self._drawn(*self._guided(motion[chosen], plan.cameras[chosen]))
            yield plan.frames(chosen, drawn, self.interruptions != plan.interruptions)

    @property
    def ready(self) -> bool:
        """Return whether `begin` starts at once: while fewer than AHEAD hops are being drawn.

        While nobody speaks, at most one hop may be unfinished, its first part drawn, so that new speech waits little.
        """
        while self._begun and self._begun[0][-1].pictures.done():
            self._begun.popleft()
        if self.speaking or not self._begun:
            return len(self._begun) < AHEAD
        return len(self._begun) == 1 and self._begun[0][0].pictures.done()

    def begin(self, crew: Crew, idle: bool = True, pictures: int = HOP) -> list[Part]:
        """Start to draw the next hop in the threads of a crew -> its parts in order, which are still being drawn.

        Waits until it is `ready`. For one person use either this or `hop`, always from the same thread. The arguments
        are those of `hop`."""
        while not self.ready:
            wait([part.pictures for part in self._begun[0] if not part.pictures.done()][:1])
        plan = self._planned(idle, pictures)
        if plan is None:
            return []
        motion, parts = crew.motion.submit(self._motion.next, plan.heard), []
        for chosen in plan.portions():
            guides = crew.guides.submit(self._guided_of, motion, chosen, plan.cameras[chosen])
            drawn = crew.pictures.submit(self._drawn_of, guides)
            parts.append(Part(drawn, self._giving(plan, chosen)))
        self._begun.append(parts)
        return parts

    def _guided_of(self, motion: Future[Motion], chosen: list[int], cameras: Cameras) -> _Drawable:
        return self._guided(motion.result()[chosen], cameras)

    def _drawn_of(self, guides: Future[_Drawable]) -> list[Tensor]:
        return self._drawn(*guides.result())

    def _giving(self, plan: _Plan, chosen: list[int]) -> Callable[[list[Tensor]], list[LiveFrame]]:
        return lambda drawn: plan.frames(chosen, drawn, self.interruptions != plan.interruptions)

    def _planned(self, idle: bool, pictures: int) -> _Plan | None:
        """Take a hop of sound and the cameras of its frames; None if `idle` is False and sound is missing."""
        with self._lock:
            if len(self._waiting) < HOP * SAMPLES and not idle:
                return None
            heard, real = self._hear()
            taken, interruptions = self._pushed - len(self._waiting), self.interruptions
        end = len(heard) - LOOK_AHEAD * SAMPLES
        cameras = orbit(self._framing, HOP + 1, self._shown_yaw, self.yaw, self.pitch, self._size)[1:]
        self._shown_yaw, number = self.yaw, self._number
        self._number += HOP
        owner = [i * pictures // HOP for i in range(HOP)]
        begin = taken / SAMPLE_RATE - (HOP + LOOK_AHEAD) / FPS
        sound = heard[end - HOP * SAMPLES : end].split(SAMPLES)
        return _Plan(heard, sound, real, cameras, owner, number, begin, interruptions)

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

    @torch.no_grad()
    def _guided(self, motion: Motion, cameras: Cameras) -> _Drawable:
        """Draw the guides as `video.rendering.play` does -> guides, guide tensor, background (1 or T, 3, H, W), loose
        hair."""
        models, renderer = self.models, self.models.renderer
        cameras = cameras.to(renderer.device)
        if self._plate is None:
            self._plate = background_plate(self.identity, cameras, continued=True)
            self._skin = skin_of(models.body, self.identity, cameras, self._plate)
            self._hair = LooseHair(models.body, self.identity)
        guides = render_guides(models.body, self.identity, motion, cameras, self._rest, self._skin)
        performed = self.identity.performed(motion)
        guide = renderer.guide(models.body, self._rest, performed, cameras, guides)
        plate = self._plate[None]
        if not isinstance(self.settings.background, str):
            plate = resolve_background(self.settings.background, self.identity, cameras)
        return guides, guide, plate, self._hair.layer(performed, cameras) if self._hair else None

    @torch.no_grad()
    def _drawn(self, guides: Guides, guide: Tensor, plate: Tensor, strands: Tensor | None) -> list[Tensor]:
        """Draw the pictures (3, H, W) from what `_guided` returns."""
        renderer = self.models.renderer
        alpha = renderer.predict_regions(guides, guide, self.settings.predicted_mask).person.float()
        frames = renderer.restore(guides, guide)
        drawn = isinstance(self.settings.background, str)
        strands = None if strands is None else strands.to(frames)
        return list(composite(frames, alpha, plate.to(frames), drawn, strands).cpu())


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


def stream(live: Live, blocks: Iterable[Tensor | None], crew: Crew | None = None) -> Iterator[LiveFrame]:
    """Map sound to frames as it arrives: each block (S,) is pushed; None means 20 ms passed without sound.

    The iterator yields a hop as soon as it has its sound (or that much time has passed), and the last of them when
    `blocks` ends. Frames follow the pace of the blocks: blocks in real time give frames in real time.

    crew: draws in its threads; frames come with the first block after they are drawn, up to AHEAD hops later."""
    parts: deque[Part] = deque()
    for hops in _due(live, blocks):
        for _ in range(hops):
            if crew is None:
                for few in live.hop(pictures=live.pace()):
                    yield from few
                continue
            while parts and not live.ready:
                yield from parts.popleft().frames()
            parts.extend(live.begin(crew, pictures=live.pace()))
        while parts and parts[0].pictures.done():
            yield from parts.popleft().frames()
    for part in parts:
        yield from part.frames()


def _due(live: Live, blocks: Iterable[Tensor | None]) -> Iterator[int]:
    """Push blocks of sound as in `stream`; yield after each, and once at the end, how many hops are to be drawn now."""
    due, hop = 0, HOP * SAMPLES  # samples that have passed
    for block in blocks:
        if block is not None:
            live.push(block)
        due += SAMPLE_RATE // 50 if block is None else len(block)
        yield due // hop
        due %= hop
    yield -(-int(live.waiting * SAMPLE_RATE + due + LOOK_AHEAD * SAMPLES) // hop)
