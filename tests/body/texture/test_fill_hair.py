import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.body.texture import fill_hair
from stereotalker_core.body.texture.fill_hair import hair_colours, polar
from stereotalker_core.body.texture.texels import Lifter

SKIN = torch.tensor([0.5, 0.1, -0.1])
HAIR = torch.tensor([-0.5, -0.6, -0.7])


@pytest.fixture(scope="module")
def head():
    """Places of texels all around a head, every cell once."""
    row, cell = torch.meshgrid(
        torch.arange(fill_hair._ROWS) + 0.5, torch.arange(-fill_hair._HALF, fill_hair._HALF) + 0.5, indexing="ij"
    )
    return torch.stack([row.flatten(), cell.flatten()], 1)


def test_what_was_not_seen_has_the_seen_hair_and_its_strands(head):
    strands = HAIR + 0.15 * (head[:, 1:] % 8 < 4) * torch.ones(3)
    seen = (head[:, 1].abs() < 130).float()
    out = hair_colours(head, torch.where(seen[:, None] > 0, strands, torch.zeros(3)), seen, SKIN)
    back = head[:, 1].abs() > 150
    assert float((out[back].mean(0) - strands[back].mean(0)).abs().max()) < 0.02
    assert 0.8 < float(out[back].std() / strands[back].std()) < 1.2


def test_unseen_hair_has_strands_as_strong_as_the_seen(head):
    """The seen hair is fine in front and blurred at its edge, as at a grazing angle."""
    rough = torch.randn(len(head), 1, generator=torch.Generator().manual_seed(0)) * (head[:, 1:].abs() < 90)
    seen = (head[:, 1].abs() < 130).float()

    def back(strength):
        out = hair_colours(head, HAIR + strength * rough, seen, SKIN)
        light = (out.mean(1) / 2 + 0.5).log().view(fill_hair._ROWS, -1)
        return (light[20:-60] - light[20:-60].roll(1, 1))[:, :80].std()  # neighbours around the head

    flat, fine, coarse = (float(back(strength)) for strength in (0.0, 0.02, 0.05))
    assert flat < 1e-3
    assert fine > 0.01 and 1.8 < coarse / fine < 3.2


def test_an_ear_does_not_run_around_the_head(head):
    colour = HAIR.expand(len(head), 3).clone()
    ear = (head[:, 0] > 60) & (head[:, 0] < 90) & (head[:, 1].abs() > 115)
    colour[ear] = SKIN
    seen = (head[:, 1].abs() < 130).float()
    out = hair_colours(head, colour, seen, SKIN)
    assert float((out - HAIR)[head[:, 1].abs() > 135].abs().max()) < 0.05


def test_a_side_that_was_not_seen_does_as_the_other(head):
    left = (head[:, 1] > 0) & (head[:, 1] < 130)
    out = hair_colours(head, torch.where(left[:, None], HAIR, SKIN), left.float(), SKIN)
    assert float((out - HAIR)[head[:, 1] < -20].abs().max()) < 0.05


def test_nothing_seen_is_nothing_known(head):
    assert hair_colours(head, torch.zeros(len(head), 3), torch.zeros(len(head)), SKIN) is None


def test_polar_counts_from_the_front_to_the_persons_left():
    body = HalfBody()
    eyes = (body.bone_mean[body.bone_index["eye.L"]] + body.bone_mean[body.bone_index["eye.R"]]) / 2
    middle = eyes + torch.tensor([0.0, *fill_hair._MIDDLE])
    ways = torch.tensor([[0.0, -1, 0], [1, 0, 0], [-1, 0, 0], [0, 0, 1]]) * 0.1
    place = polar(body, middle + ways)
    half = fill_hair._HALF
    assert torch.allclose(place[:3, 1], torch.tensor([0.0, half / 2, -half / 2]), atol=0.1)
    assert float(place[3, 0]) == pytest.approx(fill_hair._ROWS, abs=0.1)


def test_hair_texels_lie_on_the_scalp():
    body = HalfBody()
    lifter = Lifter(body, 256)
    assert len(lifter.hair) > 500
    assert bool((lifter.part[lifter.hair] == body.part_index["scalp"]).all())
