"""Trainers of ProbTalk3D: data on disk, both stages, resuming, the released protocol and its switch."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.checkpoint import load, save
from stereotalker_core.commands.forwarded import run_words
from stereotalker_core.commands.train import TRAINERS
from stereotalker_core.face.hubert import HubertSize
from stereotalker_core.face.layout import FaceStyle, denormalise
from stereotalker_core.face.model import ProbTalk3D
from stereotalker_core.face.prior import MotionPrior
from stereotalker_core.face.quantiser import Draw
from stereotalker_core.motion.lips import lip_gap, lip_gap_weights
from stereotalker_core.synthetic.movement.emotional_faces import LEVELS, draw_style, look, perform, speaker
from stereotalker_core.synthetic.speech.utterance import Utterance
from stereotalker_core.training.face import face_data, face_epochs
from stereotalker_core.training.face.face_loss import (
    Focus,
    PredictorWeights,
    PriorWeights,
    drawn_latent,
    fresh_codes,
    normalised,
    stage_two,
)
from stereotalker_core.training.face.model import (
    NANO_PRIOR,
    SOUND,
    FaceRecipe,
    PredictorLoss,
    PriorLoss,
    draw_batch,
    flatten_chances,
    read_prior,
    train_predictor,
    train_prior,
    with_prior,
)
from stereotalker_core.training.loop import Schedule

TINY = replace(NANO_PRIOR, width=16, encoder_layers=1, decoder_layers=1, heads=2, inner=16, codes=12, code_width=4)
RECIPE = FaceRecipe(batch=3, lengths=(10, 14))
PHONES = (("sil", 0.0, 0.1, 0), ("m", 0.1, 0.2, 0), ("aa", 0.2, 0.5, 1), ("p", 0.5, 0.6, 0), ("iy", 0.6, 0.9, 1),
          ("sil", 0.9, 1.0, 0))  # fmt: skip
SAID = Utterance(torch.zeros(16000), (("mop", 0.1, 0.6), ("e", 0.6, 0.9)), PHONES, "mop e", "test", "v")


@pytest.fixture(scope="module")
def gap():
    return lip_gap_weights(HalfBody())


@pytest.fixture(scope="module")
def focus(gap):
    return Focus(gap)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A written set of six performances of two sentences of 25 and 20 frames."""
    import json
    import random

    folder, rng = tmp_path_factory.mktemp("faces"), random.Random(0)
    styles = [draw_style(rng) for _ in range(6)]
    motions = [normalised(perform(SAID, s, i))[: 25 if i < 3 else 20] for i, s in enumerate(styles)]
    np.save(folder / "sound.npy", np.random.default_rng(0).random((45, SOUND)).astype(np.float16))
    np.save(folder / "motion.npy", torch.cat(motions).half().numpy())
    clips = [{"sentence": int(i >= 3), "style": [s.identity, s.emotion, s.intensity]} for i, s in enumerate(styles)]
    (folder / "index.json").write_text(json.dumps({"frames": [25, 20], "clips": clips, "seed": 0}))
    return face_data.FaceData(folder)


# ------------------------------------------------------------------------------------------- performances
def test_performances_differ_by_seed_but_not_in_the_lips(gap):
    style = FaceStyle("M005", "happy", "high")
    one, two = perform(SAID, style, 1), perform(SAID, style, 2)
    assert torch.equal(one, perform(SAID, style, 1)) and not torch.equal(one, two)
    assert one.shape == (25, 52) and one.min() >= 0 and one.max() <= 1
    from stereotalker_core.motion.arkit import ARKIT_INDEX

    for name in ("jawOpen", "mouthClose"):
        assert torch.equal(one[:, ARKIT_INDEX[name]], two[:, ARKIT_INDEX[name]])
    for emotion in ("happy", "sad", "surprised", "fear", "disgusted", "angry", "contempt"):
        shown = lip_gap(perform(SAID, FaceStyle("M005", emotion, "high"), 1), gap)
        assert shown[3] < 2.5 and shown[13] < 2.5 and shown[9] > 4, emotion  # m and p shut, aa open


def test_intensity_and_identity_show():
    means = [perform(SAID, FaceStyle("M003", "angry", i), 1).mean(0) @ look("angry") for i in LEVELS]
    assert means[0] < means[1] < means[2]
    assert speaker("M003") == speaker("M003") != speaker("W009")


