"""The clip format: what is written is read; bad folders are refused before a training starts, with a clear reason."""

import json

import numpy as np
import pytest
import torch

from stereotalker_core.records import Cameras, Motion
from stereotalker_core.training.clips.check import NEEDS, check_clips
from stereotalker_core.training.clips.clip import Clip, ClipInfo, ClipSet, clip_folder, read_clip, write_clip
from tests.training.clips.samples import SIZE, make_audio, make_clip, make_root

ALL = ("frames", "motion", "cameras", "regions", "keypoints", "audio", "words", "identity")


def test_everything_written_is_read(tmp_path):
    clip = make_clip()
    again = read_clip(write_clip(clip, tmp_path))
    assert again.info.size == SIZE and again.words == clip.words and again.phones == clip.phones
    assert (again.frames - clip.frames).abs().max() <= 1 / 127.5
    assert (again.regions.masks - clip.regions.masks).abs().max() <= 3 / 255
    torch.testing.assert_close(again.regions.masks.sum(1), torch.ones(10, *SIZE), atol=1e-5, rtol=0)
    assert torch.equal(again.motion.rotations, clip.motion.rotations) and again.motion.fps == 25
    assert torch.equal(again.cameras.world_to_camera, clip.cameras.world_to_camera)
    assert again.keypoints.names == ("face.0", "face.1") and torch.equal(again.keypoints.xy, clip.keypoints.xy)
    assert (again.audio.waveform - clip.audio.waveform).abs().max() < 1e-4


def test_only_the_asked_parts_are_read(tmp_path):
    folder = write_clip(make_clip(), tmp_path)
    clip = read_clip(folder, ["motion"])
    assert clip.motion is not None and clip.frames is None and clip.audio is None and clip.words is None


def test_video_files_work_too(tmp_path):
    clip = make_clip(length=6)
    smooth = torch.nn.functional.interpolate(torch.rand(6, 3, 4, 6), SIZE, mode="bilinear") * 2 - 1
    write_clip(Clip(clip.info, frames=smooth), tmp_path, video=True)
    again = read_clip(clip_folder(tmp_path, "one"))
    assert again.frames.shape == smooth.shape and (again.frames - smooth).abs().mean() < 0.08
    assert len(check_clips(tmp_path, ["frames"])) == 1


def test_a_failed_write_leaves_nothing(tmp_path):
    class Broken:
        def __len__(self):
            return 10

        def save(self, path):
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_clip(make_clip(motion=Broken()), tmp_path)
    assert list((tmp_path / "clips").iterdir()) == []


def test_a_whole_root_passes(tmp_path):
    infos = check_clips(make_root(tmp_path), ALL)
    assert [i.name for i in infos] == ["clip0", "clip1"]
    assert set(NEEDS) == {"renderer", "experts", "mask", "motion", "prior"}
    assert len(ClipSet(tmp_path)) == 2


def spoil_text(**changes):
    def spoil(folder):
        path = folder / "clip.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def spoil_motion(folder):
    rotations = torch.zeros(10, 49, 3)
    rotations[4, 3, 1] = float("nan")
    Motion(rotations, torch.zeros(10, 52)).save(folder / "motion.safetensors")


def spoil_cameras(folder):
    Cameras(torch.eye(4).repeat(9, 1, 1), torch.eye(3), torch.zeros(9), SIZE).save(folder / "cameras.safetensors")


def spoil_keypoints(folder):
    np.savez(folder / "keypoints.npz", names=["face.0"], xy=np.full((10, 1, 2), np.nan), confidence=np.ones((10, 1)))


def spoil_audio(folder):
    from stereotalker_core.training.clips.clip import write_wav

    write_wav(make_audio(1.0).waveform, folder / "audio.wav")


FAULTS = {
    "missing annotation": (lambda f: (f / "motion.safetensors").unlink(), "motion is missing"),
    "missing words": (lambda f: (f / "speech.json").unlink(), "words are missing"),
    "missing audio": (lambda f: (f / "audio.wav").unlink(), "audio is missing"),
    "wrong fps": (spoil_text(fps=30.0), r"30 fps, 25 are needed.*resample"),
    "motion of another fps": (lambda f: Motion(torch.zeros(10, 49, 3), torch.zeros(10, 52), 30.0).save(
        f / "motion.safetensors"), "motion runs at 30 fps"),
    "count mismatch": (spoil_text(frames=12), "10 PNG files, clip.json says 12"),
    "lost frame": (lambda f: (f / "frames" / "000003.png").unlink(), "9 PNG files, clip.json says 10"),
    "count of cameras": (spoil_cameras, "9 frames, clip.json says 10"),
    "another size": (spoil_text(size=[64, 64]), "make them equal"),
    "NaN motion": (spoil_motion, r"NaN or infinite values in rotations \(first in frame 4\)"),
    "NaN keypoints": (spoil_keypoints, "confidence 0, not with NaN"),
    "long audio": (spoil_audio, "lasts 1.000 s, its 10 frames 0.400 s"),
    "broken picture": (lambda f: (f / "frames" / "000000.png").write_bytes(b"no"), "frames cannot be read"),
    "broken record": (lambda f: (f / "cameras.safetensors").write_bytes(b"no"), "cameras cannot be read"),
    "no identity": (spoil_text(identity="bob"), "identity 'bob' is missing"),
    "unknown setting": (spoil_text(colour="red"), "no setting colour"),
    "unknown emotion": (spoil_text(emotion="hungry"), "emotion 'hungry'"),
    "no JSON": (lambda f: (f / "clip.json").write_text("{"), "is not JSON"),
}  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return make_root(tmp_path_factory.mktemp("sound"))


@pytest.mark.parametrize("fault", FAULTS)
def test_bad_folders_are_refused(sound, tmp_path, fault):
    import shutil

    root = shutil.copytree(sound, tmp_path / "root")
    spoil, message = FAULTS[fault]
    spoil(clip_folder(root, "clip1"))
    with pytest.raises(ValueError, match=message) as error:
        check_clips(root, ALL)
    assert "clip1" in str(error.value) and "clip0" not in str(error.value)


def test_no_clips_and_unknown_parts(tmp_path):
    with pytest.raises(ValueError, match="holds no clips"):
        check_clips(tmp_path, ["motion"])
    make_root(tmp_path, 1)
    with pytest.raises(ValueError, match="no part 'smell'"):
        check_clips(tmp_path, ["smell"])


def test_many_faults_are_listed_shortly(tmp_path):
    make_root(tmp_path, 20)
    for folder in ClipSet(tmp_path).folders:
        (folder / "audio.wav").unlink()
    with pytest.raises(ValueError, match="and 8 more"):
        check_clips(tmp_path, ["audio"])


def test_impossible_clips():
    with pytest.raises(ValueError, match="its motion 9"):
        Clip(ClipInfo("a", 10), motion=Motion(torch.zeros(9, 49, 3), torch.zeros(9, 52)))
    for values, message in (
        ({"name": "../x", "frames": 1}, "can be a folder"),
        ({"name": "x", "frames": 0}, "frames >= 1"),
    ):
        with pytest.raises(ValueError, match=message):
            ClipInfo(**values)
