"""A person who speaks while the sound is still coming: 20 ms blocks in, frames out, with bounded latency.

Every hop of HOP frames waits for LOOK_AHEAD frames of sound behind it, because a mouth closes before a "b" is heard:
a frame is given at most (HOP + LOOK_AHEAD) / 25 s of sound after its own, and the time it takes to draw. Motion is
sampled in the windows of stage 1, each seeded with the frames that were shown; frames are drawn as in mode "play".
Where no sound comes, the person hears silence, and idles.

Memory does not grow: CONTEXT frames of sound and of motion are kept, and what waits to be spoken is limited.
"""

import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .camera.trajectories import framing_for, orbit
from .motion.conditioning import MotionCondition
from .motion.controls import apply_controls
from .motion.generation.sampling import MotionOptions, condition_tracks, joined_ahead, sample_window  # fmt: skip
from .pipeline import Look, Models, View
from .records import Audio, Identity, Motion
from .shapes import FPS, SAMPLE_RATE, size_of
from .video.guides.maps import Skin, background_plate, render_guides, skin_of
from .video.rendering.composite import composite, resolve_background

HOP, LOOK_AHEAD = 5, 5  # frames
CONTEXT = 64  # frames of sound that the networks hear: one block of the language prior, read in one pass
SAMPLES = int(SAMPLE_RATE / FPS)  # of a frame
LONGEST_WAIT = 60 * SAMPLE_RATE  # samples that may wait to be spoken
LOUD = 0.05  # root mean square that quiet starts are amplified to at most: noise alone must not be taken for speech


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
    options: of stage 1; four steps are enough for windows that are seeded. ValueError for a view that orbits.
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
        self.options, self.settings = options or MotionOptions(steps=4), look or Look()
        self.yaw, self._shown_yaw, self.pitch = self.view.yaw, self.view.yaw, self.view.pitch
        self._framing = framing_for(models.body, identity, self.view.framing, self.view.yaw_origin)
        self._size = self.view.canvas(size_of(identity.portrait))
        self._waiting = torch.zeros(0)  # sound that was pushed and not yet given to the networks
        self._heard = torch.zeros(CONTEXT * SAMPLES)  # what they have heard, the look-ahead included
        self._real = 0  # samples of the look-ahead that are speech, not silence that was put in
        self._lock = threading.Lock()  # of the sound: blocks come while frames are drawn
        self.interruptions = 0
        self._past = torch.zeros(0, models.motion.denoiser.codec.width)
        self._ahead = self._past
        self._number, self._plate, self._loud = 0, None, LOUD
        self._skin: Skin | None = None
        with torch.no_grad():
            self._rest = models.body.rest(identity.shape[None], identity.shell[None])

    @property
    def waiting(self) -> float:
        """Return the seconds of sound that wait to be spoken."""
        return len(self._waiting) / SAMPLE_RATE

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
        """Silence the person from the next hop on: sound that waits is dropped, and sound that was only looked ahead
        at, too."""
        with self._lock:
            self._waiting = torch.zeros(0)
            self._heard = self._heard.clone()  # the thread that draws may be reading the old one
            self._heard[len(self._heard) - LOOK_AHEAD * SAMPLES :] = 0
            self._real = 0
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
        """The next HOP frames; [] where a whole hop of sound is not there yet and `idle` is False.

        idle: fill what is missing with silence; ask for it when the frames shown so far run out.
        pictures: how many are drawn, 1..HOP; the others repeat the one before. See `pace`.
        """
        with self._lock:
            if len(self._waiting) < HOP * SAMPLES and not idle:
                return []
            heard, speaking = self._hear()
            before = self.interruptions
        end = len(heard) - LOOK_AHEAD * SAMPLES
        sound = heard[end - HOP * SAMPLES : end]
        with torch.no_grad():
            shown = self._drawn(self._moved(heard), pictures)
        if self.interruptions != before:  # while these were drawn: they stay to be seen, and are not heard
            sound, speaking = torch.zeros_like(sound), False
        found = [
            LiveFrame(picture, part, self._number + i, speaking)
            for i, (picture, part) in enumerate(zip(shown, sound.split(SAMPLES), strict=True))
        ]
        self._number += HOP
        return found

    def _hear(self) -> tuple[Tensor, bool]:
        """Take a hop of sound -> what is heard now, and whether the hop that is to be drawn is speech."""
        wanted = HOP * SAMPLES
        fresh, self._waiting = self._waiting[:wanted], self._waiting[wanted:]
        real, speaking = len(fresh), self._real > 0
        silence = fresh.new_zeros(wanted - real)  # before what begins, after what ends: no hole in what is said
        self._heard = torch.cat([self._heard, *((fresh, silence) if speaking else (silence, fresh))])[wanted:]
        self._real = max(0, self._real - wanted) + real
        return self._heard, speaking

    def _moved(self, heard: Tensor) -> Motion:
        """Return the stage 1 for the sound (CONTEXT * SAMPLES,) that is heard: HOP new frames, in a window that begins
        with those before and ends with the look-ahead."""
        motion, net = self.models.motion, self.models.motion.denoiser
        loud = float(heard.square().mean().sqrt())
        self._loud = max(0.95 * self._loud, loud)
        marked = heard.clone()
        if loud < 0.1 * self._loud:  # a pause: the gain that the encoder would take makes noise loud
            marked[:SAMPLES] += self._loud * torch.sin(torch.arange(SAMPLES) * 0.05)
        audio = Audio(marked, marked[None], SAMPLE_RATE)
        channels, prior = condition_tracks(motion, audio, None, None, self.options.prior_strength)
        given = min(len(self._past), net.config.seed)
        span = slice(len(channels) - given - HOP - LOOK_AHEAD, len(channels))
        width = span.stop - span.start
        seed, mask = self._past.new_zeros(1, width, net.codec.width), self._past.new_zeros(1, width, 1)
        seed[0, :given], mask[0, :given] = self._past[len(self._past) - given :], 1
        device = motion.device
        style = self.options.whole_style.vector().to(device)[None]
        said = None if prior is None else prior[span][None]
        cond = MotionCondition(channels[None, span], style, seed.to(device), mask.to(device), said)
        generator = torch.Generator().manual_seed((self.options.seed * 1_000_003 + self._number) % 2**63)
        x = sample_window(net, cond, torch.randn(cond.seed.shape, generator=generator).to(device), self.options)[
            0
        ].cpu()
        fresh = joined_ahead(self._ahead, x[given : given + HOP])
        self._ahead = x[given + HOP :]
        self._past = torch.cat([self._past, fresh])[-net.config.seed :]
        centre = net.codec.decode_motion(torch.zeros(1, net.codec.width, device=device))
        return apply_controls(net.codec.decode_motion(fresh.to(device)), centre, self._number, self.options).to(device)

    def _drawn(self, motion: Motion, pictures: int = HOP) -> list[Tensor]:
        """Return the stage 2 as `video.play` has it: the new frames, HOP of (3, H, W), while the camera pans to its
        yaw."""
        models, renderer = self.models, self.models.renderer
        cameras = orbit(self._framing, HOP + 1, self._shown_yaw, self.yaw, self.pitch, self._size)[1:]
        self._shown_yaw = self.yaw
        owner = [i * pictures // HOP for i in range(HOP)]
        drawn_frames = [owner.index(n) for n in range(pictures)]
        motion, cameras = motion[drawn_frames], cameras[drawn_frames].to(renderer.device)
        if self._plate is None:
            self._plate = background_plate(self.identity, cameras, continued=True)
            self._skin = skin_of(models.body, self.identity, cameras, self._plate)
        guides = render_guides(models.body, self.identity, motion, cameras, self._rest, self._skin)
        guide = renderer.guide(models.body, self._rest, self.identity.performed(motion), cameras, guides)
        alpha = renderer.predict_regions(guides, guide, self.settings.predicted_mask).person.float()
        frames = renderer.restore(guides, guide)
        drawn = isinstance(self.settings.background, str)
        plate = self._plate[None] if drawn else resolve_background(self.settings.background, self.identity, cameras)
        shown = list(composite(frames, alpha, plate.to(frames), drawn).cpu())
        return [shown[n] for n in owner]


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
            yield from live.frames(pictures=live.pace())
    rest = live.waiting * SAMPLE_RATE + due + LOOK_AHEAD * SAMPLES
    for _ in range(-(-int(rest) // hop)):
        yield from live.frames()
