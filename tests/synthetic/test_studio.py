import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.synthetic.studio.portraits import EXAMPLES, example_portrait


def test_a_picture_shows_a_person_with_hair_before_a_room():
    with torch.inference_mode():
        portrait = example_portrait("jonas", 128, HalfBody())
    assert portrait.image.shape == (3, 128, 128) and portrait.mask.shape == (1, 128, 128)
    assert float(portrait.image.abs().max()) <= 1 and 0.2 < float(portrait.mask.mean()) < 0.6
    inside = portrait.image[:, portrait.mask[0] > 0.9]
    assert float(inside.std(1).min()) > 0.1


def test_unknown_people_and_tiny_pictures_are_refused():
    assert len(EXAMPLES) > 1
    with pytest.raises(ValueError, match="use one of mira, jonas"):
        example_portrait("nobody")
    with pytest.raises(ValueError, match="128 px"):
        example_portrait("mira", 64)
