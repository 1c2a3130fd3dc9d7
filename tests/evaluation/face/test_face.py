"""Held-out measures of the face model: each is right on the teacher itself and wrong on what is wrong."""

import math
from dataclasses import replace

import pytest
import torch
from PIL import Image

from stereotalker_core.audio.encoder import SpeechEncoder
from stereotalker_core.body.model import HalfBody
from stereotalker_core.evaluation.face import evaluate as module
from stereotalker_core.evaluation.face.evaluate import (
    Item,
    draw_items,
    evaluate_face,
    face_mesh,
    lip_scores,
    mean_lip_scores,
    shown_intensity,
    train_classifier,
)
from stereotalker_core.evaluation.face.face_plots import curves, heat_colour, write_plots
from stereotalker_core.face.layout import EMOTIONS, IDENTITIES, INTENSITIES, FaceStyle
from stereotalker_core.face.model import ProbTalk3D
from stereotalker_core.face.sampling import FaceModels
from stereotalker_core.motion.arkit import ARKIT_INDEX
from stereotalker_core.motion.lips import lip_gap_weights
from stereotalker_core.synthetic.speech.tts import available_engines
from stereotalker_core.synthetic.speech.utterance import Utterance
from stereotalker_core.training.face.model import NANO_PRIOR

PHONES = (("sil", 0.0, 0.1, 0), ("m", 0.1, 0.2, 0), ("aa", 0.2, 0.5, 1), ("p", 0.5, 0.6, 0), ("iy", 0.6, 0.9, 1),
          ("b", 0.9, 1.0, 0), ("ow", 1.0, 1.3, 0), ("sil", 1.3, 1.4, 0))  # fmt: skip
TONE = 0.2 * torch.sin(torch.arange(round(16000 * 1.4)) * 0.06)
SAID = Utterance(TONE, (("mop", 0.1, 0.6), ("ebo", 0.6, 1.3)), PHONES, "mop ebo", "test", "v")
ITEMS = [Item(SAID, FaceStyle(IDENTITIES[n], EMOTIONS[n % 8], INTENSITIES[n % 3])) for n in range(8)]


@pytest.fixture(scope="module")
def body():
    return HalfBody()


@pytest.fixture(scope="module")
def models():
    torch.manual_seed(0)
    encoder = SpeechEncoder(SpeechEncoder.Config(width=32, layers=1, heads=2, feed_forward=32, position_kernel=3))
    small = {"width": 16, "encoder_layers": 1, "decoder_layers": 1, "heads": 2, "inner": 16, "codes": 12}
    prior = replace(NANO_PRIOR, **small, code_width=4)
    model = ProbTalk3D(ProbTalk3D.Config(prior, None, audio=45, layers=1, basis="arkit", coherence=6.0, window=104))
    torch.nn.init.normal_(model.motion_prior.quantize.embedding.weight)
    return FaceModels(model.eval(), encoder.eval())


def test_the_teacher_is_perfect_and_another_mouth_is_not(body):
    gap = lip_gap_weights(body)
    item = ITEMS[1]
    scores = lip_scores(item, item.teacher(3), gap)
    assert scores["closure_recall"] == (1.0, 3) and scores["closure_false"][0] == 0
    assert scores["jaw_correlation"][0] == pytest.approx(1) and scores["mouth_correlation"][0] > 0.6
    half = mean_lip_scores(item, torch.stack([item.teacher(3), torch.full((35, 52), 0.5)]), gap)
    assert 0.5 <= half["closure_recall"][0] < 1 and half["closure_recall"][1] == 3
    late = item.teacher(3).roll(6, 0)
    assert lip_scores(item, late, gap)["closure_recall"][0] < 1
    assert lip_scores(item, late, gap)["jaw_correlation"][0] < 0.5


def test_the_classifier_knows_the_teachers_emotions():
    classifier = train_classifier(ITEMS, repeats=12)
    styles = [FaceStyle("W015", emotion, "high") for emotion in EMOTIONS]
    right = [classifier(ITEMS[0].teacher(77, style)) == EMOTIONS.index(style.emotion) for style in styles]
    assert sum(right) >= 7


def test_intensity_is_read_off_the_look():
    item, neutral = ITEMS[0], ITEMS[0].teacher(1, FaceStyle())
    for emotion in EMOTIONS[1:]:
        styles = [FaceStyle("M003", emotion, i) for i in INTENSITIES]
        shown = [  # one performance may be strong for its level: the mean of eight
            sum(shown_intensity(item.teacher(seed, style), neutral, emotion) for seed in range(8)) / 8
            for style in styles
        ]
        assert shown[0] < shown[1] < shown[2] and 0.5 < shown[2] < 1.6, emotion


def test_the_mesh_has_a_mouth_below_an_upper_face(body):
    mesh = face_mesh(body)
    mouth, upper = mesh.template[mesh.regions.mouth], mesh.template[mesh.regions.upper]
    assert 20 < len(mouth) < len(upper) < len(mesh.ids)
    assert mouth[:, 2].max() < upper[:, 2].min()
    one = torch.zeros(1, 52)
    assert torch.equal(mesh.vertices(one)[0], mesh.template)
    one[0, ARKIT_INDEX["jawOpen"]] = 1
    moved = (mesh.vertices(one)[0] - mesh.template).norm(dim=-1)
    assert moved[mesh.regions.mouth].max() > 15 and moved[mesh.regions.upper].median() < 0.1  # mm
    whole = 1000 * body.express(body.rest(torch.zeros(1, body.n_shape)).vertices, one)[0]
    torch.testing.assert_close(mesh.vertices(one)[0], whole[mesh.ids], atol=1e-2, rtol=0)


def test_evaluation_gives_every_name_and_finite_numbers(models, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "draw_items", lambda count, data, seed: ITEMS[:4])
    metrics = evaluate_face(models, quick=True, vae=tmp_path / "nothing")["metrics"]
    wanted = {"emotion_accuracy", "intensity_order", "closure_recall", "diversity", "realtime_factor", "mve_vq",
              "lve_deterministic", "fdd_vq", "mee_vq", "ce_vq", "diversity_vq", "jaw_correlation"}  # fmt: skip
    assert wanted <= set(metrics)
    assert all(math.isfinite(row[k]) for row in metrics.values() for k in ("value", "low", "high"))
    assert metrics["diversity_deterministic"]["value"] < 1e-4 < metrics["diversity"]["value"]  # equal but for rounding


@pytest.mark.skipif(not available_engines(), reason="no speech engine is installed")
def test_items_take_turns_in_emotion_and_intensity(tmp_path):
    items = draw_items(3, tmp_path)
    assert [item.style.emotion for item in items] == list(EMOTIONS[:3])
    assert len({item.style.identity for item in items}) > 1
    others = draw_items(3, tmp_path, seed=1)
    assert [i.utterance.text for i in others] != [i.utterance.text for i in items]


def test_plots_are_written_and_show_something(models, tmp_path):
    files = write_plots(models, ITEMS[:1], tmp_path)
    assert [f.name for f in files] == ["curves_0.png", "movement.png"]
    colours = [len(Image.open(f).convert("RGB").getcolors(1 << 24)) for f in files]
    assert colours[0] >= 4 and colours[1] > 200
    assert torch.equal(heat_colour(torch.tensor(1.0)), torch.tensor([0.99, 0.90, 0.15]))
    picture = curves(torch.zeros(5), torch.zeros(2, 5), "flat")
    assert picture.size == (640, 220)
