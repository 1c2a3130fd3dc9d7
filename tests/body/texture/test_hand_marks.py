import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.body.texture.hand_marks import marked
from stereotalker_core.body.texture.texels import Lifter


@pytest.fixture(scope="module")
def lifter():
    return Lifter(HalfBody(), 512)


def test_marks_lie_on_hands_alone_and_leave_the_skin_its_tone(lifter):
    assert float((lifter.hand_tint[~lifter.hands] - 1).abs().max()) == 0
    assert float(lifter.palm[~lifter.hands].max()) == 0
    hands = lifter.hand_tint[lifter.hands]
    assert 0.85 < float(hands.mean()) < 1.05
    assert 0.25 < float(lifter.palm[lifter.hands].mean()) < 0.6


def test_every_finger_has_a_nail_on_its_back(lifter):
    body = HalfBody()
    point = (body.mean[lifter.corners] * lifter.weight[..., None]).sum(1)
    pale = lifter.hands & (lifter.hand_tint.amin(1) > 1.1)
    assert float(lifter.palm[pale].mean()) < 0.1
    rest = body.rest(torch.zeros(1, body.n_shape))
    posed = body.pose(rest, torch.zeros(1, 49, 3), torch.zeros(1, 52))
    keypoints = body.keypoints(posed.vertices, posed.bones)[0]
    for side in "LR":
        for tip in (4, 8, 12, 16, 20):
            away = (point[pale] - keypoints[body.keypoint_index[f"hand.{side}.{tip}"]]).norm(dim=1)
            assert float(away.min()) < 0.012, (side, tip)


def test_dark_palms_are_paler_and_grey_hands_stay_grey():
    skin = torch.tensor([[-0.35, -0.6, -0.75], [0.6, 0.3, 0.2]])
    palms = marked(skin, torch.ones(2, 3), torch.ones(2))
    lighter = ((palms + 1) / (skin + 1)).mean(1)
    assert float(lighter[0]) > float(lighter[1]) > 0.98
    grey = marked(torch.zeros(1, 3), torch.tensor([[1.2, 0.9, 0.8]]), torch.ones(1))
    assert float(grey.amax() - grey.amin()) < 1e-6
