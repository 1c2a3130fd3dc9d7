"""Video + DWPose importer: an avatar's video with perfect keypoints comes back as its motion; bad input is refused."""

import json

import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.geometry.projection import project
from stereotalker_core.geometry.rotations import axis_angle_to_matrix
from stereotalker_core.geometry.skeleton import JOINT_INDEX
from stereotalker_core.motion.files.openpose import openpose_frames
from stereotalker_core.records import Motion
from stereotalker_core.synthetic.movement.poses import head_pose, joint_heads, rest_arms
from stereotalker_core.synthetic.people.avatar import make_avatar
from stereotalker_core.synthetic.people.portrait import canonical_cameras
from stereotalker_core.synthetic.people.render import render_avatar
from stereotalker_core.training.clips.check import NEEDS, check_clips
from stereotalker_core.training.clips.clip import ClipSet
from stereotalker_core.training.clips.dwpose import VideoImport, import_video, turn_to_camera
from stereotalker_core.video.writing.writer import VideoWriter
from tests.training.clips.samples import make_audio

FRAMES, SIZE = 8, 192


@pytest.fixture(scope="module")
def video(tmp_path_factory, template):
    """A head that turns by 20 degrees, seen from a yaw of 15; one frame without a person."""
    body = template.body
    folder = tmp_path_factory.mktemp("video")
    avatar = make_avatar(body, 5, template)
    heads = joint_heads(body, body.rest(avatar.shape[None], avatar.shell[None]))
    turn = torch.linspace(-10, 10, FRAMES)
    rotations = torch.stack([head_pose(0.0, float(a), 0.0)[0] for a in turn]) + rest_arms(heads)
    motion = Motion(rotations, torch.zeros(FRAMES, 52))
    cameras = canonical_cameras(body, avatar.shape, torch.full((FRAMES,), 15.0), SIZE)
    frames = render_avatar(body, avatar, motion, cameras, supersample=1)
    with VideoWriter(folder / "talk.mp4", (SIZE, SIZE), 25, make_audio(FRAMES / 25)) as writer:
        writer.write(frames.rgb)
    points = openpose_frames(motion, body, cameras, avatar.shape)
    for frame in points:  # without hands the fit has half as many parameters
        frame["people"][0] |= {"hand_left_keypoints_2d": [], "hand_right_keypoints_2d": []}
    points[4] = {**points[4], "people": []}
    (folder / "talk.json").write_text(json.dumps(points))
    return folder / "talk.mp4", motion, cameras


@pytest.fixture(scope="module")
def imported(video, tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    import_video(video[0], root, VideoImport(seconds=1, size=SIZE))
    return ClipSet(root)


def test_clips_are_complete_and_sound(imported):
    infos = check_clips(imported.root, (*NEEDS["renderer"], "keypoints", "audio"))
    assert [(i.name, i.frames, i.identity) for i in infos] == [("talk_000", FRAMES, "talk")]


def test_the_head_turns_as_it_did(imported, video):
    """As the camera sees it: from 5 to 25 degrees, smoothly, over the frame without a person too.

    How much of a turn is the body's and how much the neck's, keypoints hardly tell.
    """
    clip = imported.read(0)
    chain = ("root", "spine03", "spine01", "neck01", "neck02", "neck03", "head")
    total = torch.eye(3).expand(FRAMES, 3, 3)
    for name in chain:
        total = total @ axis_angle_to_matrix(clip.motion.rotations[:, JOINT_INDEX[name]])
    yaw = clip.cameras.yaw + torch.rad2deg(torch.atan2(-total[:, 0, 1], total[:, 1, 1]))
    assert (yaw - torch.linspace(5, 25, FRAMES)).abs().max() < 6
    assert yaw.diff().min() > -0.5 and yaw.diff().diff().abs().max() < 2
    assert clip.keypoints.confidence[4].max() == 0 and clip.keypoints.confidence[5].max() == 1


def test_cameras_see_the_turn_of_the_body(imported):
    yaw = imported.read(0).cameras.yaw
    assert (yaw - 15).abs().max() < 12 and yaw.diff().abs().max() < 1e-3


def test_estimated_points_lie_on_the_given_ones(imported):
    clip, body = imported.read(0), HalfBody()
    identity = imported.identity("talk")
    posed = body.pose(body.rest(identity.shape[None]), clip.motion.rotations, clip.motion.expression)
    points = project(body.keypoints(posed.vertices, posed.bones), clip.cameras.world_to_camera, clip.cameras.intrinsics)
    index = [body.keypoint_index[n] for n in clip.keypoints.names]
    off = (points[:, index, :2] - clip.keypoints.xy).norm(dim=-1)[clip.keypoints.confidence > 0]
    assert off.median() < 1.5  # px of 192


def test_masks_cover_the_person(imported, video):
    person = imported.read(0).regions.person
    assert 0.15 < float((person > 0.5).float().mean()) < 0.8
    assert (imported.read(0).regions.masks[:, 2] > 0.5).any() and imported.read(0).regions.masks.sum(1).sub(
        1
    ).abs().max() < 0.02


def test_moving_the_turn_to_the_camera_changes_no_pixel():
    body = HalfBody()
    rotations = torch.zeros(3, 49, 3)
    rotations[:, JOINT_INDEX["root"]] = torch.tensor([[0.05, 0.02, 0.5], [0.0, 0.1, 0.6], [0.1, 0.0, 0.7]])
    cameras = canonical_cameras(body, torch.zeros(body.n_shape), torch.zeros(3), 64)
    rest = body.rest(torch.zeros(1, body.n_shape))
    new, matrix, yaw = turn_to_camera(rotations, cameras.world_to_camera)
    before, after = (
        project(body.pose(rest, r).vertices, m, cameras.intrinsics)
        for r, m in ((rotations, cameras.world_to_camera), (new, matrix))
    )
    torch.testing.assert_close(before, after, atol=1e-3, rtol=0)
    # a body turned to its left shows its right side: a positive yaw
    torch.testing.assert_close(yaw, torch.full((3,), float(torch.rad2deg(torch.tensor(0.6)))), atol=2, rtol=0)


def test_bad_videos_are_refused(video, tmp_path):
    import shutil

    path = tmp_path / "talk.mp4"
    shutil.copy(video[0], path)
    with pytest.raises(ValueError, match="has no keypoints"):
        import_video(path, tmp_path / "root")
    frames = json.loads(video[0].with_suffix(".json").read_text())
    for values, message in (
        (frames[:-1], "has 8 frames, its keypoints 7"),
        ([{**f, "people": []} for f in frames], "100% of the frames show nobody"),
        ([{"x": 1}] * 8, "frame 0 of the keypoints has no 'people'"),
    ):
        path.with_suffix(".json").write_text(json.dumps(values))
        with pytest.raises(ValueError, match=message):
            import_video(path, tmp_path / "root")
    assert not (tmp_path / "root").exists()
    with pytest.raises(ValueError, match="multiple of 8"):
        VideoImport(size=100)
