"""Arms where the portrait does not show them: in the hand's light, and without a step beside what was seen."""

import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.body.texture.fill_limbs import (
    _in_light_of,
    joined,
    limb_colours,
    seen_arms,
    trusted_skin,
    trusted_sleeves,
)
from stereotalker_core.body.texture.texels import usual_lifter
from stereotalker_core.pixels.materials import skin_like


def test_rose_cloth_is_not_taken_for_skin_and_white_cloth_is_told_from_it():
    """Folds of rose cloth are nearer to skin than to the cloth: nothing tells them apart, so nothing is barred."""
    skin = torch.tensor([0.72, 0.48, 0.36])
    rose, white = torch.tensor([0.90, 0.62, 0.64]), torch.tensor([0.90, 0.90, 0.92])
    seen = torch.stack([0.8 * rose + 0.2 * skin, 0.4 * rose + 0.6 * skin, skin * 0.9])
    assert float((rose - skin).norm()) > 0.3  # the tones alone would pass for two
    assert not bool(skin_like(seen, rose, skin).any())
    assert skin_like(torch.stack([white * 0.95, skin * 0.9]), white, skin).tolist() == [False, True]


def test_dark_skin_of_an_arm_is_brought_to_the_light_of_the_hand():
    hand, shadow, lit = (torch.tensor(c) for c in ([0.6, 0.3, 0.1], [-0.3, -0.5, -0.6], [0.55, 0.28, 0.08]))
    brought = _in_light_of(shadow, hand)
    linear = [float((c / 2 + 0.5).square().sum()) for c in (brought, hand)]
    assert linear[0] == pytest.approx(0.85 * linear[1], rel=1e-4)
    assert torch.equal(_in_light_of(lit, hand), lit)


def test_what_was_seen_of_an_arm_goes_on_and_fades():
    """Upper arms were seen .4 darker than the prior: the next centimetre follows, the wrist does not."""
    body = HalfBody()
    lifter = usual_lifter(body, "cpu")
    arms = lifter.limbs & ~lifter.hands
    photo = (arms & (lifter.along < 0.15)).float()
    prior = torch.zeros(len(photo), 3)
    out = joined(lifter, body.n_vertices, prior, prior - 0.4, photo, arms.nonzero().squeeze(1))
    near = arms & (lifter.along > 0.152) & (lifter.along < 0.157)
    far = arms & (lifter.along > 0.30)
    assert float(out[near].mean()) < -0.25
    assert float(out[far].abs().max()) < 0.02
    assert float(out[~arms].abs().max()) == 0


def test_the_dark_between_fingers_and_the_cloth_behind_them_are_no_skin():
    """Fingers show blue cloth, or the black between two of them; cloth is given up, black counts less, rose stays."""
    body = HalfBody()
    lifter = usual_lifter(body, "cpu")
    skin = torch.tensor([0.45, 0.10, -0.05])
    colour, photo = skin.repeat(len(lifter.hands), 1), (lifter.limbs & lifter.outer | lifter.hands).float()
    fingers = (lifter.hands & lifter.left).nonzero().squeeze(1)[::5]
    shadow, cloth = fingers[::2], fingers[1::2]
    colour[shadow], colour[cloth] = torch.tensor([-0.90, -0.93, -0.95]), torch.tensor([0.1, 0.3, 0.8])
    rosy = (lifter.hands & ~lifter.left).nonzero().squeeze(1)[::7]
    colour[rosy] = torch.tensor([0.42, 0.02, -0.08])
    arms = seen_arms(lifter, colour, photo, skin)
    after = trusted_skin(lifter, arms, colour, photo)
    assert float(after[cloth].max()) < 0.2 and float(after[shadow].max()) < 0.85
    assert float(after[rosy].min()) > 0.8
    rest = photo.bool().index_fill(0, torch.cat([fingers, rosy]), False)
    assert float(after[rest].min()) > 0.95
    sleeved = arms._replace(end=dict.fromkeys((True, False), 60))
    assert torch.equal(trusted_skin(lifter, sleeved, colour, photo)[~lifter.hands], photo[~lifter.hands])


