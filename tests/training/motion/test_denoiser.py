"""Training of stage 1 on a toy corpus: it learns, resumes exactly, and batches are pure functions of the step."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stereotalker_core.motion.lips import lip_gap
from stereotalker_core.motion.representation import MotionCodec
from stereotalker_core.synthetic.movement.gestures import GestureEvent
from stereotalker_core.synthetic.speech.utterance import Utterance
from stereotalker_core.training.loop import Schedule, generator
from stereotalker_core.training.motion.denoiser import (
    MotionLoss,
    Recipe,
    draw_batch,
    fit_codec,
    train,
    with_prior_width,
)
from stereotalker_core.training.motion.motion_data import (
    CLASSES,
    MixedMotion,
    MotionData,
    closed_frames,
    confuse_phones,
    gesture_frames,
    join,
    oracle_phones,
    word_frames,
)
from tests.motion.samples import make_condition, make_denoiser, make_prior

RECIPE = Recipe(batch=4, lengths=(12, 20), gesture_weight=1.0)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> MotionData:
    """Two recordings whose jaw follows the first phone channel."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    n = 160
    phones = rng.random((n, 40)).astype(np.float16)
    motion = rng.normal(0, 0.1, (n, 199)).astype(np.float16)
    motion[:, 147:] = 0.1
    motion[:, 147 + 24] = 0.5 * phones[:, 0]
    tracks = {
        "phones": phones, "prosody": rng.random((n, 5)), "features": np.zeros((n, 0)), "motion": motion,
        "text": rng.random((n, 16)), "heard": rng.random((n, 16)), "closed": rng.integers(0, 2, n).astype(np.uint8),
        "word": rng.integers(0, 4, n).astype(np.int16), "gesture": (np.arange(n) // 10 % 3).astype(np.uint8),
        "style": np.zeros((3, 10)), "held": np.array([False, False, True]), "starts": np.array([0, 60, 120, 160]),
    }  # fmt: skip
    for name, track in tracks.items():
        np.save(folder / f"{name}.npy", track)
    (folder / "words.txt").write_text("-\nbig\nvast\nchair\n")
    return MotionData(folder)


def test_batches_are_pure_functions_of_the_step(data):
    codec = fit_codec(data, MotionCodec.Config(fingers=6))
    a, b, c = (draw_batch(data, codec, RECIPE, 0, step) for step in (3, 3, 4))
    assert all(torch.equal(a[k], b[k]) for k in a) and not torch.equal(a["clean"], c["clean"])
    assert a["audio"].shape[-1] == 45 and a["clean"].shape[-1] == codec.width


def test_classes_of_meaning_are_told_with_the_states_or_alone(data):
    prior = make_prior(classes=("you", "me"))
    codec = fit_codec(data, MotionCodec.Config(fingers=6))
    recipe = Recipe(batch=64, lengths=(12,), drop_prior=0.0, drop_states=0.5)
    told = draw_batch(data, codec, recipe, 0, 1, prior)["prior"]
    assert told.shape[-1] == prior.track_width == prior.width + 2
    without = told[..., : prior.width].abs().sum((1, 2)) == 0
    assert 16 < int(without.sum()) < 48 and told[..., prior.width :].sum((1, 2)).min() > 0


def test_a_widened_denoiser_is_the_same_function():
    net = make_denoiser()
    wide = with_prior_width(net, net.config.prior + 3)
    cond = make_condition(net, 2, 10)
    wider = replace(cond, prior=torch.cat([cond.prior, torch.rand(2, 10, 3)], -1))
    x = torch.randn(2, 10, net.codec.width)
    torch.testing.assert_close(net(x, torch.ones(2), cond), wide(x, torch.ones(2), wider))


def test_gesture_and_word_frames():
    event = GestureEvent("big", "huge", 0.4, 2.0, "both", 1.0)
    frames = gesture_frames([event, event._replace(gesture="beat", start=2.5, end=3.0)], 80)
    assert frames.nonzero().flatten().tolist() == list(range(10, 42)) and set(frames.tolist()) == {
        0,
        1 + CLASSES.index("big"),
    }
    numbers: dict[str, int] = {}
    assert word_frames([("Hi", 0.0, 0.08), ("you", 0.08, 0.2), ("hi", 0.2, 0.28)], numbers, 8).tolist() == [
        1,
        1,
        2,
        2,
        2,
        1,
        1,
        0,
    ]
    assert numbers == {"hi": 1, "you": 2}


def test_sets_describe_themselves(data):
    assert data.described() == f"{data.name}: {160 / 25 / 60:.1f} min in 3 recordings"
    mixed = MixedMotion([data, data], [3, 1])
    assert mixed.described().count(data.described()) == 2 and "(75% of the crops)" in mixed.described()


def test_what_is_read_is_told_as_read_and_what_is_heard_as_heard(data):
    prior = make_prior(classes=("you", "me"), lexicon=5)
    prior.lexicon.copy_(torch.randn(5, prior.width))
    codec = fit_codec(data, MotionCodec.Config(fingers=6))
    plain = dict(batch=4, lengths=(12,), drop_prior=0.0, drop_states=0.0, faintest=1.0)
    for share in (0.0, 1.0):
        batch = draw_batch(data, codec, Recipe(**plain, read_share=share), 0, 5, prior)
        rng = generator(0, 5)
        rng.choice((12,))
        crops = data.crops(rng, 4, 12)
        states = crops["text"] if share else crops["heard"]
        torch.testing.assert_close(batch["prior"], prior.track(states, share == 1).detach())


def test_held_out_recordings_are_not_drawn(data):
    rng = np.random.default_rng(0)
    last = torch.from_numpy(data.tracks["phones"][120:, 0].astype(np.float32))
    without, with_held = (data.crops(rng, 200, 12, held)["audio"][..., 0].flatten() for held in (False, True))
    assert not torch.isin(without, last).all() and torch.isin(with_held, last).any()
    assert torch.isin(without, last).float().mean() < 0.05


def test_it_learns_and_resumes_exactly(data, tmp_path):
    def fresh():
        net = make_denoiser()
        net.codec.load_state_dict(fit_codec(data, net.config.codec).state_dict())
        return net

    schedule = Schedule(steps=60, lr=1e-2, warmup=5, log_every=20, save_every=10, amp=False)
    whole = train(fresh(), data, RECIPE, schedule, tmp_path / "whole")
    codec = fit_codec(data, MotionCodec.Config(fingers=6))
    batch = draw_batch(data, codec, replace(RECIPE, batch=64), 0, 1000)
    loss = MotionLoss(codec, RECIPE, (torch.tensor(2.0), torch.zeros(52)))
    with torch.no_grad():
        assert float(loss(whole, batch)[0]) < 0.9 * float(loss(fresh(), batch)[0])

    class KillError(Exception):
        pass

    calls = []
    original = MotionData.crops

    def killing(self, *arguments, **settings):
        calls.append(1)
        if len(calls) == 18:
            raise KillError
        return original(self, *arguments, **settings)

    MotionData.crops = killing
    try:
        with pytest.raises(KillError):
            train(fresh(), data, RECIPE, schedule, tmp_path / "killed")
    finally:
        MotionData.crops = original
    resumed = train(fresh(), data, RECIPE, schedule, tmp_path / "killed")
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_loss_ignores_given_frames_and_weighs_the_mouth(data):
    net = make_denoiser()
    net.codec.load_state_dict(fit_codec(data, net.config.codec).state_dict())
    loss = MotionLoss(net.codec, RECIPE, (torch.tensor(2.0), torch.zeros(52)))
    batch = draw_batch(data, net.codec, RECIPE, 0, 0)
    batch["mask"] = torch.ones_like(batch["mask"])
    assert float(loss(net, batch)[0].detach()) == 0
    assert loss.weight[net.codec.mouth_channels()].min() > loss.weight[0]


def test_codec_gap_is_the_gap_of_the_data(data):
    codec = fit_codec(data, MotionCodec.Config(fingers=6))
    batch = draw_batch(data, codec, RECIPE, 0, 0)
    weights = (torch.tensor(2.0), torch.rand(52))
    direct = lip_gap(codec.decode(batch["clean"])[1], weights)
    torch.testing.assert_close(lip_gap(codec.expression(batch["clean"]), weights), direct, atol=1e-3, rtol=0)


def spoken() -> Utterance:
    phones = (("m", 0.0, 0.1, 0), ("aa", 0.1, 0.33, 1), ("sil", 0.33, 0.5, 0))
    return Utterance(torch.randn(8000), (("ma", 0.0, 0.33),), phones, "Ma.", "none", "none")


def test_joined_utterances_keep_their_times():
    both = join([spoken(), spoken()], [0.2, 0.0])
    assert both.seconds == pytest.approx(1.2) and both.text == "Ma. Ma."
    assert both.words[1][1] == pytest.approx(0.7)
    ends = [p[2] for p in both.phones]
    assert [p[1] for p in both.phones[1:]] == pytest.approx(ends[:-1]) and ends[-1] == pytest.approx(1.2)


def test_oracle_phones_are_shares_of_a_frame():
    shares = oracle_phones(spoken().phones, 13)
    torch.testing.assert_close(shares.sum(1), torch.ones(13))
    assert shares[2].max() == pytest.approx(0.5)  # 0.08 .. 0.12 s: half m, half aa
    assert closed_frames(spoken().phones, 13).nonzero().flatten().tolist() == [1]


def test_confusion_keeps_probabilities():
    shares = oracle_phones(spoken().phones, 13).expand(2, -1, -1)
    confused = confuse_phones(shares, np.random.default_rng(0))
    assert confused.shape == shares.shape and confused.min() >= 0
    torch.testing.assert_close(confused[:, 3:-3].sum(-1), torch.ones(2, 7), atol=1e-4, rtol=0)
    assert not torch.equal(confused, shares)
