"""Speech -> motion of any length: overlapping windows of the denoiser, each continuing the frames before it."""

import functools
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ...audio.activity import idleness, mouth_in_use
from ...audio.align import align_words, sharpened
from ...audio.encoder import SpeechEncoder
from ...audio.listening.ways import WAYS, found_words
from ...audio.phones import PHONE_INDEX, PHONES
from ...audio.spool import SpooledAudio
from ...checkpoint import NANO, load
from ...options import check_limits, choice, option
from ...records import Audio, Motion, SpeechFeatures
from ...shapes import FPS
from ..conditioning import MotionCondition, Style, speech_channels
from ..controls import apply_controls
from ..edit import at_rate, concat, looped, smooth_stream
from ..emotions import TimedEmotion, style_track
from ..lips import closing, lips_closed, parting
from ..networks.denoiser import MotionDenoiser
from ..networks.diffusion import SAMPLERS, Callback, guided, karras_sigmas, sample
from ..networks.prior import LanguagePrior, PriorTrack, Word
from ..representation import smooth_time
from .bearing import lowered, with_bearing
from .changes import MotionChanges
from .clearance import clear_stream
from .streams import bounded_stream, resting_stream, stroke_stream
from .strokes import aligned_stream, heard_accents

if TYPE_CHECKING:
    from typing import Unpack

logger = logging.getLogger(__name__)
# noise levels from and to which is sampled, in deviations: noise of 30 still lets the posture through, so that starting
# there narrows the choice of postures; what would be refined below 0.2 is jitter
NOISE = (80.0, 0.2)
GUIDANCE_SIGMA = 2.0  # frames
HANDS = {"on": 0.0, "low": 0.5, "off": 1.0}  # how far the arms are taken towards hanging
REST_SHARE = 0.95  # of a hand's median speed, below which it rests
WORDS_TOLD = (
    "Without a transcript: gesture words spotted in the phones (the same everywhere); recognised: all words, by "
    "pocketsphinx; off: none; of a command also auto: recognised where it is installed."
)
STROKE_POWER = 0.8  # size of the gestures = energy to this power, beyond what the denoiser makes of the energy
Sound = Audio | SpooledAudio  # in memory, or on disk for hours of it


@dataclass(frozen=True)
class MotionModels:
    """The networks of stage 1: speech encoder, language prior (None: no language model) and motion denoiser."""

    encoder: SpeechEncoder
    prior: LanguagePrior | None
    denoiser: MotionDenoiser

    @classmethod
    def load_nano(cls, device: str | torch.device = "cpu") -> "MotionModels":
        """Load the models that ship with the package. FileNotFoundError names a missing file."""
        return cls(*(load(kind, NANO / name, str(device)) for kind, name in _FILES.values()))

    @property
    def device(self) -> torch.device:
        """Return the device of the networks."""
        return self.denoiser.no_audio.device


_FILES = {
    "encoder": (SpeechEncoder, "audio_encoder.safetensors"),
    "prior": (LanguagePrior, "prior.safetensors"),
    "denoiser": (MotionDenoiser, "motion_denoiser.safetensors"),
}


class LaterMotionModels(MotionModels):
    """The nano models of stage 1, each loaded at its first use, because importing transformers alone takes 2 s."""

    def __init__(self, device: str | torch.device = "cpu"):
        """Check that all files exist. FileNotFoundError names a missing one."""
        for _, name in _FILES.values():
            if not (NANO / name).is_file():
                raise FileNotFoundError(f"no file at {NANO / name}")
        object.__setattr__(self, "_device", str(device))

    def __getattr__(self, name: str) -> SpeechEncoder | LanguagePrior | MotionDenoiser:
        if name not in _FILES:
            raise AttributeError(f"{type(self).__name__} has no {name!r}")
        kind, file = _FILES[name]
        object.__setattr__(self, name, load(kind, NANO / file, self.__dict__["_device"]))
        return self.__dict__[name]


