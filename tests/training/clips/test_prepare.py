"""Clips -> what the trainers read: avatars exported, guides rendered, rows and tracks equal to the plain way."""

import numpy as np
import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.geometry.projection import project
from stereotalker_core.training.clips.check import NEEDS, check_clips
from stereotalker_core.training.clips.clip import ClipSet
from stereotalker_core.training.clips.rows import ClipRows, prepare_rows, scaled
from stereotalker_core.training.clips.synthetic_clips import AvatarClips, export_avatars
from stereotalker_core.training.clips.tracks import heard_closures, prepare_tracks
from stereotalker_core.training.motion.motion_data import MotionData
from stereotalker_core.video.guides.maps import render_guides
from tests.motion.samples import FakeEncoder, make_reader


@pytest.fixture(scope="module")
def rows(avatar_root, tmp_path_factory):
    out = prepare_rows(avatar_root, tmp_path_factory.mktemp("rows"), 64, drawing=True)
    return ClipRows(out, HalfBody().part_names)


def test_exported_avatars_are_sound_clips(avatar_root):
    infos = check_clips(avatar_root, (*NEEDS["renderer"], "keypoints"))
    assert [i.frames for i in infos] == [9, 9] and infos[0].identity != infos[1].identity


def test_keypoints_lie_where_motion_and_cameras_say(avatar_root):
    clips, body = ClipSet(avatar_root), HalfBody()
    clip = clips.read(0)
    identity = clips.identity(clip.info.identity)
    posed = body.pose(
        body.rest(identity.shape[None], identity.shell[None]), clip.motion.rotations, clip.motion.expression
    )
    points = project(body.keypoints(posed.vertices, posed.bones), clip.cameras.world_to_camera, clip.cameras.intrinsics)
    index = [body.keypoint_index[n] for n in clip.keypoints.names]
    torch.testing.assert_close(points[:, index, :2], clip.keypoints.xy, atol=0.02, rtol=0)


def test_existing_clips_are_kept(avatar_root, template):
    before = [p.stat().st_mtime_ns for p in ClipSet(avatar_root).folders]
    export_avatars(avatar_root, AvatarClips(identities=2, clips=1, frames=9, size=64), template=template)
    assert [p.stat().st_mtime_ns for p in ClipSet(avatar_root).folders] == before


def test_rows_are_the_clip_and_its_guides(avatar_root, rows):
    clips = ClipSet(avatar_root)
    clip = clips.read(1)
    got = rows.rows(np.arange(9, 18))
    assert (got.rgb - clip.frames).abs().max() < 2 / 127.5
    assert (got.alpha - clip.regions.person).abs().max() < 4 / 255
    guides = render_guides(HalfBody(), clips.identity(clip.info.identity), clip.motion, clip.cameras)
    # prepared in another batch: a pixel of an outline may show the neighbouring triangle
    assert (got.guides.part != guides.part).float().mean() < 0.001
    torch.testing.assert_close(got.guides.yaw, guides.yaw, atol=1e-3, rtol=0)
    assert ((got.guides.lift - guides.lift).abs() > 2 / 127.5).float().mean() < 0.001
    assert (
        rows.portrait(np.array([1])).shape == (1, 3, 64, 64)
        and rows.drawings(np.arange(2), np.zeros(2, bool)).max() > 0.5
    )


def test_drawing_frames_in_a_row_with_a_stride(rows):
    for step in range(20):
        index = rows.draw(np.random.default_rng(step), 2, 3, clips=True, stride=4)
        assert len(index) == 6 and set(np.diff(index.reshape(2, 3)).flatten()) == {4}
        assert len({int(rows.identity[i]) for i in index[:3]}) == 1
    with pytest.raises(ValueError, match="9 frames, 12 in a row"):
        rows.draw(np.random.default_rng(0), 1, 12, clips=True)


def test_a_killed_preparation_continues_and_other_clips_are_refused(avatar_root, rows, tmp_path):
    class KillError(Exception):
        pass

    def kill(done, total):
        raise KillError

    with pytest.raises(KillError):
        prepare_rows(avatar_root, tmp_path, 64, drawing=True, progress=kill)
    assert np.load(tmp_path / "complete.npy").tolist() == [1, 0]
    with pytest.raises(ValueError, match="no prepared clips"):
        ClipRows(tmp_path, [])
    prepare_rows(avatar_root, tmp_path, 64, drawing=True)
    for name in ("rgb", "lift", "drawing", "region"):
        whole = np.load(rows.sources[0][0] / f"{name}.npy", mmap_mode="r")
        assert np.array_equal(np.load(tmp_path / f"{name}.npy"), whole)
    with pytest.raises(ValueError, match="other clips or for another size"):
        prepare_rows(avatar_root, tmp_path, 32, drawing=True)


def test_scaled_cameras_project_to_scaled_pixels(avatar_root):
    cameras = ClipSet(avatar_root).read(0, ["cameras"]).cameras
    point = torch.tensor([[[0.1, -0.1, 0.5]]]).expand(len(cameras), -1, -1)
    small = scaled(cameras, (32, 48))
    a = project(point, cameras.world_to_camera, cameras.intrinsics)[..., :2]
    b = project(point, small.world_to_camera, small.intrinsics)[..., :2]
    torch.testing.assert_close(a * torch.tensor([48 / 64, 32 / 64]), b)


def test_tracks_are_what_stage_1_reads(spoken_root, tmp_path):
    assert len(check_clips(spoken_root, ("audio", "words", "motion"))) == 2
    encoder, prior = FakeEncoder(), make_reader()
    out = prepare_tracks(spoken_root, tmp_path / "train", "motion", encoder, prior)
    data = MotionData(out)
    clip = ClipSet(spoken_root).read(1)
    got = data.recording(1)
    motion = torch.cat([clip.motion.rotations.flatten(1), clip.motion.expression], 1)
    assert len(data) == 2 and (got["motion"][0] - motion).abs().max() < 2e-3
    assert got["closed"].sum() == sum(p == "m" for p, *_ in clip.phones)
    assert got["audio"].shape[-1] == 45 and got["text"].shape == got["heard"].shape
    stamp = (out / "plan.json").stat().st_mtime_ns
    prepare_tracks(spoken_root, out, "motion", encoder, prior)
    assert (out / "plan.json").stat().st_mtime_ns == stamp  # nothing changed, nothing is done


def test_closures_that_are_heard():
    from stereotalker_core.audio.phones import PHONE_INDEX

    p = torch.zeros(9, 40)
    p[1:4, PHONE_INDEX["b"]] = 0.9
    p[6, PHONE_INDEX["p"]] = p[6, PHONE_INDEX["m"]] = 0.3
    assert heard_closures(p).nonzero().flatten().tolist() == [2, 6]
