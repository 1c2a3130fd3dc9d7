"""The linear lip gap equals the gap measured on the body's mesh."""

import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.motion.arkit import ARKIT_INDEX
from stereotalker_core.motion.lips import CLOSED_MM, lip_gap, lip_gap_weights


def test_gap_is_linear_and_correct():
    body = HalfBody()
    weights = lip_gap_weights(body)
    expression = torch.rand(3, 52, generator=torch.Generator().manual_seed(0)) * 0.5
    rest = body.rest(torch.zeros(1, body.n_shape))
    points = body.keypoints(body.express(rest.vertices, expression), rest.bones.expand(3, -1, -1))[..., 2]
    rows = [[body.keypoint_index[f"face.{i}"] for i in ids] for ids in ((61, 62, 63), (67, 66, 65))]
    measured = (points[:, rows[0]].mean(1) - points[:, rows[1]].mean(1)) * 1000
    torch.testing.assert_close(lip_gap(expression, weights), measured, atol=1e-2, rtol=1e-3)


def test_jaw_opens_and_mouth_close_closes():
    weights = lip_gap_weights(HalfBody())
    expression = torch.zeros(3, 52)
    expression[1:, ARKIT_INDEX["jawOpen"]] = 0.5
    expression[2, ARKIT_INDEX["mouthClose"]] = 0.5
    neutral, opened, closed = lip_gap(expression, weights).tolist()
    assert neutral < CLOSED_MM and closed < CLOSED_MM < opened
