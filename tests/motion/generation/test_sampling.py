"""Motion of any length: exact frame counts, windows like one pass, seeds, strengths, prior on and off."""

import typing
from dataclasses import fields, replace

import pytest
import torch

from stereotalker_core.audio.load import make_audio as make_sound
from stereotalker_core.audio.phones import PHONE_INDEX
from stereotalker_core.evaluation.motion.liveliness import head_yaw
from stereotalker_core.motion.arkit import ARKIT, ARKIT_INDEX, BLINK, MOUTH
from stereotalker_core.motion.conditioning import MotionCondition, Style
from stereotalker_core.motion.edit import PARTS, concat
from stereotalker_core.motion.generation.bearing import rest_pose
from stereotalker_core.motion.generation.changes import MotionChanges
from stereotalker_core.motion.generation.sampling import (
    NOISE,
    MotionModels,
    MotionOptions,
    joined_ahead,
    sample_motion,
    sampling_windows,
    stream_motion,
)
from stereotalker_core.motion.lips import part_lips, shut_lips
from stereotalker_core.motion.representation import MotionCodec
from stereotalker_core.records import SpeechFeatures
from tests.motion.samples import make_audio, make_denoiser

STEPS = 2


@pytest.fixture
def raw(monkeypatch):
    """What the network samples, without the filters of the arms and the bearing: settings to sample with."""
    for name in ("bounded_stream", "clear_stream"):
        monkeypatch.setattr(f"stereotalker_core.motion.generation.sampling.{name}", lambda chunks: chunks)
    return {"liveliness": 0, "lip_closure": 0, "blink_rate": None}


def same(a, b) -> bool:
    return torch.equal(a.rotations, b.rotations) and torch.equal(a.expression, b.expression)