# ------------------------------------------------------------------------------------------- data
def test_crops_are_a_pure_function_of_the_step_and_stay_in_their_clip(data):
    a, b = (draw_batch(data, RECIPE, 1, 7) for _ in range(2))
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert a["sound"].shape[2] == SOUND and a["style"].shape == (3, 43)
    assert a["motion"].shape[:2] == a["sound"].shape[:2]
    clip = data.clip(4)
    assert torch.equal(clip["motion"][0], torch.from_numpy(data.motion[95:115].astype(np.float32)))
    assert torch.equal(clip["sound"][0], torch.from_numpy(data.sound[25:45].astype(np.float32)))
    with pytest.raises(ValueError, match="longest has 25"):
        data.crops(np.random.default_rng(0), 2, 26)
    with pytest.raises(ValueError, match="synth faces"):
        face_data.FaceData("nowhere")


def write_folder(folder, names, frames=12):
    motion = torch.rand(frames, 53)
    sound = 0.1 * torch.sin(torch.arange(640 * frames + 200) * 0.05)
    face_data.write_mead(((name, motion, sound) for name in names), folder)
    return motion


def test_a_3dmead_folder_is_read_and_split_by_subject_and_by_sentence(tmp_path):
    names = ["M003_001_0_0", "M003_024_1_2", "M003_025_1_2", "M003_033_0_0", "W029_030_4_1", "M003_031_4_1",
             "M032_001_0_0", "M037_001_3_0"]  # fmt: skip
    motion = write_folder(tmp_path, names)
    found = {(stage, split): [c.name for c in face_data.mead_clips(tmp_path, stage, split)]
             for stage, split in ((1, "val"), (1, "test"), (2, "train"), (2, "val"), (2, "test"))}  # fmt: skip
    assert found[1, "val"] == ["M032_001_0_0"] and found[1, "test"] == ["M037_001_3_0"]
    assert len(face_data.mead_clips(tmp_path, 1, "train")) == 6
    assert found[2, "train"] == ["M003_001_0_0", "M003_024_1_2"]
    assert found[2, "val"] == ["M003_025_1_2", "M003_033_0_0"] and found[2, "test"] == ["W029_030_4_1"]
    clip = face_data.mead_clips(tmp_path, 2, "train")[1]
    torch.testing.assert_close(clip.motion, motion, atol=1e-5, rtol=0)
    assert torch.equal(clip.style, FaceStyle("M003", "happy", "high").vector())
    assert np.load(clip.path).shape == (1, 12, 403)
    torch.testing.assert_close(torch.from_numpy(np.load(clip.path)[0, :, 400:]).float(), denormalise(motion)[:, 50:])


def test_faulty_3dmead_folders_are_named(tmp_path):
    with pytest.raises(ValueError, match="holds no clip"):
        face_data.mead_clips(tmp_path, 1, "train")
    write_folder(tmp_path, ["M003_001_0_0"])
    (tmp_path / "wav" / "M003_001_0_0.wav").unlink()
    with pytest.raises(ValueError, match="no recording"):
        face_data.mead_clips(tmp_path, 2, "train")
    np.save(tmp_path / "param" / "M003_002_0_0.npy", np.zeros((12, 403)))
    with pytest.raises(ValueError, match="1, frames, 403"):
        _ = face_data.mead_clips(tmp_path, 1, "train")[1].motion
    (tmp_path / "param" / "other.npy").touch()
    with pytest.raises(ValueError, match="named like"):
        face_data.mead_clips(tmp_path, 1, "train")


# ------------------------------------------------------------------------------------------- training
def test_both_stages_learn_resume_and_load(data, focus, tmp_path):
    torch.manual_seed(0)
    schedule = Schedule(30, lr=4e-3, warmup=2, amp=False, log_every=10, save_every=10, ema=0.5)
    first = MotionPrior(TINY)
    before = _loss(PriorLoss(RECIPE, focus, schedule), first, data)
    prior = train_prior(first, data, RECIPE, focus, schedule, tmp_path / "one")
    assert _loss(PriorLoss(RECIPE, focus, schedule), prior, data) < 0.8 * before
    assert prior.config.unit > 0
    save(prior, tmp_path / "prior.safetensors", command="", seed=0, commit="", metrics={})
    again = train_prior(MotionPrior(TINY), data, RECIPE, focus, schedule, tmp_path / "one")  # all from the saved state
    assert torch.equal(again.quantize.embedding.weight, prior.quantize.embedding.weight)

    model = with_prior(load(MotionPrior, tmp_path / "prior.safetensors"), layers=1)
    kept = {k: v.clone() for k, v in model.motion_prior.state_dict().items()}
    before = _loss(PredictorLoss(RECIPE, focus), model, data)
    train_predictor(model, data, RECIPE, focus, schedule, tmp_path / "two")
    assert _loss(PredictorLoss(RECIPE, focus), model, data) < 0.9 * before
    assert all(torch.equal(v, kept[k]) for k, v in model.motion_prior.state_dict().items())


