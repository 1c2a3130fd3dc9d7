"""The background behind a person: textures go on, gradients stay gradients, nothing of the person comes back."""

import pytest
import torch

from stereotalker_core.pixels.inpaint import extend, paint_out
from stereotalker_core.pixels.inpaint_places import _beliefs, push_pull


def _grid(rows, columns):
    return torch.meshgrid(torch.arange(rows).float(), torch.arange(columns).float(), indexing="ij")


def _checker(rows=160, columns=192, cell=8):
    y, x = _grid(rows, columns)
    board = ((y // cell + x // cell) % 2) * 2 - 1
    return torch.stack([board * 0.7, board * 0.5, board * 0.3])


def _stripes(rows=160, columns=192):
    y, _ = _grid(rows, columns)
    return torch.stack([torch.sin(y / 3) * 0.6, torch.cos(y / 3) * 0.5, torch.sin(y / 3 + 1) * 0.4])


def _gradient(rows=160, columns=192):
    y, x = _grid(rows, columns)
    return torch.stack([0.8 - y / rows, x / columns - 0.5, (x + y) / (rows + columns) - 0.2])


def _person(rows=160, columns=192):
    """A head over shoulders that leave at the bottom, (1, H, W)."""
    y, x = _grid(rows, columns)
    head = ((x - columns * 0.5) / 26) ** 2 + ((y - rows * 0.4) / 34) ** 2 < 1
    return (head | ((x - columns * 0.5).abs() < 44) & (y > rows * 0.65)).float()[None]


def _detail(x, where):
    steps = (x[:, :-1, 1:] - x[:, :-1, :-1]).abs() + (x[:, 1:, :-1] - x[:, :-1, :-1]).abs()
    return float(steps.mean(0)[where[0, :-1, :-1] > 0.5].mean())


def _blur(image, hole):
    wide = torch.nn.functional.max_pool2d(hole[None], 5, 1, 2)
    return push_pull(image[None], 1 - wide)[0]


RED = torch.tensor([0.9, -0.9, -0.9])[:, None, None]


@pytest.mark.parametrize("truth", [_checker(), _stripes()], ids=["checker", "stripes"])
def test_a_texture_goes_on_behind_the_person(truth):
    hole = _person()
    photo = torch.where(hole > 0.5, RED, truth)
    filled, blurred = paint_out(photo, hole), _blur(photo, hole)
    inside = hole[0] > 0.5
    error, blur_error = (float((x - truth)[:, inside].abs().mean()) for x in (filled, blurred))
    assert error < 0.5 * blur_error
    assert 0.7 < _detail(filled, hole) / _detail(truth, hole) < 1.3
    assert _detail(blurred, hole) / _detail(truth, hole) < 0.5


def test_a_gradient_stays_a_gradient_with_its_grain():
    random = torch.Generator().manual_seed(3)
    grain = 0.02 * torch.randn(3, 160, 192, generator=random)
    truth, hole = _gradient(), _person()
    filled = paint_out(torch.where(hole > 0.5, RED, truth + grain), hole)
    smooth = torch.nn.functional.avg_pool2d((filled - truth)[None], 9, 1, 4, count_include_pad=False)[0]
    assert float(smooth[:, hole[0] > 0.5].abs().max()) < 0.05
    assert 0.6 < float((filled - truth)[:, hole[0] > 0.5].std()) / 0.02 < 1.4


def test_a_plain_gradient_is_exact():
    truth, hole = _gradient(), _person()
    filled = paint_out(torch.where(hole > 0.5, RED, truth), hole)
    assert float((filled - truth).abs().max()) < 0.03


@pytest.mark.parametrize("truth", [_checker(), _gradient()], ids=["checker", "gradient"])
def test_the_persons_colours_never_come_back(truth):
    hole = _person()
    fringe = torch.nn.functional.max_pool2d(hole[None], 3, 1, 1)[0]  # shadow and hair beside what the mask covers
    filled = paint_out(torch.where(fringe > 0.5, RED, truth), hole)
    redness = filled[0] - filled[1:].amax(0)
    assert float(redness.max()) < float((truth[0] - truth[1:].amax(0)).max()) + 0.15


def test_what_is_outside_the_hole_stays_and_the_same_call_gives_the_same():
    truth, hole = _checker(), _person()
    photo = torch.where(hole > 0.5, RED, truth)
    once = paint_out(photo, hole, seed=5)
    assert torch.equal(once, paint_out(photo, hole, seed=5))
    far = torch.nn.functional.max_pool2d(hole[None], 11, 1, 5)[0, 0] == 0
    assert torch.equal(once[:, far], photo[:, far])
    assert torch.equal(paint_out(photo, torch.zeros_like(hole)), photo)


def test_hardly_anything_known():
    image = _gradient(64, 80)
    nothing = paint_out(image, torch.ones(1, 64, 80))
    assert torch.allclose(nothing, image.mean((1, 2), keepdim=True).expand_as(image))
    hole = torch.ones(1, 64, 80)
    hole[:, :, :4] = 0
    assert torch.isfinite(paint_out(image, hole)).all()


def test_a_picture_goes_on_beyond_its_edges():
    whole = _checker(176, 240)
    photo = whole[:, 24:-24, 32:-40]
    wider = extend(photo, (32, 24, 40, 24))
    assert wider.shape == whole.shape
    assert torch.equal(wider[:, 24:-24, 32:-40], photo)
    replicated = torch.nn.functional.pad(photo[None], (32, 40, 24, 24), mode="replicate")[0]
    added = torch.ones(1, 176, 240)
    added[:, 24:-24, 32:-40] = 0
    ratio, streaks = (_detail(x, added) / _detail(whole, added) for x in (wider, replicated))
    assert 0.7 < ratio < 1.3 and streaks < 0.6
    assert torch.equal(extend(photo, (0, 0, 0, 0)), photo)


def test_a_gradient_goes_on_without_a_jump():
    photo = _gradient()
    wider = extend(photo, (20, 10, 20, 10))
    across = (wider[:, :, 1:] - wider[:, :, :-1]).abs().amax()
    down = (wider[:, 1:] - wider[:, :-1]).abs().amax()
    assert float(across) < 0.03 and float(down) < 0.03


@pytest.mark.parametrize("size", [(100, 70), (33, 257), (17, 19)])
def test_odd_sizes(size):
    y, x = _grid(*size)
    image = torch.stack([torch.sin(x), torch.cos(y), torch.sin(x + y)]) * 0.5
    hole = torch.zeros(1, *size)
    hole[:, size[0] // 3 : size[0] // 2, size[1] // 3 : size[1] // 2] = 1
    filled = paint_out(image, hole)
    assert filled.shape == image.shape and torch.isfinite(filled).all() and float(filled.abs().max()) <= 1


def test_bad_shapes_are_named():
    image = torch.zeros(3, 32, 32)
    with pytest.raises(ValueError, match="expected"):
        paint_out(image, torch.zeros(1, 32, 31))
    with pytest.raises(ValueError, match="expected"):
        paint_out(image[None], torch.zeros(1, 32, 32))
    with pytest.raises(ValueError, match="margins"):
        extend(image, (1, 2, -3, 4))


def _room(rows=160, columns=192):
    """A light wall with a dark column behind the person's middle, over a dark panel, (3, H, W)."""
    y, x = _grid(rows, columns)
    wall = torch.where((x - columns * 0.5).abs() < 56, -0.6, 0.7)
    wall = torch.where(y > rows * 0.75, torch.full_like(wall, -0.2), wall)
    grain = 0.03 * torch.randn(3, rows, columns, generator=torch.Generator().manual_seed(0))
    return (wall * torch.tensor([1.0, 0.95, 0.9])[:, None, None] + grain).clamp(-1, 1)


def test_a_column_behind_the_person_goes_on_behind_shoulders():
    """The column is seen beside the head only: what is copied over the shoulders lies aslant of them."""
    room, person = _room(), _person()
    painted = torch.where(person > 0.5, torch.tensor([0.1, 0.5, -0.4])[:, None, None], room)
    wrong = (paint_out(painted, person) - room).abs().mean(0)[person[0] > 0.5] > 0.4
    assert float(wrong.float().mean()) < 0.1


@pytest.mark.parametrize("seed", range(4))
def test_beliefs_come_near_the_minimum(seed):
    """On a grid of 3 x 3 the labelling costs hardly more than the best of all, tried one by one."""
    rng = torch.Generator().manual_seed(seed)
    side, labels = 3, 3
    number = torch.arange(side * side).view(side, side)
    unary = torch.rand(side * side, labels, generator=rng)
    apart = torch.cdist(*[torch.rand(side * side, labels, 2, generator=rng)] * 2)
    links = torch.cat([torch.stack([number[:, :-1], number[:, 1:]], -1).flatten(0, 1),
                       torch.stack([number[:-1], number[1:]], -1).flatten(0, 1)]).tolist()  # fmt: skip

    def cost(label):
        own = sum(unary[k, label[:, k]] for k in range(side * side))
        return own + sum(apart[k, label[:, i], label[:, j]] for i, j in links for k in (i, j))

    every = torch.cartesian_prod(*[torch.arange(labels)] * (side * side))
    found = _beliefs(unary, apart, number).argmin(1)
    assert float(cost(found[None])) <= 1.03 * float(cost(every).min())
    assert float(cost(unary.argmin(1)[None])) > float(cost(found[None]))


@pytest.mark.parametrize("side", ["left", "top"])
def test_a_strip_too_thin_for_patches_is_continued(side):
    """What is known is one coarse pixel wide: no patch is wholly known until the finer levels."""
    _, x = _grid(96, 256)
    picture = torch.stack([x / 128 - 1, 0.3 * torch.sin(x / 2), -x / 256])
    hole = torch.ones(1, 96, 256)
    hole[:, :, :14] = 0
    picture, hole = (v.mT.contiguous() if side == "top" else v for v in (picture, hole))
    filled = paint_out(picture, hole)
    assert bool(torch.isfinite(filled).all()) and float(filled.abs().max()) <= 1
