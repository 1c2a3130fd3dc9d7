"""Stage 1 while the sound is still coming: one hop of frames at a time, with a few frames of look-ahead.

Every hop is a window of the denoiser that begins with frames already shown and ends with the look-ahead. Noise belongs
to a frame: overlapping windows start from the same noise there, so that the arms continue the movement planned by the
previous window (a third of the jitter of fresh noise)."""

import torch
from torch import Tensor

from ...audio.activity import voice_activity
from ...audio.phones import PHONES
from ...records import Audio, Motion
from ...shapes import FPS, SAMPLE_RATE
from ..conditioning import MotionCondition
from ..controls import apply_controls
from ..lips import closing, lips_closed, parting
from .bearing import with_bearing
from .sampling import MotionModels, MotionOptions, condition_tracks, joined_ahead, sample_window

SAMPLES = int(SAMPLE_RATE / FPS)  # of a frame
LOUD = 0.05  # root mean square that quiet starts are amplified to at most: noise alone must not be taken for speech
PRIOR_EVERY = 2  # hops: words last longer than one, and the language model costs as much as the encoder
_NOT_KNOWN = torch.zeros(0)  # where a recording that is still being made will pause


class LiveMotion:
    """The motion of one performance, sampled hop by hop: `next(heard)` -> Motion of `hop` frames.

    models, options: of stage 1; hop, look_ahead: frames. Memory does not grow."""

    def __init__(self, models: MotionModels, options: MotionOptions, hop: int, look_ahead: int):
        self.models, self.options, self.hop, self.look_ahead = models, options, hop, look_ahead
        self.number = 0  # of the next frame
        net = models.denoiser
        self._past = torch.zeros(0, net.codec.width)  # the latest frames, normalised
        self._ahead = self._past  # what the window before has planned beyond them
        self._noise = self._past  # of the frames of the window
        self._loud, self._turn = LOUD, 0
        self._said: Tensor | None = None  # (context, P) of the language prior
        self._silence: tuple[Tensor, Tensor | None] | None = None  # what is heard where nothing is
        with torch.no_grad():
            self._centre = net.codec.decode_motion(torch.zeros(1, net.codec.width, device=models.device))

    @torch.no_grad()
    def next(self, heard: Tensor) -> Motion:
        """Sample the next `hop` frames, on the models' device.

        heard: the latest sound (S,), S a multiple of SAMPLES (one frame); it ends `look_ahead` frames after them."""
        net, options = self.models.denoiser, self.options
        channels, said = self._told(heard)
        given = min(len(self._past), net.config.seed)
        width = given + self.hop + self.look_ahead
        span = slice(len(channels) - width, len(channels))
        seed, mask = self._past.new_zeros(1, width, net.codec.width), self._past.new_zeros(1, width, 1)
        seed[0, :given], mask[0, :given] = self._past[len(self._past) - given :], 1
        device = self.models.device
        style = options.whole_style.vector().to(device)[None]
        prior = None if said is None else said[None, span]
        cond = MotionCondition(channels[None, span], style, seed.to(device), mask.to(device), prior)
        x = sample_window(net, cond, self._noise_of(given, width)[None].to(device), options)[0].cpu()
        fresh = joined_ahead(self._ahead, x[given : given + self.hop])
        self._ahead = x[given + self.hop :]
        self._past = torch.cat([self._past, fresh])[-net.config.seed :]
        new = slice(len(channels) - self.look_ahead - self.hop, len(channels) - self.look_ahead)
        motion = self._finished(net.codec.decode_motion(fresh.to(device)), channels, new)
        self.number += self.hop
        self._turn += 1
        return motion

    def _told(self, heard: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the audio channels (T, F) and the prior (T, P), or None, for the latest sound; cached for silence."""
        if not bool(heard.any()):
            self._silence = self._silence or self._listened(heard, True)
            self._said, self._turn = self._silence[1], 0
            return self._silence
        return self._listened(heard, self._turn % PRIOR_EVERY == 0)

    def _listened(self, heard: Tensor, wholly: bool) -> tuple[Tensor, Tensor | None]:
        """Compute the inputs of `_told`; with `wholly` False the prior's last state is repeated instead of evaluated.
        """
        loud = float(heard.square().mean().sqrt())
        self._loud = max(0.95 * self._loud, loud)
        marked = heard.clone()
        if loud < 0.1 * self._loud:  # a pause: the gain that the encoder would take makes noise loud
            marked[:SAMPLES] += self._loud * torch.sin(torch.arange(SAMPLES) * 0.05)
        audio = Audio(marked, marked[None], SAMPLE_RATE)
        wholly = wholly or self._said is None
        channels, prior = condition_tracks(self.models, audio, None, None, wholly * self.options.prior_strength)
        if prior is not None:
            self._said = prior[0 : len(channels)]
        elif self._said is not None:
            self._said = torch.cat([self._said[self.hop :], self._said[-1:].expand(self.hop, -1)])
        return channels, self._said

    def _noise_of(self, given: int, width: int) -> Tensor:
        """Return the noise (width, D) of the frames from number - given on; each frame's depends on (seed, its number)
        alone."""
        kept = self._noise[len(self._noise) - given - self.look_ahead :] if self.number else self._noise
        first = self.number - given
        rows = [
            torch.randn(
                self._past.shape[1],
                generator=torch.Generator().manual_seed((self.options.seed * 1_000_003 + frame) % 2**63),
            )
            for frame in range(first + len(kept), first + width)
        ]
        self._noise = torch.cat([kept, torch.stack(rows)])
        return self._noise

    def _finished(self, motion: Motion, channels: Tensor, new: slice) -> Motion:
        """Apply the controls to new frames: strengths, lip closure from the phones, and turns of the head.

        motion: the new frames; channels: (T, F) of the sound; new: which of the T are the new frames."""
        options, phones = self.options, channels[:, : len(PHONES)]
        motion = apply_controls(motion, self._centre, self.number, options)
        active, shut = voice_activity(phones.log()), closing(phones)
        apart = parting(phones, shut).to(shut)
        motion = lips_closed(motion, shut[new], apart[new], active[new], options.lip_closure)
        body = options.liveliness * options.motion_strength
        return with_bearing(motion, options.seed, self.number, _NOT_KNOWN, body * options.head_strength, body)