def test_a_draw_that_leaves_the_lips_open_costs_and_its_gradient_closes_them(focus):
    """The term sees the hard codes of one draw; its gradient is that of the mean over the chances."""
    torch.manual_seed(1)
    prior = MotionPrior(replace(TINY, unit=2.0)).eval()
    torch.nn.init.normal_(prior.quantize.embedding.weight)
    motion = normalised(perform(SAID, FaceStyle(), 1))[None]
    predicted = torch.randn(1, 25, 16, requires_grad=True)
    draw = Draw(0.3, 1, 5, 8.0)
    latent = drawn_latent(prior, predicted, draw)
    torch.testing.assert_close(latent, prior.bottleneck(predicted, draw).latent)  # what sampling shows
    codes, rows = prior.quantize.embedding.weight, prior.quantize.rows(predicted)
    chances = (-(rows[:, None] - codes).square().sum(-1) / (2.0 * 0.3)).softmax(1)
    plain = (chances @ codes).reshape(1, 25, 16)
    weight = torch.randn(1, 25, 16)
    ours, theirs = (torch.autograd.grad((x * weight).sum(), predicted, retain_graph=True)[0] for x in (latent, plain))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)
    weights = (PredictorWeights(drawn=w) for w in (0.0, 0.5))
    without, with_term = (stage_two(prior, predicted, motion, w, focus, draw=draw) for w in weights)
    assert "drawn" not in without[1] and with_term[1]["drawn"] > 0
    torch.testing.assert_close(with_term[0], without[0] + 0.5 * focus.lips(prior.decode(latent), motion))
    vae = MotionPrior(replace(TINY, kind="vae")).eval()
    assert drawn_latent(vae, predicted, draw).requires_grad


def test_flattened_chances_stay_chances_and_leave_prosody(data):
    sound = torch.rand(2, 5, SOUND)
    sound[..., :40] /= sound[..., :40].sum(-1, keepdim=True)
    out = flatten_chances(sound, torch.tensor([1.0, 0.5]))
    torch.testing.assert_close(out[..., :40].sum(-1), torch.ones(2, 5))
    assert torch.equal(out[..., 40:], sound[..., 40:])
    torch.testing.assert_close(out[0], sound[0], atol=4e-3, rtol=0)
    assert (out[1, :, :40].amax(-1) < sound[1, :, :40].amax(-1)).all()
    order = sound[1, :, :40].argsort(-1)
    assert out[1, :, :40].gather(-1, order).diff(dim=-1).min() > -1e-6  # likelier phones stay likelier


def test_sets_are_mixed_by_their_shares(data, tmp_path):
    import shutil

    folder = data.sound.filename.parent
    for name in ("one", "two"):
        shutil.copytree(folder, tmp_path / name)
    shifted = np.load(tmp_path / "two" / "sound.npy") + 10
    np.save(tmp_path / "two" / "sound.npy", shifted)
    mixed = face_data.read_sets(tmp_path, "one:3, two:1")
    batch = mixed.crops(np.random.default_rng(0), 400, 10)
    share = float((batch["sound"][:, 0, 0] > 5).float().mean())
    assert batch["motion"].shape == (400, 10, 53) and batch["style"].shape == (400, 43) and 0.18 < share < 0.32
    assert torch.equal(batch["sound"], mixed.crops(np.random.default_rng(0), 400, 10)["sound"])
    assert isinstance(face_data.read_sets(tmp_path, "two"), face_data.FaceData)
    with pytest.raises(ValueError, match="shares"):
        face_data.read_sets(tmp_path, "one:0,two:1")


def test_the_prior_is_read_from_its_own_file_or_from_a_whole_model(tmp_path):
    torch.manual_seed(2)
    prior = MotionPrior(TINY)
    model = with_prior(prior, layers=1)
    for name, saved in (("prior", prior), ("whole", model)):
        save(saved, tmp_path / f"{name}.safetensors", command="", seed=0, commit="", metrics={})
        found = read_prior(tmp_path / f"{name}.safetensors").state_dict()
        assert all((found[k] - v).abs().max() < 1e-2 for k, v in prior.state_dict().items())  # float16


def _loss(loss, model, data) -> float:
    model.eval()
    with torch.no_grad():
        return sum(float(loss(model, draw_batch(data, RECIPE, 5, 1 + i))[0]) for i in range(4))


def test_focus_weighs_lips_and_measures_their_gap_as_the_body_does(focus, gap):
    arkit = perform(SAID, FaceStyle(), 1)
    motion = normalised(arkit)[None]
    torch.testing.assert_close(focus.lip_gap(motion)[0], lip_gap(arkit, gap), atol=1e-3, rtol=0)
    assert focus.channels.shape == (53,) and focus.channels[52] == 0 and focus.channels[50] == 6
    assert focus.lips(motion, motion) == 0 and focus.lips(motion + 0.1, motion) > 0