def test_a_plant_on_a_plain_sleeve_is_given_up_and_a_pattern_is_believed():
    """Upper arms in grey cloth: a tenth of their texels is green; of a checked shirt half of them are."""
    body = HalfBody()
    lifter = usual_lifter(body, "cpu")
    skin, grey = torch.tensor([0.45, 0.10, -0.05]), torch.tensor([0.2, 0.2, 0.25])
    sleeve = (lifter.limbs & ~lifter.hands).nonzero().squeeze(1)
    photo = (lifter.limbs & ~lifter.hands).float()
    for every, believed_from in ((10, 0.0), (2, 0.99)):
        colour = skin.repeat(len(photo), 1)
        colour[sleeve] = grey
        colour[sleeve[::every]] = torch.tensor([-0.6, 0.3, -0.7])
        arms = seen_arms(lifter, colour, photo, skin)._replace(end=dict.fromkeys((True, False), 60))
        after = trusted_sleeves(lifter, arms, colour, photo)
        assert believed_from <= float(after[sleeve[::every]].min()) and float(after[sleeve[1::every]].min()) > 0.99
        if every == 10:
            assert float(after[sleeve[::every]].max()) < 0.3


def test_unseen_skin_of_an_arm_is_as_bright_as_the_face_and_takes_the_hands_tone_at_the_wrist():
    """The forearm was seen in shadow, its hand in half of the face's light: no brown arm between two bright ones."""
    body = HalfBody()
    lifter = usual_lifter(body, "cpu")
    face, sleeve = torch.tensor([0.72, 0.48, 0.36]), torch.tensor([-0.8, -0.8, -0.7])

    def dimmed(share):
        return ((face / 2 + 0.5) * share**0.5) * 2 - 1

    def light(colour):
        return (colour / 2 + 0.5).square().sum(-1)

    colour = torch.where((lifter.along < 0.2)[:, None], sleeve, dimmed(0.4)).clone()
    colour[lifter.hands] = dimmed(0.6)
    photo = (lifter.outer & lifter.limbs).float()
    out, known = limb_colours(lifter, colour, photo, face)
    bare = lifter.limbs & (lifter.along > 0.3)
    assert bool(known[bare].all()) and float(light(out[bare]).min()) > 0.7 * float(light(face))
    wrist, hand = lifter.limbs & ~lifter.hands & (lifter.along > 0.53), lifter.hands
    assert float((out[wrist] - out[hand].mean(0)).abs().max()) < 1e-4
    glove = torch.tensor([-0.7, -0.6, 0.2])
    colour[lifter.hands] = glove
    out, _ = limb_colours(lifter, colour, photo, face)
    torch.testing.assert_close(out[lifter.hands], glove.expand(int(lifter.hands.sum()), 3))


def test_a_sleeve_ends_where_its_hem_is_not_where_the_shirt_beside_it_does():
    """The inner half of both bare arms shows the white shirt behind them: the sleeve ends at its hem all the same."""
    lifter = usual_lifter(HalfBody(), "cpu")
    skin, white = torch.tensor([0.45, 0.10, -0.05]), torch.tensor([0.8, 0.8, 0.82])
    arms = lifter.limbs & ~lifter.hands
    inner, hem = arms & ~lifter.outer, torch.where(lifter.left, 0.14, 0.11)
    cloth = (lifter.along < hem) | inner & (lifter.along < 0.28)
    colour = torch.where(cloth[:, None], white, skin)
    photo = (arms & (lifter.along < 0.4)).float()
    found = seen_arms(lifter, colour, photo, skin, inner)
    assert abs(found.end[True] - 14) <= 1 and abs(found.end[False] - 11) <= 1
    prior, known = limb_colours(lifter, colour, photo, skin, found)
    bare = arms & (lifter.along > 0.17) & known
    assert float((prior[bare] - skin).abs().max()) < 0.2
