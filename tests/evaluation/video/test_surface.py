"""The worth of a surface: an order that must hold, and the table's arithmetic."""

import pytest

from stereotalker_core.body.model import HalfBody
from stereotalker_core.body.texture.texels import Lifter
from stereotalker_core.evaluation.video import surface
from stereotalker_core.synthetic.people.template import Template


def test_estimated_surfaces_lie_between_the_bare_body_and_the_truth():
    body = HalfBody()
    found = surface.surface_psnr(body, 1_500_024, Template(body), Lifter(body))
    assert tuple(found) == surface.ROWS
    true, known, bare, everything, naked = found.values()
    assert true > known > bare and true > everything > naked


def test_the_table_says_what_is_recovered():
    row = dict(zip(surface.ROWS, (30.0, 25.0, 21.0, 24.0, 20.5), strict=True))
    lines = surface.table([row, {name: value + 1 for name, value in row.items()}]).splitlines()
    assert len(lines) == 2 + len(surface.ROWS) + 3
    for line, value in zip(lines[-3:], (9.0, 4.0, 3.5), strict=True):
        assert float(line.split("|")[2].split()[0]) == pytest.approx(value)