@dataclass(frozen=True)
class MotionOptions:
    """The settings of motion sampling; every value is checked when built.

    guidance_audio, guidance_prior: 1 = none; above, the effect of the sound, or of the words' meaning, is exaggerated.
    motion_strength, head_strength, hands_strength, face_strength: 0..3, size of the movements, 1 = as sampled.
    blink_rate: blinks per minute of both eyes together; None = as sampled, each lid by itself.
    smoothing: Gaussian sigma in frames; mouth and blinks stay sharp.
    lip_closure: 0..1, how far lips are shut on p, b, m and silence, and parted on other sounds, beyond the sample.
    liveliness: 0..3, size of added head turns and weight shifts; 0 = none, and hands stay as sampled.
    hands: "on", "low" (arms half lowered) or "off".
    words: without a transcript, "spotted" finds words with a gesture in the encoder's phones, "recognised" finds all
        words by PocketSphinx, "off" leaves the prior with the sound alone.
    emotions: emotions from given times on, which replace the style's own.
    fps, loop: frame rate, and whether the end leads into the beginning; for whole motions (`sample_motion`).

    The default is Euler steps from NOISE[0] down to NOISE[1]: second-order steps overshoot where a network of this size
    is uncertain, and hands tremble."""

    seed: int = option(0, 0, 2**64 - 1, "The performance.")
    steps: int = option(8, 1, 1000, "Denoising steps a window.", widget=(1, 100))
    sampler: str = choice("euler", SAMPLERS)
    style: str | Style = "neutral"  # an emotion, or a whole Style
    prior_strength: float = option(
        1.0, 0, 3, "How much the language model steers the gestures; 0 = off.", step=0.05
    )
    guidance_audio: float = option(1.0, 0, 10)
    guidance_prior: float = option(3.0, 0, 10)
    motion_strength: float = option(
        1.0, 0, 3, "Size of body, head and hand movements; 1 = as sampled.", step=0.05
    )
    head_strength: float = option(1.0, 0, 3)
    hands_strength: float = option(1.0, 0, 3)
    face_strength: float = option(1.0, 0, 3, "Size of lip and face movements; 1 = as sampled.", step=0.05)
    blink_rate: float | None = option(15.0, 0, 60, "Blinks a minute; 0 = none.")
    smoothing: float = option(
        0.0, 0, 50, "Frames of Gaussian smoothing on the body; lips stay sharp.", widget=(0, 10), step=0.1
    )
    lip_closure: float = option(1.0, 0, 1)
    liveliness: float = option(
        1.0, 0, 3, "How far the head turns and the weight shifts; 0 = only as sampled.", step=0.05
    )
    hands: str = choice("on", HANDS, "on: gestures; low: arms half lowered; off: hanging arms.")
    words: str = choice("spotted", WAYS, WORDS_TOLD)
    emotions: tuple[TimedEmotion, ...] = ()
    fps: float = option(FPS, 1, 120)
    loop: bool = False

    def __post_init__(self) -> None:
        check_limits(self)
        if isinstance(self.style, str):
            object.__setattr__(self, "style", Style(self.style))

    @property
    def whole_style(self) -> Style:
        """Return the style as a `Style`, also where only the name of an emotion was given."""
        return Style(self.style) if isinstance(self.style, str) else self.style


@dataclass(frozen=True)
class SamplingWindow:
    """The frames of one sampler call: begin..end are sampled, those before start are known already, start..stop are
    new."""

    begin: int
    start: int
    stop: int
    end: int

    @property
    def given(self) -> int:
        return self.start - self.begin


def sampling_windows(frames: int, window: int, seed: int, lookahead: int) -> list[SamplingWindow]:
    """Return windows of `window` frames that cover `frames` frames, each with `seed` known frames at its start and
    `lookahead` at its end that the next one samples again."""
    found, done = [], 0
    while done < frames:
        begin = max(0, min(done - seed, frames - window))  # the last window reaches back instead of being short
        end = min(begin + window, frames)
        stop = frames if end == frames else end - lookahead
        found.append(SamplingWindow(begin, done, stop, end))
        done = stop
    return found


