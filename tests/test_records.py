from dataclasses import fields, replace
from pathlib import Path

import pytest
import torch

from stereotalker_core.records import Audio, Cameras, Guides, Identity, Motion, Record, Regions, SpeechFeatures

G = torch.Generator().manual_seed(0)


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=G)


def motion(frames: int = 6, fps: float = 25.0) -> Motion:
    return Motion(noise(frames, 49, 3), noise(frames, 52), fps)


def identity() -> Identity:
    person = [noise(8), noise(20), noise(49, 3), noise(52), noise(4, 4), noise(3, 3)]
    pictures = [noise(3, 16, 12), noise(1, 16, 12), noise(3, 16, 12), noise(3, 8, 8), noise(1, 8, 8)]
    return Identity(*person, *pictures, quality=0.75, warnings=("a hat: one", "two"))


def guides(frames: int = 4) -> Guides:
    return Guides(*(noise(frames, c, 8, 8) for c in (3, 1, 1, 3, 1)), torch.arange(float(frames)))


RECORDS = [
    Audio(noise(1600), noise(2, 4410), 44_100),
    motion(fps=30.0),
    identity(),
    replace(
        identity(),
        light=noise(4),
        atlas_layout=2,
        rest_expression=noise(52),
        expression_gain=noise(52),
        rest_rotations=noise(49, 3),
    ),
    Cameras(noise(3, 4, 4), noise(3, 3), noise(3), (64, 48)),
    guides(),
    Regions(noise(2, 4, 8, 8).softmax(1)),
    SpeechFeatures(noise(5, 7), noise(5, 3), 0.2, "hello there"),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: type(r).__name__)
def test_round_trip_through_a_file(record: Record, tmp_path: Path):
    path = tmp_path / "record.safetensors"
    record.save(path)
    found = type(record).load(path)
    for name in (f.name for f in fields(record)):
        before, after = getattr(record, name), getattr(found, name)
        assert type(after) is type(before), name
        assert torch.equal(after, before) if isinstance(before, torch.Tensor) else after == before, name


def test_another_records_file_is_refused(tmp_path: Path):
    path = tmp_path / "motion.safetensors"
    motion().save(path)
    with pytest.raises(ValueError, match="motion.safetensors holds 'Motion', not 'Regions'"):
        Regions.load(path)


def test_a_device_move_takes_every_tensor_and_keeps_the_values():
    moved = identity().to("meta")
    assert moved.quality == 0.75
    tensors = [v for f in fields(moved) if isinstance(v := getattr(moved, f.name), torch.Tensor)]
    assert len(tensors) == 11 and all(t.device.type == "meta" for t in tensors)


def test_a_motion_of_wrong_shape_is_refused():
    with pytest.raises(ValueError, match="expected"):
        Motion(noise(4, 48, 3), noise(4, 52))
    with pytest.raises(ValueError, match="expected"):
        Motion(noise(4, 49, 3), noise(5, 52))


def test_slices_take_the_same_frames_of_everything():
    whole = motion()
    part = whole[2:5]
    assert len(whole) == 6 and len(part) == 3 and part.fps == whole.fps
    assert torch.equal(part.rotations, whole.rotations[2:5]) and torch.equal(part.expression, whole.expression[2:5])
    cameras = Cameras(noise(6, 4, 4), noise(3, 3), torch.arange(6.0), (64, 48))
    assert cameras[4:].yaw.tolist() == [4, 5] and cameras[4:].size == (64, 48) and len(cameras[4:]) == 2
    maps = guides()
    assert len(maps[1:]) == 3
    assert all(torch.equal(getattr(maps[1:], f.name), getattr(maps, f.name)[1:]) for f in fields(maps))


def test_a_motion_is_performed_from_the_rest_state():
    rest, gain, held = torch.zeros(52), torch.ones(52), noise(49, 3)
    rest[0], rest[1], gain[1] = 0.25, 0.5, 1.6
    person = replace(identity(), rest_expression=rest, expression_gain=gain, rest_rotations=held)
    acted = Motion(noise(3, 49, 3), torch.zeros(3, 52), 30.0)
    acted.expression[1:, 0], acted.expression[1, 1], acted.expression[2, 2] = 1.0, 0.5, 0.7
    found = person.performed(acted)
    assert torch.allclose(found.rotations, acted.rotations + held) and found.fps == 30.0
    assert torch.equal(found.expression[0], rest)  # silence
    assert found.expression[1, 0] == 1  # a whole coefficient stays whole, whatever the rest
    assert float(found.expression[1, 1]) == pytest.approx(0.5 + 0.5 * 1.6 * 0.5)
    assert float(found.expression[2, 2]) == pytest.approx(0.7)


def test_a_literal_person_performs_nothing():
    person = replace(identity(), rest_expression=noise(52), expression_gain=noise(52), rest_rotations=noise(49, 3))
    acted = motion()
    plain = person.literal()
    assert plain.performed(acted) is acted and person.performed(acted) is not acted
    assert plain.atlas is person.atlas and plain.rest_expression is None
    assert identity().performed(acted) is acted  # as do people fitted before there was a rest state


def test_records_cannot_be_changed():
    with pytest.raises(AttributeError):
        motion().fps = 30.0


def test_the_person_is_what_is_not_background():
    masks = noise(2, 4, 8, 8).softmax(1)
    torch.testing.assert_close(Regions(masks).person, masks[:, 1:].sum(1, keepdim=True))


@pytest.mark.parametrize("samples, frames", [(16_000, 25), (16_001, 26), (640, 1), (1, 1)])
def test_audio_knows_how_many_frames_cover_it(samples: int, frames: int):
    audio = Audio(torch.zeros(samples), torch.zeros(1, samples), 16_000)
    assert audio.frame_count() == frames and audio.seconds == pytest.approx(samples / 16_000)
