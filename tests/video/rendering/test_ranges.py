"""Frame ranges: a part equals the same frames of the whole clip, whatever it begins and ends with."""

import pytest
import torch

from stereotalker_core.pipeline import Look, Scene, View, prepare, render
from stereotalker_core.precision import cpu_has_bf16
from stereotalker_core.records import Motion
from stereotalker_core.video.rendering.ranges import needed, parse_frames, shares
from stereotalker_core.video.rendering.windows import frame_windows


@pytest.fixture(scope="module")
def scene(tiny_models, inputs) -> Scene:
    """50 frames of a moving person."""
    from stereotalker_core.image import load_mask, load_portrait
    from stereotalker_core.perception.keypoints import load_keypoints

    portrait = load_portrait(inputs.portrait).image
    generator = torch.Generator().manual_seed(0)
    rotations = 0.1 * torch.randn(50, 49, 3, generator=generator).cumsum(0) / 5
    motion = Motion(rotations, torch.rand(50, 52, generator=generator) * 0.3)
    return prepare(
        tiny_models, portrait, None, View(-20, 20, size=128), motion=motion, keypoints=load_keypoints(inputs.keypoints),
        mask=load_mask(inputs.mask, portrait.shape[-2:]),
    )  # fmt: skip


def drawn(models, scene, frames=None, **look) -> torch.Tensor:
    return torch.cat([torch.cat([c.frames, c.masks], 1) for c in render(models, scene, Look(**look), frames=frames)])


@pytest.fixture(scope="module", params=["play", "diffusion"])
def mode(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def whole(tiny_models, scene, mode) -> torch.Tensor:
    return drawn(tiny_models, scene, mode=mode)


# bfloat16 rounds to 1/256: other batches of the same window may differ by that
@pytest.mark.parametrize("part", [(0, 50), (0, 13), (13, 20), (19, 33), (20, 21), (27, 50), (49, 50)])
def test_a_part_equals_the_whole(tiny_models, scene, whole, part, mode):
    alone, wanted = drawn(tiny_models, scene, part, mode=mode), whole[slice(*part)]
    assert alone.shape == wanted.shape
    error = (alone - wanted).square().mean().clamp_min(1e-20)
    assert 10 * torch.log10(4 / error) >= (65 if cpu_has_bf16() else 100)


def test_the_face_pass_of_a_part_stands_where_the_whole_clips_stands(tiny_models, scene):
    whole, part = drawn(tiny_models, scene, face_scale=2), drawn(tiny_models, scene, (18, 24), face_scale=2)
    assert float((whole[18:24] - part).abs().max()) < 0.02


def test_progress_and_bad_ranges(tiny_models, scene):
    seen = []
    list(render(tiny_models, scene, None, lambda *row: seen.append(row), frames=(20, 30)))
    assert seen[-1] == ("render", 10, 10)
    for bad in ((5, 5), (-1, 3), (0, 51)):
        with pytest.raises(ValueError, match="do not lie in the clip"):
            list(render(tiny_models, scene, None, frames=bad))


def test_few_windows_are_drawn_for_a_part():
    plan = frame_windows(1000, 16, 2)
    assert needed(plan, 2, (0, 1000)) == plan
    assert len(needed(plan, 2, (500, 510))) <= 3
    for first in range(0, 990, 7):
        part = needed(plan, 2, (first, first + 5))
        assert part[0][0] == 0 or part[0][0] + 5 <= first < part[0][0] + 5 + 14
        assert part[-1][1] >= min(1000, first + 5 + 3)


def test_words():
    assert parse_frames("0:250") == (0, 250) and parse_frames("250:") == (250, -1)
    assert parse_frames("10:-5", 100) == (10, 95) and parse_frames(":", 7) == (0, 7)
    assert parse_frames("3:99", 9) == (3, 9)
    for bad in ("5", "a:b", "5:3", "5:5", "1:2:3", ""):
        with pytest.raises(ValueError, match="--frames"):
            parse_frames(bad)
    for bad in ("50:", "-3:0"):
        with pytest.raises(ValueError, match="none of the clip"):
            parse_frames(bad, 50)


@pytest.mark.parametrize("count, parts, grid", [(1500, 4, 125), (1500, 7, 125), (3, 8, 1), (1, 1, 125), (1001, 3, 125)])
def test_shares_cover_everything_once(count, parts, grid):
    found = shares(count, parts, grid)
    assert found[0][0] == 0 and found[-1][1] == count and len(found) <= parts
    assert all(a[1] == b[0] for a, b in zip(found, found[1:], strict=False))
    assert all(low < high and low % grid == 0 for low, high in found)
    assert max(high - low for low, high in found) - min(high - low for low, high in found[:-1] or found) <= grid
