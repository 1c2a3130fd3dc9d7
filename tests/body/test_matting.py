"""The matte: its filter by its definition, hair and clothes by colour."""

import torch

from stereotalker_core.body.matting import _away, _grow, guided_filter, matte


def test_guided_filter_equals_its_definition():
    rng = torch.Generator().manual_seed(0)
    guide, values = torch.rand(1, 3, 12, 10, generator=rng), torch.rand(1, 1, 12, 10, generator=rng)
    radius, epsilon = 2, 1e-2
    grey = guide.mean(1)[0]

    def window(x: torch.Tensor, row: int, column: int) -> torch.Tensor:
        rows = torch.arange(row - radius, row + radius + 1).clamp(0, 11)
        columns = torch.arange(column - radius, column + radius + 1).clamp(0, 9)
        return x[rows][:, columns]

    slope, level = torch.zeros(12, 10), torch.zeros(12, 10)
    for i in range(12):
        for j in range(10):
            g, v = window(grey, i, j), window(values[0, 0], i, j)
            slope[i, j] = ((g * v).mean() - g.mean() * v.mean()) / (g.var(unbiased=False) + epsilon)
            level[i, j] = v.mean() - slope[i, j] * g.mean()
    wanted = torch.stack(
        [
            torch.stack([window(slope, i, j).mean() * grey[i, j] + window(level, i, j).mean() for j in range(10)])
            for i in range(12)
        ]
    )
    assert torch.allclose(guided_filter(guide, values, radius, epsilon)[0, 0], wanted, atol=1e-4)


def test_guided_filter_follows_the_picture():
    guide = torch.zeros(1, 3, 32, 32)
    guide[..., 16:] = 1
    rough = torch.zeros(1, 1, 32, 32)
    rough[..., 13:] = 1  # three pixels off the edge
    fine = guided_filter(guide, rough, 8, 1e-4)
    assert float(fine[..., 20].mean()) > 0.9
    assert float(fine[..., 14].mean()) < float(rough[..., 14].mean()) - 0.4


def test_matte_adds_hair_and_clothes_by_colour():
    """A grey person with brown hair before a blue wall; the body's silhouette knows neither hair nor clothes."""
    image = torch.tensor([-0.6, -0.4, 0.8])[:, None, None].repeat(1, 96, 96)
    truth = torch.zeros(1, 96, 96)
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    hair = ((x - 48) / 17) ** 2 + ((y - 26) / 17) ** 2 < 1
    face = ((x - 48) / 11) ** 2 + ((y - 31) / 13) ** 2 < 1
    trunk = (y > 45) & ((x - 48).abs() < 26)
    for area, colour in ((hair, (0.1, -0.3, -0.6)), (face, (0.6, 0.3, 0.1)), (trunk, (0.2, 0.2, 0.1))):
        image[:, area] = torch.tensor(colour)[:, None]
        truth[0, area] = 1
    image += 0.05 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    scalp = ((x - 48) / 13) ** 2 + ((y - 26) / 14) ** 2 < 1
    silhouette = (face | scalp | ((y > 47) & ((x - 48).abs() < 23)))[None].float()
    mask = matte(image, silhouette, (scalp & ~face)[None].float(), 26.0)

    def iou(m):
        a, b = m > 0.5, truth > 0.5
        return float((a & b).sum() / (a | b).sum())

    assert iou(mask) > 0.96 > iou(silhouette) + 0.04


def _scene(
    backdrop: tuple[float, float, float] | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Image, silhouette, scalp and truth of dark hair, a face and a green coat before a wall; behind the head alone,
    as far as hair may reach, something of another colour may stand."""
    y, x = torch.meshgrid(torch.arange(120.0), torch.arange(120.0), indexing="ij")
    image = torch.tensor([0.7, 0.2, 0.1])[:, None, None].repeat(1, 120, 120)
    hair = ((x - 60) / 18) ** 2 + ((y - 42) / 19) ** 2 < 1
    face = ((x - 60) / 14) ** 2 + ((y - 46) / 17) ** 2 < 1
    trunk = (y > 64) & ((x - 60).abs() < 34)
    scalp = ((x - 60) / 16) ** 2 + ((y - 42) / 17) ** 2 < 1
    if backdrop is not None:
        image[:, ((x - 60) / 29) ** 2 + ((y - 42) / 30) ** 2 < 1] = torch.tensor(backdrop)[:, None]
    for area, colour in ((hair, (-0.8, -0.85, -0.9)), (face, (0.5, 0.2, 0.0)), (trunk, (-0.2, 0.1, 0.3))):
        image[:, area] = torch.tensor(colour)[:, None]
    image = image + 0.04 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    silhouette = face | scalp | ((y > 66) & ((x - 60).abs() < 31))
    return image, silhouette[None].float(), (scalp & ~face)[None].float(), (hair | face | trunk)[None]


def test_a_backdrop_like_nothing_else_is_no_hair():
    """A grey shelf that shows beside the head alone is like neither side: there the network decides."""
    image, silhouette, scalp, truth = _scene((-0.1, 0.1, 0.6))
    outer = ~truth & (torch.arange(120)[:, None] < 60)
    opinion = truth.float() * 0.9 + 0.05
    informed = (matte(image, silhouette, scalp, 34.0, opinion) > 0.5) & outer
    shelf = ((image - torch.tensor([-0.1, 0.1, 0.6])[:, None, None]).abs().amax(0) < 0.3)[None] & outer
    assert float((informed & shelf).sum() / shelf.sum()) < 0.25


def test_clear_colours_overrule_the_network():
    """Before a plain wall hair is found even where a network trained on other hair misses it."""
    image, silhouette, scalp, truth = _scene(None)
    blind = silhouette * 0.9 + 0.02
    mask = matte(image, silhouette, scalp, 34.0, blind) > 0.5
    assert float((mask & truth).sum() / (mask | truth).sum()) > 0.95


def test_an_arm_that_is_not_there_takes_no_wall_with_it():
    """The fit put an arm before the wall; only told that it is an arm may the colours take it away again."""
    image, silhouette, scalp, truth = _scene(None)
    arm = torch.zeros_like(silhouette)
    arm[:, 74:, 8:24] = 1
    both = torch.maximum(silhouette, arm)
    stuck, freed = (matte(image, both, scalp, 34.0, limbs=limbs) > 0.5 for limbs in (None, arm))
    wall = (arm > 0) & ~truth
    assert float((stuck & wall).sum() / wall.sum()) > 0.6
    assert float((freed & wall).sum() / wall.sum()) < 0.05
    assert float((freed & truth).sum() / truth.sum()) > 0.97


def test_an_arm_that_is_there_stays():
    image, silhouette, scalp, truth = _scene(None)
    arm = torch.zeros_like(silhouette)
    arm[:, 74:, 30:44] = 1  # before the coat, of the coat's colour
    mask = matte(image, torch.maximum(silhouette, arm), scalp, 34.0, limbs=arm) > 0.5
    assert float((mask & (arm > 0)).sum() / arm.sum()) > 0.97


def test_away_counts_growths():
    mask = torch.zeros(1, 1, 15, 15)
    mask[..., 7, 7] = 1
    away = _away(mask, 4)
    wanted = torch.ones_like(mask)
    for i in range(5):
        fresh = (_grow(mask, i) if i else mask) > 0.5
        wanted = torch.where(fresh & (wanted == 1), torch.tensor(i / 5), wanted)
    assert torch.allclose(away, wanted) and float(away[..., 7, 7]) == 0 and float(away[..., 0, 0]) == 1
