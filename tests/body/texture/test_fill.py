"""What the portrait does not show: sleeves, hands, lids, eyes and the other side of the face, texel by texel."""

import pytest
import torch
import torch.nn.functional as F

from stereotalker_core.body.model import HalfBody
from stereotalker_core.body.rasterize import rasterize
from stereotalker_core.body.texture.fill import levelled, lid_colours, registered_priors, skin_colour
from stereotalker_core.body.texture.fill_limbs import clothes_on_bare_arms, limb_colours, seen_arms
from stereotalker_core.body.texture.lift import lift_portrait
from stereotalker_core.body.texture.portrait_view import Trust
from stereotalker_core.body.texture.texels import Lifter
from stereotalker_core.geometry.projection import intrinsics_for, look_at, project

RED, SKIN, PALE = (torch.tensor(c) for c in ([0.6, -0.6, -0.6], [0.4, 0.1, -0.1], [0.7, 0.5, 0.3]))


@pytest.fixture(scope="module")
def body():
    return HalfBody()


@pytest.fixture(scope="module")
def lifter(body):
    return Lifter(body, 512)


@pytest.fixture(scope="module")
def front(body, lifter):
    """(N,) 1 on texels whose surface looks to the front in the A pose."""
    normal = body.normals(body.mean[None])[0]
    return ((normal[lifter.corners] * lifter.weight[..., None]).sum(1)[:, 1] < -0.2).float()


def point(body, lifter):
    return (body.mean[lifter.corners] * lifter.weight[..., None]).sum(1)


def chroma(colour):
    return (colour.amax(1) - colour.amin(1)).abs()


def test_a_short_sleeve_ends_at_the_same_place_all_around(lifter, front):
    arm = lifter.limbs & ~lifter.hands
    ends = 0.16  # m from the shoulder
    colour = torch.where((lifter.along < ends)[:, None], RED, SKIN)
    photo = front * (arm & lifter.left)  # the other arm is out of the picture
    out, known = limb_colours(lifter, colour, photo, SKIN)
    assert bool(known[arm].all()) and bool((photo[arm & lifter.left] == 0).any())
    for side in (lifter.left, ~lifter.left):
        here = arm & side
        sleeve = (out[here] - RED).norm(dim=1) < 0.1
        bare = (out[here] - SKIN).norm(dim=1) < 0.1
        along = lifter.along[here]
        assert bool(sleeve[along < ends - 0.015].all()) and bool(bare[along > ends + 0.015].all())


def test_bare_skin_beside_white_clothes_is_skin_in_any_light(lifter, front):
    """A pale sleeve and pale skin differ by hue; a forearm in the sleeve's shadow is skin all the same."""
    arm = lifter.limbs & ~lifter.hands
    white, pale = torch.tensor([0.64, 0.62, 0.62]), torch.tensor([0.64, 0.42, 0.37])
    shadow = ((pale / 2 + 0.5).square() * 0.15).sqrt() * 2 - 1
    bare = torch.where((lifter.along < 0.4)[:, None], shadow, pale)
    colour = torch.where((lifter.along < 0.16)[:, None], white, bare)
    photo = front * (lifter.limbs & lifter.left)
    out, _ = limb_colours(lifter, colour, photo, pale)
    unseen = arm & (photo == 0)
    sleeve, beyond = unseen & (lifter.along < 0.14), unseen & (lifter.along > 0.18)
    assert float((out[sleeve] - white).norm(dim=1).max()) < 0.1
    hue = [c / c.sum(-1, keepdim=True) for c in ((out[beyond] / 2 + 0.5).square(), (pale / 2 + 0.5).square())]
    assert float((hue[0] - hue[1]).abs().sum(1).max()) < 0.03
    assert float((out[beyond] / 2 + 0.5).square().sum(1).min()) > 0.35 * float((pale / 2 + 0.5).square().sum())


def test_cloth_seen_on_a_bare_forearm_is_the_trunk_behind(lifter, front):
    arm = lifter.limbs & ~lifter.hands
    colour = torch.where((lifter.along < 0.16)[:, None], RED, SKIN)
    stained = arm & (lifter.along > 0.3) & ~lifter.outer  # the inner side reads the shirt
    colour[stained] = RED
    photo = front * lifter.limbs
    found = clothes_on_bare_arms(lifter, seen_arms(lifter, colour, photo, SKIN), colour, ~lifter.outer)
    assert bool(found[stained & (photo > 0)].all()) and not bool(found[~stained].any())


