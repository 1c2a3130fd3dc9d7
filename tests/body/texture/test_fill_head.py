"""The sides of the head: what is neither skin nor hair there is given up, beards, collars and side light stay."""

import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.body.rasterize import at_points
from stereotalker_core.body.texture.fill_head import SideSkin, trusted_hair, trusted_sides
from stereotalker_core.body.texture.texels import usual_lifter

SKIN = torch.tensor([0.45, 0.10, -0.05])
HAIR = torch.tensor([-0.70, -0.78, -0.82])
WALL = torch.tensor([0.10, 0.55, 0.75])
SHIRT = torch.tensor([0.95, 0.96, 0.97])


class Head:
    """A head seen straight from the front: skin below, hair above, everything that faces the camera seen."""

    def __init__(self):
        body = HalfBody()
        self.body, self.lifter = body, usual_lifter(body, "cpu")
        normal = at_points(body.normals(body.mean[None])[0], self.lifter.corners, self.lifter.weight)
        self.cosine = -torch.nn.functional.normalize(normal, dim=1)[:, 1]
        self.at = self.lifter.side_skin
        self.facing = self.cosine[self.at]
        self.colour = SKIN.repeat(len(normal), 1)
        self.colour[self.lifter.hair] = HAIR
        self.photo = ((self.cosine - 0.06) / 0.12).clamp(0, 1)
        self.other = torch.zeros_like(self.photo)
        self.face = self.lifter.part[self.at] == self.lifter.face_part

    def trusted(self, mirrored: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor, SideSkin | None]:
        """Call `trusted_sides` with what this head shows; mirrored: (N, 3) of the other side, the same where None."""
        mirrored = self.colour if mirrored is None else mirrored
        seen = (self.lifter, self.body.n_vertices, self.colour, mirrored, self.photo, self.other)
        return trusted_sides(*seen, self.facing, SKIN)


@pytest.fixture
def head():
    return Head()


def test_the_wall_beside_the_face_is_given_up_and_skin_is_expected_there(head):
    rim = head.at[head.face & (head.facing > 0.06) & (head.facing < 0.3) & (head.lifter.temples < 0.5)]
    head.colour[rim] = WALL
    photo, _, sides = head.trusted()
    there = torch.isin(head.at, rim)
    assert float(head.photo[rim].mean()) > 0.5
    assert float(photo[rim].mean()) < 0.1
    assert float((sides.nearby[there] - SKIN).abs().mean()) < 0.05
    assert float(sides.bare[there].mean()) > 0.9


def test_what_faces_the_camera_is_left_as_it_is(head):
    straight = head.at[head.facing > 0.65]
    mole = straight[:: len(straight) // 50]
    head.colour[mole] = HAIR
    photo, _, _ = head.trusted()
    assert torch.equal(photo[straight], head.photo[straight])
    rest = torch.ones_like(head.photo, dtype=torch.bool).index_fill(0, head.at, False)
    assert torch.equal(photo[rest], head.photo[rest])


def test_a_collar_on_the_neck_stays(head):
    """All of the neck is a shirt: its sides keep their colour, and no skin is expected under it."""
    neck = head.at[head.lifter.part[head.at] == head.body.part_index["neck"]]
    head.colour[neck] = SHIRT
    photo, _, sides = head.trusted()
    there = torch.isin(head.at, neck)
    sure = there & (sides.bare < 0.5)
    assert int(sure.sum()) > 0.8 * int(there.sum())
    assert float(photo[head.at[sure]].sum()) > 0.7 * float(head.photo[head.at[sure]].sum())


def test_a_beard_stays(head):
    """A grey beard around the jaw is neither the cheek's skin nor the hair's brown."""
    beard = head.at[head.face & (head.lifter.height[head.at] < head.lifter.height[head.at][head.lifter.cheeks].min())]
    head.colour[beard] = torch.tensor([0.35, 0.33, 0.32])
    photo, _, _ = head.trusted()
    shown = head.photo[beard] > 0.5
    assert float(photo[beard][shown].mean()) > 0.8


def test_a_side_in_other_light_is_skin_all_the_same(head):
    """One half of the face lies in cold bright light: its own cheek is what its jaw is compared with."""
    cold = torch.tensor([0.75, 0.70, 0.72])
    left = head.lifter.left & (head.colour == SKIN).all(1)
    head.colour[left] = cold
    rim = head.face & (head.facing > 0.06) & (head.facing < 0.3) & (head.lifter.temples < 0.5)
    lit = head.at[rim & head.lifter.left[head.at]]
    lit = lit[head.lifter.aside[lit] > 0.03]
    head.colour[lit] = WALL
    photo, _, sides = head.trusted()
    there = torch.isin(head.at, lit)
    assert float(photo[lit].mean()) < 0.15
    assert float((sides.nearby[there] - cold).abs().mean()) < 0.05


def test_hair_at_the_temples_is_borrowed_from_the_other_side_and_skin_is_not(head):
    head.other[:] = 1.0
    mirrored = SKIN.repeat(len(head.colour), 1)
    high = head.lifter.temples > 0.9
    hairy = head.at[high][::2]
    mirrored[hairy] = HAIR
    _, other, sides = head.trusted(mirrored)
    plain = head.at[high][1::2]
    bare = sides.bare[high]
    assert float(other[hairy].min()) > 0.9
    assert float(other[plain][bare[1::2] > 0.9].max()) < 0.1


def test_too_little_skin_tells_nothing(head):
    head.photo[:] = 0
    photo, other, sides = head.trusted()
    assert sides is None and photo is head.photo and other is head.other


def test_an_ear_that_was_photographed_on_the_hair_behind_it_is_given_up(head):
    """The rim of a larger ear lies on hair behind the drawn one; a bald patch above and a shaved head stay."""
    lifter = head.lifter
    seen = torch.ones_like(head.photo)
    rim, top = lifter.hair[lifter.beside_ears == 1], lifter.hair[lifter.beside_ears == 0][::9]
    assert len(rim) > 100
    stained = head.colour.clone()
    stained[rim[::2]], stained[top] = SKIN, SKIN
    after = trusted_hair(lifter, stained, seen, SKIN)
    assert float(after[rim[::2]].max()) < 0.2 and float(after[rim[1::2]].min()) > 0.8
    assert torch.equal(after[top], seen[top])
    shaved = SKIN.expand_as(head.colour)
    assert torch.equal(trusted_hair(lifter, shaved, seen, SKIN), seen)
