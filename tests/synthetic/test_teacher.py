import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.geometry.skeleton import JOINT_INDEX
from stereotalker_core.motion.arkit import ARKIT_INDEX
from stereotalker_core.motion.lips import lip_gap, lip_gap_weights
from stereotalker_core.synthetic.movement.gestures import GESTURES
from stereotalker_core.synthetic.movement.poses import joint_heads
from stereotalker_core.synthetic.movement.teacher import teach, teach_with_labels
from stereotalker_core.synthetic.movement.visemes import frame_times, lip_opening, mouth
from stereotalker_core.synthetic.speech.phones import CLOSURES
from stereotalker_core.synthetic.speech.utterance import Utterance
from stereotalker_core.synthetic.speech.vocabulary import HELD_OUT_WORDS, TRAINING_WORDS

WORDS = {
    "bob": "b aa b", "made": "m ey d", "purple": "p er p ah l", "big": "b ih g", "vast": "v ae s t", "you": "y uw",
    "banana": "b ah n ae n ah", "people": "p iy p ah l", "kept": "k eh p t", "never": "n eh v er",
    "gigantic": "jh ay g ae n t ih k",
}  # fmt: skip
VOWELS = {"aa", "ey", "er", "ah", "ih", "ae", "uw", "iy", "eh", "ay"}


def spoken(text, step=0.085, lead=0.3):
    """An utterance by hand: equal phones, half a second of silence between words now and then."""
    t, words, phones = lead, [], [("sil", 0.0, lead, 0)]
    for i, word in enumerate(text.split()):
        start, stressed = t, False
        for phone in WORDS[word].split():
            stress = int(phone in VOWELS and not stressed)
            stressed = stressed or bool(stress)
            phones.append((phone, t, t + step, stress))
            t += step
        words.append((word, start, t))
        if i % 3 == 2:
            phones.append(("sil", t, t + 0.5, 0))
            t += 0.5
    phones.append(("sil", t, t + 0.33, 0))
    return Utterance(torch.zeros(round((t + 0.33) * 16000)), tuple(words), tuple(phones), text, "hand", "none")


TALK = spoken("bob made purple banana people kept big banana bob never kept you")


@pytest.fixture(scope="module")
def body():
    return HalfBody()


