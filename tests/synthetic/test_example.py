"""The example people: pictures that ship, with their masks."""

import pytest
import torch

from stereotalker_core.perception.networks import load_perception
from stereotalker_core.perception.people import people
from stereotalker_core.synthetic.example import PEOPLE, example_portrait


@pytest.mark.parametrize("name", PEOPLE)
def test_each_is_one_person_who_fills_the_mask(name):
    image, mask = example_portrait(name, 384)
    assert image.shape == (3, 384, 384) and mask.shape == (1, 384, 384)
    assert float(image.min()) >= -1 and float(image.max()) <= 1
    assert float(mask.min()) >= 0 and float(mask.max()) <= 1
    found = people(image, load_perception())
    assert len(found) == 1 and found[0].mesh is not None
    matte = torch.nn.functional.interpolate(found[0].mask[None], (384, 384), mode="area")[0] > 0.5
    both, either = float((matte & (mask > 0.5)).sum()), float((matte | (mask > 0.5)).sum())
    assert both / either > 0.95


def test_sizes_show_the_same_picture():
    small, large = (example_portrait("marek", size)[0] for size in (128, 1024))
    again = torch.nn.functional.interpolate(large[None], (128, 128), mode="bilinear", antialias=True)[0]
    assert float((again - small).abs().mean()) < 0.02


def test_strangers_and_specks_are_refused():
    with pytest.raises(ValueError, match="'nobody' is unknown; use one of marek"):
        example_portrait("nobody")
    with pytest.raises(ValueError, match="at least 16 px, got 8"):
        example_portrait("aria", 8)
