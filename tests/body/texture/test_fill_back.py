"""The back of a clothed trunk is what the outermost clothes of the front are at the same height."""

import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.body.texture.fill_back import back_colours
from stereotalker_core.body.texture.texels import Lifter

SKIN, BLUE, GREY, SHIRT = ([0.5, 0.1, -0.2], [-0.8, -0.6, 0.4], [-0.2, -0.2, -0.2], [0.8, 0.8, 0.8])
BELT = 0.2  # m


@pytest.fixture(scope="module")
def lifter() -> Lifter:
    return Lifter(HalfBody(), 256)


def _front(lifter: Lifter) -> tuple[torch.Tensor, torch.Tensor]:
    """A blue jumper over grey trousers; its neckline shows skin."""
    colour = torch.where((lifter.height > BELT)[:, None], torch.tensor(BLUE), torch.tensor(GREY))
    neckline = (lifter.aside < 0.06) & (lifter.height > 0.42)
    colour = torch.where((neckline | ~lifter.dressed)[:, None], torch.tensor(SKIN), colour)
    return colour, (lifter.behind == 0).float()


def _off(found: torch.Tensor, expected: list[float], where: torch.Tensor) -> float:
    return float((found[where] - torch.tensor(expected)).abs().amax(1).quantile(0.95))


def test_bands_go_around_and_skin_at_a_neckline_does_not(lifter):
    colour, photo = _front(lifter)
    found, share = back_colours(lifter, colour, photo, torch.tensor(SKIN))
    back = share > 0.9
    assert int(back.sum()) > 1000
    assert _off(found, BLUE, back & (lifter.height > BELT + 0.03)) < 0.02
    assert _off(found, GREY, back & (lifter.height < BELT - 0.03) & (lifter.height > 0)) < 0.02


def test_a_shirt_in_a_jacket_stays_in_front(lifter):
    colour, photo = _front(lifter)
    colour[(lifter.aside < 0.04) & lifter.dressed] = torch.tensor(SHIRT)
    found, share = back_colours(lifter, colour, photo, torch.tensor(SKIN))
    assert _off(found, BLUE, (share > 0.9) & (lifter.height > BELT + 0.03)) < 0.12


def test_below_the_picture_the_last_clothes_go_on(lifter):
    colour, photo = _front(lifter)
    found, share = back_colours(lifter, colour, photo * (lifter.height > 0.3), torch.tensor(SKIN))
    assert _off(found, BLUE, share > 0.9) < 0.02


def test_a_white_collar_is_not_mixed_into_a_coat_and_trousers_go_on_below_the_picture(lifter):
    colour, photo = _front(lifter)
    collar = (lifter.aside < 0.09) & (lifter.height > 0.36) & (lifter.height < 0.46) & lifter.dressed
    colour[collar] = torch.tensor(SHIRT)
    found, share = back_colours(lifter, colour, photo * (lifter.height > 0.1), torch.tensor(SKIN))
    assert _off(found, BLUE, (share > 0.9) & (lifter.height > BELT + 0.03)) < 0.02
    assert _off(found, GREY, (share > 0.9) & (lifter.height < BELT - 0.03)) < 0.02


def test_where_no_clothes_were_seen_it_says_nothing(lifter):
    colour, photo = _front(lifter)
    _, share = back_colours(lifter, colour, photo * ~lifter.dressed, torch.tensor(SKIN))
    assert float(share.max()) == 0
