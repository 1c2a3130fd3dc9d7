import math
from fractions import Fraction

import pytest
import torch

from stereotalker_core.shapes import SAMPLE_RATE, dims, frame_count, frames_together, joined


def test_dims_binds_names_and_passes_on_what_is_known():
    known = dims(torch.zeros(2, 5, 3), "B T 3")
    assert known == {"B": 2, "T": 5}
    assert dims(torch.zeros(5, 7), "T D", **known) == {"B": 2, "T": 5, "D": 7}


@pytest.mark.parametrize("shape, spec, known", [
    ((2, 5, 4), "B T 3", {}),
    ((2, 5), "B T 3", {}),
    ((2, 5, 3, 1), "B T 3", {}),
    ((2, 5), "B T", {"T": 6}),
    ((2, 5), "N N", {}),
])  # fmt: skip
def test_dims_refuses_what_disagrees_and_shows_both_shapes(shape: tuple[int, ...], spec: str, known: dict):
    with pytest.raises(ValueError, match="expected .* got") as error:
        dims(torch.zeros(shape), spec, **known)
    assert str(shape) in str(error.value)


@pytest.mark.parametrize("fps", [24.0, 25.0, 30.0, 50.0])
def test_frame_count_equals_the_exact_ceiling_for_every_number_of_samples(fps: float):
    rate = Fraction(int(fps))
    for samples in [*range(1, 2000, 7), *range(159_990, 160_011), *range(57_599_999, 57_600_002)]:
        exact = math.ceil(Fraction(samples, SAMPLE_RATE) * rate)
        assert frame_count(samples / SAMPLE_RATE, fps) == exact, samples


@pytest.mark.parametrize("frames", [1, 7, 29, 57, 201, 4999, 90_000])
def test_frame_count_undoes_the_duration_of_whole_frames(frames: int):
    assert frame_count(frames * 0.04) == frames  # 29 * 0.04 * 25 is above 29 in floats
    assert frame_count(frames / 25) == frames
    assert frame_count(sum([0.04] * min(frames, 300))) == min(frames, 300)


def test_joined_is_cat_for_parts_below_and_above_one_piece():
    rows = 2**20  # values of a row: pieces hold eight of them
    parts = [torch.rand(count, rows) for count in (3, 9, 1)]
    assert torch.equal(joined(parts), torch.cat(parts))
    assert joined(parts[:1]) is parts[0]
    kept = [torch.arange(4), torch.arange(0), torch.arange(2)]
    assert torch.equal(joined(kept), torch.cat(kept)) and joined(kept).dtype == torch.int64


@pytest.mark.parametrize("size, frames", [((128, 128), 128), ((512, 512), 8), ((1024, 1024), 2), ((4096, 4096), 1)])
def test_fewer_large_frames_together(size: tuple[int, int], frames: int):
    assert frames_together(*size) == frames


def test_no_sound_has_no_frame_and_a_trace_of_sound_has_one():
    assert frame_count(0.0) == 0 and frame_count(1 / SAMPLE_RATE) == 1
