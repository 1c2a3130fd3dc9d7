"""Masks: what does not hang together with the person goes, hands that were found come in."""

import torch

from stereotalker_core.perception.bodies import Body
from stereotalker_core.perception.hands import Hand
from stereotalker_core.perception.segment import connected, with_hands
from stereotalker_core.perception.squares import Square


def test_only_what_touches_the_person_stays():
    mask = torch.zeros(1, 300, 400)
    mask[:, 100:, 100:200] = 1  # the person
    mask[:, 150:170, 200:330] = 0.9  # something held
    mask[:, 250:, 370:] = 1  # somebody else's arm
    seed = torch.zeros_like(mask)
    seed[:, 120:, 110:190] = 1
    kept = connected(mask, seed)
    assert torch.allclose(kept[:, :, :335], mask[:, :, :335]) and float(kept[:, 250:, 370:].max()) == 0
    assert torch.equal(connected(mask, torch.zeros_like(mask)), mask)


def test_soft_edges_survive():
    ramp = torch.linspace(0, 1, 256).expand(1, 256, 256).clone()
    seed = (ramp > 0.8).float()
    kept = connected(ramp, seed)
    assert float((kept - ramp).abs()[:, :, 80:].max()) < 1e-6


def test_hands_are_added_from_the_bodys_mask_and_nowhere_else():
    body_mask = torch.ones(1, 256, 256)
    body = Body(torch.zeros(33, 2), torch.ones(33), 1.0, Square(128.0, 128.0, 256.0), body_mask)
    points = torch.stack([torch.linspace(40, 80, 21), torch.linspace(200, 210, 21)], -1)
    mask = torch.zeros(1, 256, 256)
    added = with_hands(mask, body, [Hand(points, 1.0, 0.0)])
    assert float(added[0, 205, 60]) > 0.95 and float(mask.max()) == 0
    assert float(added[0, :150].max()) == 0 and float(added[0, :, 120:].max()) == 0
    beyond = Hand(points + torch.tensor([1000.0, 0.0]), 1.0, 0.0)
    assert torch.equal(with_hands(mask, body, [beyond]), mask)