def test_unused_codes_move_onto_the_data():
    prior = MotionPrior(TINY)
    z = torch.randn(2, 9, 16)
    with torch.no_grad():
        prior.quantize.embedding.weight[:] = 100.0
        prior.quantize.embedding.weight[3] = 0.0
    passed = prior.bottleneck(z)
    assert passed.indices.unique().tolist() == [3]
    assert fresh_codes(prior, z, passed.indices, torch.Generator().manual_seed(0)) == 11
    assert len(prior.bottleneck(z).indices.unique()) > 5 and not prior.quantize.embedding.weight[3].any()


def small_second():
    prior = MotionPrior.Config(width=16, encoder_layers=1, decoder_layers=1, heads=2, inner=16, codes=8, code_width=8)
    size = HubertSize(16, 3, 2, 16, (8,) * 7, 16, 4)
    return ProbTalk3D(ProbTalk3D.Config(prior, size, 32, 1))


def test_the_papers_protocol_trains_on_a_folder(tmp_path):
    torch.manual_seed(0)
    write_folder(tmp_path, ["M003_001_0_0", "W009_002_1_1", "M003_026_1_1", "M032_001_0_0"])
    model, curve = small_second(), []
    names = list(face_epochs.trainable_parts(model))
    assert not any(".layers.1." in n or "motion_prior" in n or "conv_layers" in n for n in names if "audiomodel" in n)
    assert any("layers.2." in n for n in names) and not any(n.startswith("motion_prior") for n in names)
    clips = [face_data.mead_clips(tmp_path, 2, split) for split in ("train", "val")]
    face_epochs.fit_epochs(
        model, *clips, face_epochs.reader(2, "cpu"), face_epochs.predictor_loss(PredictorWeights(), False),
        face_epochs.Protocol.second(epochs=2, lr=1e-3), lambda *row: curve.append(row),
    )  # fmt: skip
    assert [row[0] for row in curve] == [0, 1] and all(math.isfinite(v) for row in curve for v in row)


class _Counter(torch.nn.Module):
    """One weight that the loss of clip i pulls to i."""

    def __init__(self):
        super().__init__()
        self.weight, self.seen = torch.nn.Parameter(torch.zeros(())), []


@pytest.mark.parametrize("as_released", [False, True])
def test_the_switch_brings_the_oddities_back(as_released):
    """Released: means since the start of training, so validation looks better for longer and stops later."""
    values, rows = iter([1.0, 5.0, 5.0, 5.0, 5.0, 5.0]), []

    def loss(model, clip):
        return model.weight * 0 + (next(values) if clip == "val" else 2.0)

    protocol = face_epochs.Protocol(epochs=3, patience=9, as_released=as_released)
    model = face_epochs.fit_epochs(
        _Counter(), ["train"], ["val"], lambda c: c, loss, protocol, lambda *row: rows.append(row[2])
    )
    assert rows == pytest.approx([1.0, 3.0, 11 / 3] if as_released else [1.0, 5.0, 5.0])
    assert not model.training


@pytest.mark.parametrize("as_released", [False, True])
def test_the_frozen_priors_dropout_is_on_only_as_released(as_released):
    model = small_second().train()
    example = {"motion": torch.rand(1, 9, 53), "style": FaceStyle().vector()[None], "waveform": torch.randn(1, 6400)}
    face_epochs.predictor_loss(PredictorWeights(), as_released)(model, example)
    assert model.motion_prior.training == as_released


def test_early_stopping_keeps_the_best():
    worse = iter([3.0, 1.0, 2.0, 2.0, 2.0])
    epochs = []

    def loss(model, clip):
        if clip == "val":
            return torch.tensor(next(worse))
        return model.weight

    model = face_epochs.fit_epochs(
        _Counter(), ["train"], ["val"], lambda c: c, loss, face_epochs.Protocol(patience=2, lr=0.1),
        lambda *row: epochs.append(row[0]),
    )  # fmt: skip
    assert epochs == [0, 1, 2, 3]
    assert float(model.weight.detach()) == pytest.approx(-0.2, abs=0.01)  # of the second epoch, not the fourth


def test_bad_requests_are_named(tmp_path):
    words = ["--data", str(tmp_path), "--stage", "2", "--out", str(tmp_path / "x.safetensors")]
    with pytest.raises(ValueError, match="--prior"):
        run_words(TRAINERS["face-epochs"], "train face-epochs", words)
    assert PriorWeights.vae().bottleneck == 1e-4
