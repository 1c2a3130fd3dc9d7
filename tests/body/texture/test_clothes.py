"""The trunk beside arms: what the portrait shows there of an arm or of the room is not the trunk's."""

from types import SimpleNamespace

import torch

from stereotalker_core.body.texture.clothes import _of_skin, strange_beside_arms

FACE, TORSO, ARM = 1, 2, 3
SKIN, SHIRT, ROOM = (torch.tensor(c)[:, None] for c in ([0.5, 0.1, -0.1], [0.9, 0.9, 0.92], [-0.4, 0.1, 0.6]))
LIFTER = SimpleNamespace(dressed_parts=(TORSO,), face_part=FACE)


def _view():
    """A face above a white shirt, with a bare arm on the right; a strip of 4 columns beside it shows skin and room."""
    part = torch.zeros(100, 100)
    part[:30, 20:60], part[30:, :70], part[30:, 70:] = FACE, TORSO, ARM
    image = SHIRT[..., None].repeat(1, 100, 100)
    image[:, part == FACE], image[:, part == ARM] = SKIN, SKIN
    image[:, 40:60, 66:70], image[:, 70:80, 66:70] = SKIN[..., None] * 0.3 - 0.5, ROOM[..., None]
    image[:, 85:90, 50:70] *= 0.5  # a fold in shadow
    touching, arms = torch.zeros(100, 100), torch.zeros(100, 100)
    touching[30:, 60:], arms[30:, 40:] = 1, 1
    maps = torch.stack([torch.ones(100, 100), torch.ones(100, 100), torch.ones(100, 100), part])
    return SimpleNamespace(maps=maps, image=image, touching=touching, arms=arms)


def test_skin_shadow_and_room_are_found_beside_an_arm_and_folds_are_not():
    view = _view()
    found = strange_beside_arms(view, LIFTER)
    assert bool(found[40:60, 66:70].all()) and bool(found[70:80, 66:70].all())
    found[39:61, 65:71] = found[69:81, 65:71] = False
    assert not bool(found.any())


def test_a_coat_of_which_only_the_shirt_lies_off_the_arms_stays():
    view = _view()
    view.image[:, (view.maps[3] == TORSO) & (view.touching > 0)] = torch.tensor([-0.5, -0.5, -0.1])[:, None]
    assert not bool(strange_beside_arms(view, LIFTER).any())


def test_without_clothes_off_the_arms_nothing_is_told():
    view = _view()
    view.arms[:] = 1
    assert not bool(strange_beside_arms(view, LIFTER).any())


def test_a_tan_jacket_over_a_blue_shirt_is_no_skin():
    """Colours of a portrait: without the jacket's colour its cloth is taken for skin; a bare shoulder tells nothing."""
    skin, shirt, tan = (torch.tensor(c) for c in ([0.12, -0.28, -0.54], [-0.33, -0.46, -0.67], [-0.04, -0.30, -0.64]))
    colours = torch.stack([skin, tan, shirt])
    assert _of_skin(colours, shirt, skin, None).tolist() == [True, True, False]
    assert _of_skin(colours, shirt, skin, tan).tolist() == [True, False, False]
    assert _of_skin(colours, shirt, skin, skin * 0.98).tolist() == [True, True, False]
