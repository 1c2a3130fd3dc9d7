"""The tool that spans the chest anew: what it moves, and where to."""

import sys
from pathlib import Path

import torch

from stereotalker_core.body.model import HalfBody

sys.path.insert(0, str(Path(__file__).parents[2] / "tools" / "body"))
from smooth_chest import smoothed, spanned  # noqa: E402


def test_what_is_linear_in_the_texture_stays_as_it_is():
    body = HalfBody()
    inside, weights = spanned(body)
    assert len(inside) > 80 and torch.equal(inside, body.mirror[inside].sort().values)
    assert torch.allclose(weights.sum(1), torch.ones(len(inside), dtype=torch.double), atol=1e-9)
    assert float(weights[:, inside].abs().max()) == 0
    height = torch.full((body.n_vertices,), float("nan")).index_copy(0, body.render_vertex, body.atlas_uv[:, 1])
    assert float((smoothed(height, inside, weights) - height)[inside].abs().max()) < 2e-3


def test_a_bump_goes_and_its_surroundings_stay():
    body = HalfBody()
    inside, weights = spanned(body)
    bump = body.mean.clone()
    bump[inside] += torch.tensor([0.0, -0.02, 0.0])
    new = smoothed(bump, inside, weights)
    assert float((new - body.mean)[inside].norm(dim=1).max()) < 0.002
    rest = torch.ones(body.n_vertices, dtype=torch.bool).index_fill(0, inside, False)
    assert torch.equal(new[rest], bump[rest])