def stream_motion(
    models: MotionModels,
    audio: Sound,
    *,
    transcript: str | Sequence[Word] | None = None,
    speech: SpeechFeatures | None = None,
    callback: Callback | None = None,
    options: MotionOptions | None = None,
    **changes: "Unpack[MotionChanges]",
) -> Iterator[Motion]:
    """Yield chunks of motion, ceil(seconds * 25) frames in total, deterministic by seed; on the CPU.

    models: the networks of stage 1.
    audio: the recording.
    transcript: the words spoken, or words with their times; without it the language prior uses the sound.
    speech: features of this recording, if they are already encoded.
    callback: callback(step, steps, denoised), counted over all windows.
    options: the settings; None takes the defaults.
    changes: single settings by keyword that override the options: `stream_motion(models, audio, seed=3,
    style="happy")`.

    ValueError for bad settings before any work, TypeError for one that does not exist."""
    options = replace(options or MotionOptions(), **changes)
    if options.fps != FPS or options.loop:
        raise ValueError(f"a stream has {FPS:g} frames per second and cannot loop; sample the whole motion")
    if audio.frame_count() == 0:
        raise ValueError("the recording is empty; give at least one sample of sound")
    chunks = _windows_of_motion(models, audio, transcript, speech, callback, options)
    chunks = stroke_stream(chunks, max(options.whole_style.energy, 0.05) ** STROKE_POWER)
    chunks = resting_stream(chunks, REST_SHARE if options.liveliness else 0.0)
    return smooth_stream(bounded_stream(clear_stream(bounded_stream(chunks))), options.smoothing)  # cleared arms jump


def sample_motion(
    models: MotionModels,
    audio: Sound,
    options: MotionOptions | None = None,
    *,
    transcript: str | Sequence[Word] | None = None,
    speech: SpeechFeatures | None = None,
    callback: Callback | None = None,
    **changes: "Unpack[MotionChanges]",
) -> Motion:
    """Sample the whole motion at once, ceil(seconds * fps) frames; the arguments are those of `stream_motion`."""
    options = replace(options or MotionOptions(), **changes)
    streamed = replace(options, fps=FPS, loop=False)
    chunks = stream_motion(
        models, audio, transcript=transcript, speech=speech, callback=callback, options=streamed
    )
    motion = concat(list(chunks))
    motion = looped(motion) if options.loop else motion
    return motion if options.fps == FPS else at_rate(motion, options.fps, audio.frame_count(options.fps))


@torch.no_grad()  # here, not on the caller: a generator runs when it is asked for the next chunk
def _windows_of_motion(models, audio, transcript, speech, callback, options) -> Iterator[Motion]:
    channels, prior = condition_tracks(models, audio, transcript, speech, options.prior_strength, options.words)
    chunks = _sampled(models, channels, prior, callback, options)
    yield from aligned_stream(chunks, heard_accents(channels)) if options.liveliness else chunks


