"""The filter over time against its plain twin, pixel by pixel and frame by frame."""

import pytest
import torch

from stereotalker_core.video.rendering import steady as module
from stereotalker_core.video.rendering.steady import MOVES, PASSES, SHARE, STILL, steadied, steady


def clip(frames: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Values (T, 4, 6, 5) whose alpha changes in the upper half only, and a lift that stands still in the left columns,
    creeps in the middle, moves right."""
    g = torch.Generator().manual_seed(seed)
    pace = torch.tensor([0.0, 0.3, 1.5, 2.5, 20.0]) * 2 / 127.5
    lift = (torch.rand(frames, 3, 6, 5, generator=g) - 0.5) * pace * 2
    values = torch.randn(frames, 4, 6, 5, generator=g)
    values[:, 3] = torch.rand(frames, 6, 5, generator=g) * torch.tensor([1, 0.03, 0.005, 0.004, 0, 0])[:, None]
    return values, lift


def plain(values: torch.Tensor, lift: torch.Tensor) -> torch.Tensor:
    """Frame by frame, as the text says it."""
    first = values[:, 3].clone()  # the alpha as it came
    for _ in range(PASSES):
        found = torch.empty_like(values)
        for t in range(len(values)):
            found[t] = values[t]
            for other in (t - 1, t + 1):
                if 0 <= other < len(values):
                    change = (lift[other] - lift[t]).abs().max(0).values
                    change = torch.maximum(change, 2 * (first[other] - first[t]).abs())
                    for channel in range(4):
                        scale = 1 if channel < 3 else 0.5
                        share = SHARE * torch.clamp((scale * MOVES - change) / (scale * (MOVES - STILL)), 0, 1)
                        found[t, channel] += share * (values[other, channel] - values[t, channel])
        values = found
    return values


def test_equals_its_plain_twin_and_acts_only_where_lift_and_alpha_stand_still():
    values, lift = clip(9)
    found = steady(values, lift)
    torch.testing.assert_close(found, plain(values, lift))
    change = torch.maximum(lift.diff(dim=0).abs().amax(1), 2 * values[:, 3].diff(dim=0).abs())
    moving = (change[:-1] >= MOVES) & (change[1:] >= MOVES)  # towards both neighbours
    assert moving.any()
    assert torch.equal(found[1:-1].permute(0, 2, 3, 1)[moving], values[1:-1].permute(0, 2, 3, 1)[moving])
    still = found[:, :3, 4:, 0]  # lift and alpha never change
    assert still.diff(n=2, dim=0).abs().mean() < 0.25 * values[:, :3, 4:, 0].diff(n=2, dim=0).abs().mean()
    torch.testing.assert_close(found.mean(0), values.mean(0))


def test_hair_that_moves_before_a_lift_of_nothing_leaves_no_ghosts():
    values = torch.zeros(8, 4, 1, 16)
    for t in range(8):
        values[t, 3, 0, : 4 + t] = 1  # the edge of the hair, beyond the fitted body
    lift = torch.zeros(8, 3, 1, 16)
    assert torch.equal(steady(values, lift)[:, 3], values[:, 3])
    dim = values.clone()
    dim[:, 3] += torch.rand(8, 1, 16, generator=torch.Generator().manual_seed(0)) * 0.05
    assert float((steady(dim, lift)[:, 3] - dim[:, 3]).abs().max()) < 0.015  # of masks no more than four grey levels


@pytest.mark.parametrize("sizes", [(9,), (1,), (1, 1, 1, 1, 1, 1, 1, 1, 1), (3, 1, 4, 1), (2, 7), (1, 2)])
def test_a_stream_equals_the_whole_clip(sizes):
    values, lift = clip(sum(sizes))
    parts = list(steadied(zip(values.split(sizes), lift.split(sizes), strict=True)))
    assert all(len(part) for part in parts)
    torch.testing.assert_close(torch.cat(parts), steady(values, lift))


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("sizes", [(30,), (3, 12, 8, 1, 8), (5, 5, 5, 5)])
def test_long_streams_are_the_same_by_the_compiled_loop_and_by_rows(monkeypatch, sizes, compiled):
    if compiled:
        pytest.importorskip("numba")
    else:
        monkeypatch.setattr(module, "loops", lambda device: None)
        monkeypatch.setattr(module, "_CACHED", module._NUMBERS * 5 * 2)  # two rows at once
    values, lift = clip(sum(sizes))
    parts = steadied(zip(values.split(sizes), lift.split(sizes), strict=True))
    torch.testing.assert_close(torch.cat(list(parts)), plain(values, lift), rtol=1e-4, atol=1e-5)


def test_a_part_of_the_frames_equals_those_of_all():
    values, lift = clip(13)
    torch.testing.assert_close(steady(values, lift, (5, 7)), steady(values, lift)[5:7])


def test_looks_no_further_ahead_than_it_says():
    values, lift = clip(12)
    given = 0
    taken = []

    def source():
        for i in range(12):
            taken.append(i)
            yield values[i : i + 1], lift[i : i + 1]

    for part in steadied(source()):
        given += len(part)
        assert len(taken) - given <= PASSES
    assert given == 12


def test_without_frames_there_is_nothing():
    assert list(steadied([])) == []
