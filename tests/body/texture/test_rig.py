"""The rig: what its tables carry from an atlas to pictures comes back, and partners are what they are called."""

import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.body.texture.rig import BLOCK, METRES, RIG_ATLAS, RIG_REGIONS, YAWS, Rig


@pytest.fixture(scope="module")
def rig():
    body = HalfBody()
    return body, Rig(body)


def part_of(body, rig, *names):
    ids = torch.tensor([body.part_index[n] for n in names])
    return torch.isin(rig.lifter.part, ids)


def test_positions_of_the_pixels_come_back_to_the_texels(rig):
    body, tables = rig
    found, sure = tables.merged(tables.position)
    lifter = tables.lifter
    truth = (body.mean[lifter.corners] * lifter.weight[..., None]).sum(1)
    trunk = part_of(body, tables, "torso", "neck", "arm.L", "arm.R", "scalp", "face")
    seen = trunk & (sure > 0.3)
    assert float(seen[trunk].float().mean()) > 0.8
    assert float((found - truth)[seen].norm(dim=1).quantile(0.95)) < METRES


def test_partners_lie_behind_and_on_the_other_half(rig):
    _, tables = rig
    there = tables.opposite_there > 0
    away = tables.position[tables.opposite] - tables.position
    front = there & (tables.pixel < tables.size[0] * tables.size[1])
    assert float(front.float().sum()) > 1000
    assert float(away[front][:, [0, 2]].abs().quantile(0.95)) < 2 * METRES
    assert float((away[front][:, 1] > 0).float().mean()) > 0.98  # behind, as -y is the front
    there = tables.mirror_there > 0
    flipped = tables.position[there] * torch.tensor([-1.0, 1.0, 1.0])
    assert float((tables.position[tables.mirror[there]] - flipped).norm(dim=1).quantile(0.9)) < 3 * METRES


def test_rows_are_one_height_in_every_view(rig):
    _, tables = rig
    rows, columns = tables.size
    row = torch.div(tables.pixel % (rows * columns), columns, rounding_mode="floor")
    expected = 0.86 - (row + 0.5) * METRES
    assert float((tables.position[:, 2] - expected).abs().quantile(0.99)) < METRES


def test_tokens_hold_every_pixel_once(rig):
    _, tables = rig
    values = torch.randn(2, len(tables.pixel), 3)
    tokens = tables.tokens(values)
    assert tokens.shape == (2, len(tables.token), BLOCK**2 * 3)
    assert torch.equal(tables.from_tokens(tokens), values)
    assert torch.equal(tables.collected(tables.laid_out(tokens)), tokens)
    assert torch.equal(tables.covered(tables.canvas(values)), values)


def test_a_constant_change_stays_one_but_for_eyes_and_mouth(rig):
    body, tables = rig
    atlas = tables.to_atlas(torch.full((len(tables.pixel), 3), 0.25))
    assert atlas.shape == (3, RIG_ATLAS, RIG_ATLAS)
    flat = atlas.flatten(1)[:, tables.lifter.texel]
    skin = part_of(body, tables, "torso", "scalp", "arm.L", "hand.R")
    assert torch.allclose(flat[:, skin & (tables.lifter.eyelids == 0)], torch.tensor(0.25), atol=1e-4)
    assert float(flat[:, tables.lifter.templated].abs().max()) == 0


def test_regions_and_views_are_all_there(rig):
    _, tables = rig
    assert torch.allclose(tables.region.sum(1), torch.ones(len(tables.pixel)), atol=1e-5)
    assert (tables.region.sum(0) > 200).all() and tables.region.shape[1] == len(RIG_REGIONS)
    view = torch.div(tables.pixel, tables.size[0] * tables.size[1], rounding_mode="floor")
    assert (torch.bincount(view, minlength=len(YAWS)) > 5000).all()