def test_a_hand_takes_its_own_seen_skin_and_an_unseen_hand_the_others(lifter, front):
    hands = {side: lifter.hands & (lifter.left == side) for side in (True, False)}
    colour = torch.where(hands[True][:, None], PALE, SKIN).clone()
    colour[hands[False]] = torch.tensor([-0.2, -0.3, -0.4])
    out, known = limb_colours(lifter, colour, front * lifter.hands, RED)
    assert bool(known[lifter.hands].all())
    for side in (True, False):
        assert float((out[hands[side]] - colour[hands[side]]).abs().max()) < 1e-5
    out, _ = limb_colours(lifter, colour, front * hands[True], RED)
    assert float((out[hands[False]] - PALE).abs().max()) < 1e-5
    out, known = limb_colours(lifter, colour, torch.zeros_like(front), RED)
    assert float((out[lifter.hands] - RED).abs().max()) < 1e-5
    assert not bool(known[lifter.limbs & ~lifter.hands].any())  # nothing of the arms is known


def test_a_gap_between_sleeve_and_skin_has_one_border(lifter, front):
    """Nothing was seen of 10 cm of the forearm's beginning: all of it is sleeve or skin, with one border between."""
    arm = lifter.limbs & ~lifter.hands & lifter.left
    colour = torch.where((lifter.along < 0.22)[:, None], RED, SKIN)
    seen = front * arm * ((lifter.along < 0.17) | (lifter.along > 0.27))
    out, _ = limb_colours(lifter, colour, seen, SKIN)
    order = lifter.along[arm].argsort()
    sleeve = ((out[arm][order] - RED).norm(dim=1) < 0.1).int()
    bare = ((out[arm][order] - SKIN).norm(dim=1) < 0.1).int()
    assert bool((sleeve + bare == 1).all()) and int(sleeve.diff().abs().sum()) == 1


def test_the_other_side_comes_in_this_sides_light(body, lifter):
    """A face lit from its left: what the right cheek lacks comes from the left one, as dark as the right."""
    face = lifter.part == body.part_index["face"]
    at = point(body, lifter)
    spots = 0.1 * torch.sin(at[:, 2] * 300)  # detail that both sides share
    light = torch.where(lifter.left, 0.3, -0.3)
    colour = (light + spots)[:, None].expand(-1, 3).contiguous()
    mirrored = (-light + spots)[:, None].expand(-1, 3).contiguous()
    hole = face & ~lifter.left & ((at - at.new_tensor([-0.045, -0.1, 0.60])).norm(dim=1) < 0.02)
    assert int(hole.sum()) > 40
    out = levelled(lifter, colour, mirrored, (face & ~hole).float())
    off = (out - colour)[hole].abs()
    assert float((mirrored - colour)[hole].abs().mean()) > 0.5
    assert float(off.mean()) < 0.03 and float(off.max()) < 0.12


def test_lids_take_the_skin_around_their_own_eye(lifter):
    colour = torch.full((len(lifter.texel), 3), -1.0)
    for side, below, above in ((True, SKIN, PALE), (False, PALE, SKIN * 0.5)):
        colour[lifter.around_eyes & (lifter.left == side)] = below
        colour[lifter.above_eyes & (lifter.left == side)] = above
    photo = (lifter.around_eyes | lifter.above_eyes).float()
    out, lids = lid_colours(lifter, colour, photo), lifter.eyelids > 0
    assert bool(lids.any()) and float(out[~lids].abs().max()) == 0
    # a vertex may count as below one eye and above it: the medians say what most texels show
    assert float((out[lids & lifter.left] - (SKIN + PALE) / 2).abs().max()) < 0.12
    assert float((out[lids & ~lifter.left] - (PALE + SKIN * 0.5) / 2).abs().max()) < 0.12
    one = lid_colours(lifter, colour, photo * lifter.left)
    assert float((one[lids & ~lifter.left] - SKIN).abs().max()) < 1e-5  # nothing was seen there


@pytest.fixture(scope="module")
def eyes(body, lifter):
    """An eye of rings: pupil, blue iris, white; the photograph shows a band of it between the lids."""
    white, blue, black = torch.tensor([[0.6, 0.6, 0.55], [-0.4, 0.0, 0.4], [-0.9, -0.9, -0.9]])
    colour = torch.full((len(lifter.texel), 3), 0.2)
    colour[lifter.eyes] = white
    colour[lifter.eyes & lifter.iris] = blue
    colour[lifter.eyes & lifter.pupil] = black
    centre = torch.stack([body.bone_mean[body.bone_index[f"eye.{s}"]] for s in "RL"])[lifter.left.long()]
    away = point(body, lifter) - centre
    band = lifter.eyes & (away[:, 2].abs() < 0.005) & (lifter.eye_angle < 1.0)
    return lifter, colour, band, (white, blue)