def test_frames_and_ranges():
    motion = teach(None, TALK, 1)
    assert len(motion) == -(-TALK.waveform.shape[0] // 640)
    assert motion.rotations.isfinite().all() and motion.rotations.norm(dim=-1).max() < 2.6
    assert motion.expression.min() >= 0 and motion.expression.max() <= 1
    assert (motion.expression[:, ARKIT_INDEX["mouthClose"]] <= motion.expression[:, ARKIT_INDEX["jawOpen"]]).all()


@pytest.mark.parametrize("step", [0.03, 0.06, 0.11])
@pytest.mark.parametrize("emotion", ["neutral", "happy", "surprised", "fear", "disgusted", "contempt"])
def test_lips_close_on_every_p_b_m_and_open_on_vowels(body, step, emotion):
    u = spoken("bob made purple big people banana", step)
    expression = teach(None, u, 2, emotion=emotion).expression
    times = frame_times(len(expression))
    gap = lip_gap(expression, lip_gap_weights(body))  # mm on the mesh
    neutral = float(lip_gap_weights(body)[0])
    for phone, start, end, _ in u.phones:
        nearest = int((times - (start + end) / 2).abs().argmin())
        if phone in CLOSURES:
            assert gap[nearest] <= neutral + 0.2 and lip_opening(expression)[nearest] <= 0.01
        elif phone in ("aa", "ae") and step >= 0.06:
            assert gap[nearest] > neutral + 2


def test_lip_opening_is_the_gap_of_the_mesh(body):
    neutral, change = lip_gap_weights(body)
    expression = teach(None, TALK, 3).expression
    mesh = (lip_gap(expression, (neutral, change)) - neutral) / change[ARKIT_INDEX["jawOpen"]]
    assert torch.allclose(lip_opening(expression), mesh, atol=0.03)


def test_pauses_shut_the_mouth():
    opening = lip_opening(mouth(TALK.phones, 200))
    start = next(s for p, s, e, _ in TALK.phones if p == "sil" and s > 1)
    assert opening[int((start + 0.25) * 25)] < 0.03


def test_deterministic_and_seeded():
    a, b, c = teach(None, TALK, 1), teach(None, TALK, 1), teach(None, TALK, 2)
    assert torch.equal(a.rotations, b.rotations) and torch.equal(a.expression, b.expression)
    jaw = ARKIT_INDEX["jawOpen"]
    assert torch.equal(a.expression[:, jaw], c.expression[:, jaw])
    arm = JOINT_INDEX["lowerarm01.R"]
    assert (a.rotations[:, arm] - c.rotations[:, arm]).abs().max() > 0.05


def test_smooth():
    for seed in range(6):
        motion = teach(None, TALK, seed, "lively")
        speed = motion.rotations.diff(dim=0).norm(dim=-1) * 25  # rad/s
        assert speed.max() < 14 and motion.rotations.diff(n=2, dim=0).norm(dim=-1).max() < 0.4
        assert motion.expression[:, ARKIT_INDEX["jawOpen"]].diff().abs().max() < 0.35


def test_trigger_words_gesture_on_their_stress_and_held_out_words_never_do():
    u = spoken("bob kept gigantic banana big people vast purple you")
    for seed in range(5):
        events = teach_with_labels(None, u, seed)[1]
        meant = [e for e in events if e.word in TRAINING_WORDS]
        assert [(e.gesture, e.word) for e in meant] == [("big", "big"), ("you", "you")]
        assert not [e for e in events if e.word in HELD_OUT_WORDS and e.gesture == HELD_OUT_WORDS[e.word]]
        vowel = next(p for p in u.phones if p[0] == "ih" and abs(p[1] - meant[0].stroke) < 0.1)
        assert vowel[1] <= meant[0].stroke <= vowel[2]
    told = teach_with_labels(None, u, 1, gesture_words={"gigantic"})[1]
    assert [e.gesture for e in told if e.word == "gigantic"] == ["big"]
    assert not [e for e in told if e.word in ("big", "you")]


def test_big_parts_the_hands(body):
    u = spoken("bob kept big banana")
    motion, events = teach_with_labels(None, u, 4)
    stroke = next(e.stroke for e in events if e.gesture == "big")
    rest = body.rest(torch.zeros(1, body.n_shape))
    heads = body.pose(rest, motion.rotations).bones[:, body.motion_bones]
    span = (heads[:, JOINT_INDEX["wrist.L"]] - heads[:, JOINT_INDEX["wrist.R"]]).norm(dim=-1)
    at = int((stroke + 0.1) * 25)
    assert span[at] > 0.5 and span[at] > span[int((stroke - 0.2) * 25)] + 0.15


def test_hands_stay_outside_the_body(body):
    rest = body.rest(torch.zeros(1, body.n_shape))
    solid = torch.tensor([name in ("torso", "neck", "face") for name in body.part_names])[body.triangle_part]
    surface = torch.unique(body.triangles[solid])
    hands = [i for i, name in enumerate(body.keypoint_names) if name.startswith("hand.")]
    u = spoken("bob kept big banana people never made you")
    every = set(TRAINING_WORDS)
    for seed in range(3):
        rotations = teach(joint_heads(body, rest), u, seed, gesture_words=every).rotations[::6]
        posed = body.pose(rest, rotations)
        normals, points = body.normals(posed.vertices), body.keypoints(posed.vertices, posed.bones)[:, hands]
        for k in range(len(rotations)):
            distance, nearest = torch.cdist(points[k], posed.vertices[k, surface]).min(1)
            outward = points[k] - posed.vertices[k, surface[nearest]]
            inside = (outward * normals[k, surface[nearest]]).sum(-1) < 0
            assert not (inside & (distance < 0.06)).any()


def test_every_class_has_a_gesture_and_bad_labels_are_refused():
    assert set(TRAINING_WORDS.values()) <= set(GESTURES)
    with pytest.raises(ValueError, match="style"):
        teach(None, TALK, 0, style="wild")
    with pytest.raises(ValueError, match="empty"):
        teach(None, Utterance(torch.zeros(0), (), (("sil", 0.0, 0.0, 0),), "", "hand", "none"), 0)