@pytest.mark.parametrize("samples", [1, 639, 640, 641, 16_000, 16_001, 33_333, 70_001])
def test_frame_count_is_exact(models, samples):
    audio = make_audio(samples)
    chunks = list(stream_motion(models, audio, steps=1))
    assert sum(map(len, chunks)) == audio.frame_count() == -(-samples // 640)
    assert all(chunk.rotations.isfinite().all() for chunk in chunks)


@pytest.mark.parametrize("frames", [1, 5, 20, 21, 33, 34, 100, 257])
def test_windows_tile_the_frames(frames):
    plan = sampling_windows(frames, 20, 4, 3)
    assert [w.start for w in plan] == [0, *(w.stop for w in plan[:-1])] and plan[-1].stop == frames
    for index, w in enumerate(plan):
        assert w.begin <= w.start < w.stop <= w.end <= w.begin + 20
        assert w.given >= 4 or index == 0
        assert w.end - w.stop == 3 or w.end == frames


def test_same_seed_same_motion_other_seed_other_motion(models):
    audio = make_audio(40_000)
    a, b, c = (sample_motion(models, audio, seed=s, steps=STEPS) for s in (1, 1, 2))
    assert same(a, b) and not same(a, c)


def test_global_random_state_is_not_touched(models):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    sample_motion(models, make_audio(9000), steps=STEPS)
    assert torch.equal(before, torch.get_rng_state())


class Pointwise(torch.nn.Module):
    """A denoiser whose answer depends on the sound of each frame alone: windows must not show."""

    def __init__(self):
        super().__init__()
        self.config = replace(make_denoiser().config, window=20, seed=4, lookahead=3)
        self.codec = MotionCodec(MotionCodec.Config(fingers=6))
        self.no_audio = torch.nn.Parameter(torch.zeros(1))

    def tell(self, cond):
        return None

    def forward(self, x, sigma, cond):
        return cond.audio.sum(-1, keepdim=True).expand_as(x) * 0.1


def test_windows_equal_one_pass_where_the_network_is_pointwise(models):
    audio, net = make_audio(60_000), Pointwise()
    windowed = sample_motion(MotionModels(models.encoder, None, net), audio, steps=STEPS)
    net.config = replace(net.config, window=1000)
    torch.testing.assert_close(
        windowed.rotations, sample_motion(MotionModels(models.encoder, None, net), audio, steps=STEPS).rotations
    )


def test_seed_frames_join_the_windows(models, raw):
    """What is emitted of window k is what window k + 1 was given."""
    audio, seen = make_audio(60_000), []
    net = models.denoiser

    def spy(x, sigma, cond):
        seen.append(cond)
        return type(net).forward(net, x, sigma, cond)

    net.forward = spy
    try:
        motion = sample_motion(models, audio, steps=1, prior_strength=0, **raw)
    finally:
        del net.forward
    plan = sampling_windows(len(motion), 20, 4, 3)
    assert len(seen) == len(plan) > 3
    for cond, window in zip(seen[1:], plan[1:], strict=True):
        rotations, expression = net.codec.decode(cond.seed[0, : window.given])
        span = slice(window.begin, window.start)
        torch.testing.assert_close(rotations, motion.rotations[span], atol=1e-5, rtol=0)
        torch.testing.assert_close(expression, motion.expression[span], atol=1e-5, rtol=0)


def test_prior_strength_zero_is_no_prior_bitwise(models):
    audio = make_audio(30_000)
    on, off = (sample_motion(models, audio, steps=STEPS, prior_strength=s) for s in (1.0, 0.0))
    without = sample_motion(MotionModels(models.encoder, None, models.denoiser), audio, steps=STEPS)
    assert same(off, without) and not same(on, off)


def test_windows_are_joined_without_a_jump():
    ahead, fresh = torch.zeros(8, 3), torch.ones(20, 3)
    out = joined_ahead(ahead, fresh)
    assert out[0].max() < 0.05 and torch.equal(out[8:], fresh[8:])
    assert out.diff(dim=0).min() >= 0 and out.diff(dim=0).max() < 0.2
    assert torch.equal(joined_ahead(ahead[:0], fresh), fresh) and torch.equal(joined_ahead(fresh[:8], fresh), fresh)


def test_guidance_one_is_the_plain_condition_and_more_is_not(models, raw):
    audio = make_audio(12_000)
    plain, one = sample_motion(models, audio, steps=STEPS), sample_motion(models, audio, steps=STEPS, guidance_audio=1)
    assert same(plain, one)
    assert not same(plain, sample_motion(models, audio, steps=STEPS, guidance_audio=2))
    assert not same(plain, sample_motion(models, audio, steps=STEPS, guidance_prior=1))
    off = sample_motion(models, audio, steps=STEPS, guidance_prior=0, **raw)
    none = sample_motion(models, audio, steps=STEPS, prior_strength=0, **raw)
    torch.testing.assert_close(off.rotations, none.rotations, atol=1e-4, rtol=0)


def test_stream_is_the_whole_with_smoothing(models):
    audio = make_audio(50_000)
    whole = sample_motion(models, audio, steps=STEPS, smoothing=1.5)
    assert same(concat(list(stream_motion(models, audio, steps=STEPS, smoothing=1.5))), whole)
    assert len(whole) == audio.frame_count()


class Hearing(torch.nn.Module):
    """An encoder that hears a p in the second half and a vowel before it."""

    def __init__(self, encoder):
        super().__init__()
        self.encoder = encoder

    def encode(self, audio, **settings):
        speech = self.encoder.encode(audio, **settings)
        phones = torch.full_like(speech.phones, 1e-4)
        phones[:, PHONE_INDEX["aa"]] = 1.0
        phones[len(phones) // 2 :, PHONE_INDEX["p"]] = 1.0
        return replace(speech, phones=phones.log())


def test_lips_are_shut_where_a_p_is_heard_and_nowhere_else(models):
    deaf = MotionModels(Hearing(models.encoder), None, models.denoiser)
    audio, shut = make_audio(50_000), {}
    for amount in (0.0, 0.5, 1.0):
        shut[amount] = sample_motion(deaf, audio, steps=STEPS, lip_closure=amount)
    half, at = len(shut[0.0]) // 2, ARKIT_INDEX["mouthClose"]
    assert all(torch.equal(m.rotations, shut[0.0].rotations) for m in shut.values())
    parted = part_lips(shut[0.0].expression[: half - 1], torch.ones(half - 1))
    torch.testing.assert_close(shut[1.0].expression[: half - 1], parted)  # a vowel
    closed = shut[1.0].expression[half:]
    assert (closed[:, at] >= closed[:, ARKIT_INDEX["jawOpen"]]).all()
    assert closed[:, ARKIT_INDEX["mouthFunnel"]].abs().max() == 0
    time = torch.arange(len(shut[0.0]))
    plain = shut_lips(part_lips(shut[0.0].expression, 0.5 * (time < half - 1)), 0.5 * (time >= half))
    torch.testing.assert_close(shut[0.5].expression, plain)
    streamed = concat(list(stream_motion(deaf, audio, steps=STEPS)))
    assert same(streamed, shut[1.0])


def test_defaults_are_euler_steps_between_the_two_noise_levels(models, raw):
    """The default sampling of one window, against the probability flow written out."""
    from stereotalker_core.motion.generation import sampling

    audio, levels = make_audio(9000), []
    net, whole = models.denoiser, type(models.denoiser).forward

    def spy(x, sigma, cond):
        levels.append(float(sigma[0]))
        return whole(net, x, sigma, cond)

    net.forward = spy
    try:
        motion = sample_motion(models, audio, steps=4, prior_strength=0, **raw)
    finally:
        del net.forward
    assert levels[0] == pytest.approx(NOISE[0]) and levels[-1] == pytest.approx(NOISE[1]) and len(levels) == 4
    channels, _ = sampling.condition_tracks(models, audio, None, None, 0.0)
    frames, width = len(channels), net.codec.width
    empty = torch.zeros(1, frames, width), torch.zeros(1, frames, 1)
    cond = MotionCondition(channels[None], Style().vector()[None], *empty)
    x = levels[0] * sampling._window_noise(0, 0, empty[0])
    with torch.no_grad():
        for now, following in zip(levels, [*levels[1:], 0.0], strict=True):
            slope = (x - net(x, torch.tensor([now]), cond)) / now
            x = x + (following - now) * slope
    rotations, expression = net.codec.decode(x[0])
    torch.testing.assert_close(motion.rotations, rotations, atol=1e-4, rtol=0)
    torch.testing.assert_close(motion.expression, expression, atol=1e-4, rtol=0)


def test_transcript_is_used_where_it_fits_and_dropped_where_not(models, monkeypatch):
    from stereotalker_core.motion.generation import sampling

    audio = make_audio(30_000)
    heard = sample_motion(models, audio, steps=STEPS)
    monkeypatch.setattr(sampling, "timed_words", lambda speech, transcript: [("hi", 0.2, 0.6)])
    assert not same(sample_motion(models, audio, steps=STEPS, transcript="hi"), heard)
    monkeypatch.setattr(sampling, "timed_words", lambda speech, transcript: [])
    assert same(sample_motion(models, audio, steps=STEPS, transcript="hi"), heard)


def test_nothing_is_kept_for_gradients(models):
    assert not sample_motion(models, make_audio(9000), steps=1).rotations.requires_grad


def test_callback_counts_over_all_windows(models):
    seen = []
    sample_motion(models, make_audio(40_000), steps=STEPS, callback=lambda i, n, d: seen.append((i, n)))
    total = STEPS * len(sampling_windows(63, 20, 4, 3))
    assert seen == [(i, total) for i in range(total)]


def test_style_and_strengths_matter(models):
    audio = make_audio(20_000)
    plain = sample_motion(models, audio, steps=STEPS)
    assert not same(plain, sample_motion(models, audio, steps=STEPS, style="happy"))
    assert not same(plain, sample_motion(models, audio, steps=STEPS, style=Style(energy=1.8)))
    plain, still = (sample_motion(models, audio, steps=STEPS, motion_strength=s, liveliness=s) for s in (1, 0))
    assert still.rotations[:, :19].diff(dim=0).abs().max() == 0
    mouth = [*MOUTH, *BLINK]
    assert torch.equal(still.expression[:, mouth], plain.expression[:, mouth])


def test_hands_can_be_lowered_and_strokes_sized(models):
    audio = make_audio(60_000)
    on = sample_motion(models, audio, steps=STEPS)
    low, off = (sample_motion(models, audio, steps=STEPS, hands=hands) for hands in ("low", "off"))
    arms = list(PARTS["hands"])
    torch.testing.assert_close(off.rotations[:, arms], rest_pose().expand(len(off), -1, -1), atol=1e-4, rtol=0)
    assert torch.equal(off.expression, on.expression)
    distance = [float((m.rotations[:, arms] - rest_pose()).square().mean()) for m in (on, low, off)]
    assert distance[0] > distance[1] > distance[2]


def test_without_speech_the_mouth_is_shut_and_the_arms_hang(models):
    silence = make_sound(torch.zeros(1, 16_000 * 6), 16_000)
    quiet = MotionModels(Deaf(), models.prior, models.denoiser)
    motion = sample_motion(quiet, silence, steps=STEPS)
    speaking = [i for i in MOUTH if not ARKIT[i].startswith(("mouthSmile", "mouthFrown", "mouthDimple"))]
    assert not motion.expression[:, speaking].any()
    arms = motion.rotations[60:90, list(PARTS["hands"])]
    torch.testing.assert_close(arms, rest_pose().expand_as(arms), atol=1e-4, rtol=0)
    assert head_yaw(motion).diff().abs().max() > 0 and motion.expression[:, list(BLINK)].max() == 1  # yet alive


class Deaf(torch.nn.Module):
    """An encoder that hears nobody."""

    def encode(self, audio, features=True):
        phones = torch.full((audio.frame_count(), len(PHONE_INDEX)), 1e-4)
        phones[:, PHONE_INDEX["sil"]] = 1 - 39e-4
        return SpeechFeatures(phones.new_zeros(len(phones), 0), phones.log(), audio.seconds)


@pytest.mark.parametrize(
    "settings,name",
    [
        ({"steps": 0}, "steps"), ({"seed": -1}, "seed"), ({"style": "bored"}, "emotion"), ({"sampler": "x"}, "sampler"),
        ({"prior_strength": -1}, "prior_strength"), ({"blink_rate": 100}, "blink_rate"), ({"smoothing": -1}, "smooth"),
        ({"lip_closure": 1.5}, "lip_closure"), ({"liveliness": -1}, "liveliness"), ({"hands": "up"}, "hands"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused_before_work(models, settings, name):
    with pytest.raises(ValueError, match=name):
        stream_motion(models, make_audio(9000), **settings)


def test_options_and_settings_agree(models):
    audio = make_audio(9000)
    assert same(
        sample_motion(models, audio, options=MotionOptions(seed=4, steps=STEPS)),
        sample_motion(models, audio, seed=4, steps=STEPS),
    )


def test_every_setting_can_be_changed_by_keyword(models):
    assert list(typing.get_type_hints(MotionChanges)) == [field.name for field in fields(MotionOptions)]
    with pytest.raises(TypeError, match="sed"):
        sample_motion(models, make_audio(9000), sed=4)


def test_empty_sound_and_foreign_features_are_refused(models):
    with pytest.raises(ValueError, match="empty"):
        stream_motion(models, make_audio(0))
    other = models.encoder.encode(make_audio(9000))
    with pytest.raises(ValueError, match="frames"):
        sample_motion(models, make_audio(20_000), speech=other)