@torch.no_grad()
def _sampled(models, channels, prior, callback, options) -> Iterator[Motion]:
    """Yield the motion of each window as it is sampled.

    channels: (T, F) of the sound and prior: states of the words, from `condition_tracks`; models, callback, options: as
    in `stream_motion`."""
    net, config = models.denoiser, models.denoiser.config
    styles = style_track(options.whole_style, options.emotions, len(channels)).to(models.device)
    plan = sampling_windows(len(channels), config.window, config.seed, config.lookahead)
    active = mouth_in_use(1 - channels[:, PHONE_INDEX["sil"]]).cpu()
    shut = closing(channels[:, : len(PHONES)])
    apart = parting(channels[:, : len(PHONES)], shut).to(shut)
    idle, quiet = idleness(active).clamp_min(HANDS[options.hands]), 1 - active
    centre = net.codec.decode_motion(torch.zeros(1, net.codec.width, device=models.device))
    past = channels.new_zeros(0, net.codec.width)  # the latest frames, normalised
    ahead = past  # what the window before has sampled of the frames that this one samples again
    for index, window in enumerate(plan):
        span = slice(window.begin, window.end)
        cond = MotionCondition(
            channels[None, span],
            styles[window.start : window.stop].mean(0, keepdim=True),
            *_seed_frames(past[len(past) - window.given :], window.end - window.begin),
            None if prior is None else prior[span][None],
        )
        report = _counted_from(callback, index * options.steps, len(plan) * options.steps)
        x = sample_window(net, cond, _window_noise(options.seed, index, cond.seed), options, report)[0]
        fresh = joined_ahead(ahead, x[window.given : window.stop - window.begin])
        ahead = x[window.stop - window.begin :]
        past = torch.cat([past, fresh])[-config.window :]
        motion = apply_controls(net.codec.decode_motion(fresh), centre, window.start, options)
        new = slice(window.start, window.stop)
        motion = lips_closed(motion, shut[new], apart[new], active[new], options.lip_closure).to("cpu")
        body = options.liveliness * options.motion_strength
        head = body * options.head_strength
        motion = with_bearing(motion, options.seed, window.start, quiet, head, body)
        yield lowered(motion, idle[new])


def joined_ahead(ahead: Tensor, fresh: Tensor) -> Tensor:
    """Blend new frames with the continuation that the previous window planned, which fades out -> (N, D).

    fresh: (N, D) the new frames; ahead: (M, D) the continuation."""
    count = min(len(ahead), len(fresh))
    if count == 0:
        return fresh
    share = (torch.arange(1, count + 1, device=fresh.device, dtype=fresh.dtype) / (count + 1))[:, None]
    share = share * share * (3 - 2 * share)
    return torch.cat([torch.lerp(ahead[:count], fresh[:count], share), fresh[count:]])


def condition_tracks(
    models: MotionModels,
    audio: Sound,
    transcript: str | Sequence[Word] | None,
    speech: SpeechFeatures | None,
    prior_strength: float,
    finding: str = "off",
) -> tuple[Tensor, PriorTrack | None]:
    """Return the audio channels (T, F), and the language prior's states, to be sliced to (frames, P); None: prior off.

    models, audio, transcript, speech: as in `stream_motion`. prior_strength: factor on the states, 0 = prior off.
    finding: how words are found in the sound without a transcript, one of `WAYS`."""
    models_of_sound = [m for m in (models.denoiser, models.prior) if m is not None]
    widths = [model.config.features for model in models_of_sound]  # of the encoder's features that each was trained on
    speech = speech or models.encoder.encode(audio, features=any(widths))
    for model, wanted in zip(models_of_sound, widths, strict=True):
        if wanted and speech.features.shape[1] != wanted:
            raise ValueError(
                f"the speech encoder gives {speech.features.shape[1]} features, the {type(model).__name__} was "
                f"trained on {wanted}; choose the encoder it was trained with in Load Audio Encoder"
            )
    reads, spotted = models.prior is not None and models.prior.config.tokenizer_bytes > 0, []
    words = timed_words(speech, transcript) if transcript else []
    if not transcript and reads and prior_strength:
        words, spotted = found_words(audio, speech, finding)
    speech = sharpened(speech, words) if words else speech
    waveform = audio.waveform.cpu()
    channels = speech_channels(speech, waveform, widths[0] > 0).to(models.device)
    if models.prior is None or prior_strength == 0:
        return channels, None
    same = (widths[0] > 0) == (widths[1] > 0)
    heard = channels if same else speech_channels(speech, waveform, widths[1] > 0)
    return channels, PriorTrack(models.prior, heard.to(models.device), words or spotted, prior_strength, bool(spotted))


