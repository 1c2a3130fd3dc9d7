"""The linear lip gap equals the gap measured on the body's mesh; lips are shut where the sound asks for it."""

import pytest
import torch

from stereotalker_core.audio.phones import PHONE_INDEX
from stereotalker_core.body.model import HalfBody
from stereotalker_core.motion.arkit import ARKIT_INDEX
from stereotalker_core.motion.lips import (
    CERTAIN,
    CLOSED_MM,
    FAINT,
    MOST,
    NEAR,
    PARTED_MM,
    PEAK_CERTAIN,
    PEAK_FAINT,
    SELDOM,
    USUAL,
    clearness,
    closing,
    lip_gap,
    lip_gap_weights,
    part_lips,
    parting,
    shut_lips,
)


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


def test_closing_is_a_ramp_and_a_lower_one_at_peaks():
    phones = torch.rand(50, 40, generator=torch.Generator().manual_seed(0)) * 0.12
    heard = phones[:, [PHONE_INDEX[name] for name in "pbm"]].sum(1).tolist()
    level = clearness(phones).clamp(SELDOM, MOST).square().tolist()
    for t, amount in enumerate(closing(phones).tolist()):
        around = heard[max(0, t - NEAR) : t + NEAR + 1]
        low, high, factor = FAINT, CERTAIN, 1.0
        if heard[t] == max(around):
            low, high, factor = PEAK_FAINT, PEAK_CERTAIN, level[t]
        assert abs(amount - min(1.0, max(0.0, (heard[t] / factor - low) / (high - low)))) < 1e-4
    assert 0 < float(closing(phones).mean()) < 1 and len(closing(phones[:0])) == 0


def vowels(frames: int, sure: float = USUAL) -> torch.Tensor:
    """Phone probabilities of a vowel that is heard so surely."""
    phones = torch.full((frames, 40), 1e-4)
    phones[:, PHONE_INDEX["aa"]] = sure
    return phones


def test_a_faint_p_shuts_the_lips_and_a_lasting_doubt_does_not():
    phones = vowels(40)
    phones[10, PHONE_INDEX["p"]] = 0.08
    phones[20:32, PHONE_INDEX["m"]] = 0.04 + 0.01 * torch.arange(12) / 12
    amount = closing(phones)
    assert amount[10] == 1 and amount[:9].max() == 0 and amount[12:31].max() == 0


def test_a_peak_counts_for_more_where_phones_are_heard_less_surely():
    amounts = []
    for sure in (0.4, USUAL, 0.9):
        phones = vowels(400, sure)
        phones[200, PHONE_INDEX["b"]] = 0.04
        assert float(clearness(phones)[200]) == pytest.approx(sure / USUAL, rel=0.01)
        amounts.append(float(closing(phones)[200]))
    assert amounts[0] == 1 and 0.2 < amounts[1] < 0.5 and amounts[2] == 0
    phones[:, PHONE_INDEX["sil"]] = 1.0
    assert (clearness(phones) == 1).all()


def test_lips_part_where_nothing_like_a_p_is_heard_and_not_beside_one():
    phones = vowels(30)
    phones[10, PHONE_INDEX["p"]] = 0.9
    phones[20, PHONE_INDEX["f"]] = 0.5
    shut = closing(phones)
    apart = parting(phones, shut)
    assert (~apart).nonzero()[:, 0].tolist() == [9, 10, 11, 20]
    assert len(parting(phones[:0], shut[:0])) == 0


def test_parted_lips_are_apart_on_any_face_and_open_ones_stay_as_they_were():
    generator = torch.Generator().manual_seed(2)
    expression = 0.4 * torch.rand(60, 52, generator=generator)
    expression[:, ARKIT_INDEX["mouthClose"]] *= 2
    weights = lip_gap_weights(HalfBody())
    before = lip_gap(expression, weights)
    parted = part_lips(expression, torch.ones(60))
    wide = before >= PARTED_MM
    assert wide.any() and (before < CLOSED_MM).any() and torch.equal(parted[wide], expression[wide])
    reachable = parted[:, ARKIT_INDEX["jawOpen"]] < 1
    assert (lip_gap(parted, weights)[reachable] > PARTED_MM - 0.05).all() and reachable.float().mean() > 0.9
    assert torch.equal(part_lips(expression, torch.zeros(60)), expression)
    assert parted.min() >= 0 and parted.max() <= 1


def test_shut_lips_are_closed_on_any_face_and_others_are_as_they_were():
    generator = torch.Generator().manual_seed(1)
    expression = 0.5 * torch.rand(40, 52, generator=generator)
    expression[:, ARKIT_INDEX["mouthClose"]] *= 0.2
    amount = (torch.arange(40) % 2).float()
    before, shut = expression.clone(), shut_lips(expression, amount)
    weights = lip_gap_weights(HalfBody())
    assert torch.equal(expression, before) and torch.equal(shut[::2], expression[::2])
    assert (lip_gap(shut[1::2], weights) < CLOSED_MM).all() and (lip_gap(expression, weights) > CLOSED_MM).any()
    assert torch.equal(shut[:, ARKIT_INDEX["jawOpen"]], expression[:, ARKIT_INDEX["jawOpen"]])
    half = lip_gap(shut_lips(expression, amount / 2), weights)[1::2]
    open_before = lip_gap(expression, weights)[1::2] > CLOSED_MM
    assert (half <= lip_gap(expression, weights)[1::2] + 1e-4)[open_before].all()
    assert shut.min() >= 0 and shut.max() <= 1
