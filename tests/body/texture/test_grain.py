"""Unseen cloth and hair get the fine detail of the seen ones; what was seen stays to the bit."""

import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.body.texture import grain
from stereotalker_core.body.texture.grain import textured
from stereotalker_core.body.texture.texels import Lifter

SIZE = 512
CLOTH, SKIN, HAIR = (torch.tensor(c) for c in ((-0.2, 0.1, 0.4), (0.45, 0.10, -0.05), (-0.6, -0.7, -0.75)))


@pytest.fixture(scope="module")
def body():
    return HalfBody()


@pytest.fixture(scope="module")
def lifter(body):
    return Lifter(body, SIZE)


@pytest.fixture()
def person(body, lifter):
    """Atlas, visibility, and (N,) bool where it was seen: the front, with a weave and strands; the rest is smooth."""
    random = torch.Generator().manual_seed(0)
    colour = SKIN.repeat(len(lifter.texel), 1)
    colour[lifter.dressed] = CLOTH
    colour[lifter.hair] = HAIR
    seen = lifter.behind < 0.5
    noise = 0.1 * torch.randn(len(colour), 1, generator=random)
    hair = torch.zeros_like(lifter.dressed).index_fill_(0, lifter.hair, True)
    colour = (colour + noise * (seen & (lifter.dressed | hair))[:, None]).clamp(-1, 1)
    flat = torch.zeros(SIZE**2, 4).index_copy(0, lifter.texel, torch.cat([colour, seen[:, None].float()], 1))
    both = flat.T.reshape(4, SIZE, SIZE)
    return both[:3], both[3:], seen


def rough(atlas, lifter, where):
    """The mean square of what a blur takes away, at texels (N,) bool."""
    fine = grain._fine(atlas, grain._area(lifter, lifter.dressed), 2)
    return float(fine.square().sum(0).flatten()[lifter.texel[where]].mean())


@pytest.mark.parametrize("photographed", [False, True])
def test_the_back_becomes_as_rough_as_the_front(body, lifter, person, photographed):
    atlas, visibility, seen = person
    front, back = lifter.dressed & seen, lifter.dressed & ~seen
    before, wanted = rough(atlas, lifter, back), rough(atlas, lifter, front)
    after = rough(textured(body, lifter, atlas, visibility, 1 - visibility, photographed), lifter, back)
    assert before < 0.2 * wanted
    assert 0.5 * wanted < after < 1.3 * wanted


def test_what_was_seen_and_what_may_not_change_stays_to_the_bit(body, lifter, person):
    atlas, visibility, _ = person
    share = (1 - visibility).clone()
    share[:, : SIZE // 4] = 0
    after = textured(body, lifter, atlas, visibility, share, False)
    kept = (share == 0).expand_as(atlas)
    assert torch.equal(after[kept], atlas[kept])
    assert not torch.equal(after, atlas)


def test_bare_arms_and_hands_get_no_grain_of_cloth(body, lifter, person):
    atlas, visibility, _ = person
    after = textured(body, lifter, atlas, visibility, 1 - visibility, False)
    change = (after - atlas).abs().amax(0).flatten()[lifter.texel]
    assert float(change[lifter.hands].max()) == 0
    middle = lifter.limbs & ~lifter.hands & (lifter.along > 0.2) & (lifter.along < 0.4)
    assert float(change[middle].max()) < 0.02


def test_somebody_of_whom_no_clothes_were_seen_is_left_smooth(body, lifter, person):
    atlas, visibility, _ = person
    nothing = torch.zeros_like(visibility)
    after = textured(body, lifter, atlas, nothing, torch.ones_like(nothing), False)
    tiles = (after - atlas).abs().amax(0).flatten()[lifter.texel]
    plain = lifter.dressed & (rough_at(atlas, lifter) < 1e-8)
    assert float(tiles[plain].max()) < 1e-4


def rough_at(atlas, lifter):
    fine = grain._fine(atlas, grain._area(lifter, lifter.dressed | lifter.limbs & ~lifter.hands), 1)
    return fine.square().sum(0).flatten()[lifter.texel]