def timed_words(speech: SpeechFeatures, transcript: str | Sequence[Word]) -> list[Word]:
    """Return the words of the transcript with their times, by forced alignment; an empty list where it does not fit.

    Words that already have times keep them; those after the end of the sound are dropped."""
    if not isinstance(transcript, str):
        return [(text, start, end) for text, start, end in transcript if start < speech.seconds]
    if not transcript.strip():
        return []
    return [(word.text, word.start, word.end) for word in align_words(speech, transcript)]


def sample_window(
    net: MotionDenoiser, cond: MotionCondition, noise: Tensor, options: MotionOptions, callback: Callback | None = None
) -> Tensor:
    """Denoise unit noise (B, T, D) by the network `net` -> normalised motion (B, T, D); seed frames of `cond` stay."""
    silent = replace(cond, prior=None, keep_audio=torch.zeros_like(cond.keep_audio))
    unprimed = replace(cond, prior=None)
    scale = 1.0 if cond.prior is None else options.guidance_prior
    pair = _pair(cond, cond.prior) if cond.prior is not None and scale != 1 else None
    told = functools.cache(lambda which: replace(which, told=net.tell(which)))  # once for all steps

    def denoise(x: Tensor, sigma: Tensor) -> Tensor:
        known = {}  # with and without the prior in one pass: the network is small, calls cost more than arithmetic
        if pair is not None:
            known[True], known[False] = net(x.repeat(2, 1, 1), sigma.repeat(2), told(pair)).chunk(2)

        def branch(sound: bool, prior: bool) -> Tensor:
            if sound and prior in known:
                return known[prior]
            return net(x, sigma, told(cond if prior else unprimed if sound else silent))

        denoised = guided(branch, options.guidance_audio, scale, _low_passed)
        return torch.where(cond.seed_mask > 0, cond.seed, denoised)

    return sample(options.sampler, denoise, noise, karras_sigmas(options.steps, *reversed(NOISE)), callback)


def _pair(cond: MotionCondition, prior: Tensor) -> MotionCondition:
    """Return the condition twice in one batch: with the prior, and with zeros, which the network takes as no prior."""
    audio, style, seed, mask = (torch.cat([x, x]) for x in (cond.audio, cond.style, cond.seed, cond.seed_mask))
    keep = cond.keep_audio.expand(len(cond.audio), 1, 1).repeat(2, 1, 1)
    return MotionCondition(audio, style, seed, mask, torch.cat([prior, torch.zeros_like(prior)]), keep)


def _low_passed(difference: Tensor) -> Tensor:
    """Smooth the difference (B, T, D) made by the prior over GUIDANCE_SIGMA frames: words end abruptly, gestures do
    not."""
    return smooth_time(difference.transpose(0, 1), GUIDANCE_SIGMA).transpose(0, 1)


def _seed_frames(given: Tensor, frames: int) -> tuple[Tensor, Tensor]:
    """Map known frames (N, D) -> seed (1, frames, D) and seed_mask (1, frames, 1), zero after the known frames."""
    seed = given.new_zeros(1, frames, given.shape[1])
    mask = given.new_zeros(1, frames, 1)
    seed[0, : len(given)] = given
    mask[0, : len(given)] = 1
    return seed, mask


def _window_noise(seed: int, index: int, like: Tensor) -> Tensor:
    """Return the unit noise of window `index`, the shape of `like`; it depends on (seed, index) alone, on every device.
    """
    state = int(np.random.SeedSequence((seed, index)).generate_state(1, np.uint64)[0]) >> 1
    return torch.randn(like.shape, generator=torch.Generator().manual_seed(state)).to(like)


def _counted_from(callback: Callback | None, first: int, total: int) -> Callable[[int, int, Tensor], None] | None:
    return callback and (lambda step, steps, denoised: callback(first + step, total, denoised))