def test_what_is_seen_of_an_eye_comes_back_and_the_rest_goes_on(body, eyes):
    lifter, colour, band, (white, blue) = eyes
    photo = (band | (lifter.part == body.part_index["face"])).float()
    filled, confidence = registered_priors(lifter, body.n_vertices, colour, photo, colour * photo[:, None], photo, SKIN)
    assert torch.equal(filled[band], colour[band])
    hidden = lifter.eyes & ~band
    whites, iris = hidden & (lifter.eye_angle > 0.7), hidden & lifter.iris & (lifter.eye_angle > 0.25)
    assert int(whites.sum()) > 100 and int(iris.sum()) > 10
    assert float((filled[whites] - white).abs().max()) < 0.05
    assert float((filled[iris] - blue).abs().mean()) < 0.1
    assert bool((confidence[lifter.eyes] == 1).all())


def test_an_eye_that_was_not_seen_looks_like_the_other(body, eyes):
    lifter, colour, band, (white, _) = eyes
    photo = (band & lifter.left).float()
    filled, _ = registered_priors(lifter, body.n_vertices, colour, photo, colour * photo[:, None], photo, SKIN)
    other = lifter.eyes & ~lifter.left
    assert float((filled[other & (lifter.eye_angle > 0.7)] - white).abs().max()) < 0.05
    assert float((filled[other] - colour[other]).abs().mean()) < 0.1


@pytest.mark.parametrize("shut", [(False, False), (True, True)])
def test_a_grey_picture_stays_grey(body, shut):
    """Also where all is invented: teeth, tongue, the back, and irises behind shut lids."""
    size = (192, 192)
    posed = body.pose(body.rest(torch.zeros(1, body.n_shape)), torch.zeros(1, 49, 3), torch.zeros(1, 52))
    camera = look_at(torch.tensor([0.0, -0.02, 0.5]), torch.tensor([5.0]), torch.zeros(1), torch.full((1,), 2.2))[0]
    intrinsics = intrinsics_for(0.8, 2.2, size)
    mask = (rasterize(project(posed.vertices, camera[None], intrinsics), body.triangles, size).depth > 0).float()
    grey = F.interpolate(torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(2)), size, mode="bilinear")
    image = (grey[0] * 1.2 - 0.6).expand(3, -1, -1)
    trust = Trust(registered=True, shut=shut)
    atlas, _ = lift_portrait(body, image, mask, posed, camera, intrinsics, lifter=Lifter(body, 256), trust=trust)
    assert float((atlas.amax(0) - atlas.amin(0)).max()) < 0.02


def test_skin_is_read_below_the_eyes(body, lifter, front):
    colour = torch.where(lifter.around_eyes[:, None], SKIN, RED)
    assert torch.equal(skin_colour(body, lifter, colour, front), SKIN)
    hidden = front * ~lifter.around_eyes
    assert torch.equal(skin_colour(body, lifter, colour, hidden), RED)
    assert float(skin_colour(body, lifter, colour, torch.zeros_like(front)).abs().max()) == 0


def test_teeth_that_a_smile_shows_tell_the_colour_of_the_others(body, lifter, front):
    """A smile shows half of the upper row, yellow with dark gaps; the rest has its yellow, the darker the deeper."""
    tooth = torch.tensor([0.7, 0.5, 0.2])
    upper = lifter.part == body.part_index["teeth.up"]
    shown = (upper & lifter.left & (lifter.mouth_light > 0.8)).nonzero().squeeze(1)
    colour = SKIN.repeat(len(upper), 1)
    colour[shown] = tooth
    colour[shown[::4]] = -0.9
    photo = (front * ~lifter.templated).index_fill(0, shown, 1.0)
    filled, _ = registered_priors(lifter, body.n_vertices, colour, photo, colour * photo[:, None], photo, SKIN)
    hidden = lifter.teeth & (photo == 0)
    near, deep = hidden & (lifter.mouth_light > 0.9), hidden & (lifter.mouth_light < 0.5)
    assert int(near.sum()) > 20 and int(deep.sum()) > 20
    assert float((filled[near].median(0).values - tooth).abs().max()) < 0.15
    assert float(filled[deep].mean()) < float(filled[near].mean()) - 0.2
    plain, _ = registered_priors(
        lifter, body.n_vertices, SKIN.repeat(len(upper), 1), front * ~lifter.templated, colour, photo, SKIN
    )
    assert float((plain[near].median(0).values - tooth).abs().max()) > 0.18


def test_a_difference_of_light_does_not_bleach_borrowed_sleeves(lifter):
    """One sleeve was seen .5 brighter than the other where both were; elsewhere the other is bright already."""
    sleeves = lifter.limbs & ~lifter.hands
    upper = sleeves & (lifter.along < 0.15)
    colour, mirrored = torch.full((len(sleeves), 3), -0.1), torch.full((len(sleeves), 3), -0.6)
    mirrored[sleeves & ~upper] = 0.0
    out = levelled(lifter, colour, mirrored, upper.float())
    assert float(out[upper].mean()) == pytest.approx(-0.1, abs=0.05)
    assert float(out[sleeves & ~upper].max()) < -0.05  # not +.5
