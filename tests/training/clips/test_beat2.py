"""BEAT2 importer: axes and joints against known rotations and an independent chain, resampling, words, bad files."""

import numpy as np
import pytest
import torch

from stereotalker_core.audio.textgrid import read_textgrid
from stereotalker_core.body.model import HalfBody
from stereotalker_core.geometry.rotations import axis_angle_to_matrix, matrix_to_axis_angle
from stereotalker_core.geometry.skeleton import JOINT_INDEX
from stereotalker_core.motion.arkit import ARKIT_INDEX
from stereotalker_core.training.clips.beat2 import import_beat2, read_arkit, read_smplx
from stereotalker_core.training.clips.check import check_clips
from stereotalker_core.training.clips.clip import read_clip
from stereotalker_core.training.clips.resample import (
    positions,
    resample_rotations,
    resample_values,
    smooth,
    smooth_rotations,
)
from stereotalker_core.training.clips.smplx import SMPLX_INDEX, rotations_from_smplx, split_twist
from tests.training.clips.samples import textgrid, write_beat2

# rest directions of SMPL-X's T pose (y up, z front, x left), straight arms
CHAIN = ("pelvis", "spine1", "spine2", "spine3", "collar", "shoulder", "elbow", "wrist")


@pytest.fixture(scope="module")
def body():
    return HalfBody()


def turned(joint: str, vector) -> torch.Tensor:
    poses = torch.zeros(1, 55, 3)
    poses[0, SMPLX_INDEX[joint]] = torch.tensor(vector)
    return poses.flatten(1)


def directions(body, rotations):
    """World unit vectors of upper arm, forearm and hand, and of the head's up axis, from our own skeleton."""
    rest = body.rest(torch.zeros(1, body.n_shape))
    world, heads = body.forward_kinematics(body.bone_rotations(rotations), rest.bones)
    at = {name: heads[0, i] for name, i in body.bone_index.items()}
    out = {}
    for side in "LR":
        pairs = {
            "upper": ("upperarm01", "lowerarm01"),
            "lower": ("lowerarm01", "wrist"),
            "hand": ("wrist", "finger3-1"),
        }
        for name, (a, b) in pairs.items():
            out[f"{name}.{side}"] = torch.nn.functional.normalize(at[f"{b}.{side}"] - at[f"{a}.{side}"], dim=0)
    return out, {name: world[0, i] for name, i in body.bone_index.items()}


def in_room(vector) -> torch.Tensor:
    """SMPL-X's (left, up, front) in our axes: left is +x, front is -y, up is +z."""
    left, up, front = vector
    return torch.tensor([left, -front, up], dtype=torch.float32)


def test_the_rest_pose_is_a_t_pose(body):
    arms, _ = directions(body, rotations_from_smplx(torch.zeros(1, 165), body))
    for side, sign in (("L", 1.0), ("R", -1.0)):
        for bone in ("upper", "lower", "hand"):
            torch.testing.assert_close(arms[f"{bone}.{side}"], torch.tensor([sign, 0, 0]), atol=1e-4, rtol=0)


def test_known_rotations(body):
    """Turning the head to the left is about the vertical axis; a bent elbow brings the hand to the front; and so on."""
    rotations = rotations_from_smplx(turned("head", [0.0, 0.5, 0.0]), body)  # about SMPL-X's up axis
    torch.testing.assert_close(rotations[0, JOINT_INDEX["head"]], torch.tensor([0, 0, 0.5]), atol=1e-5, rtol=0)
    nod = rotations_from_smplx(turned("neck", [0.3, 0.0, 0.0]), body)  # about the left axis: forward
    for name in ("neck01", "neck02", "neck03"):
        torch.testing.assert_close(nod[0, JOINT_INDEX[name]], torch.tensor([0.1, 0, 0]), atol=1e-5, rtol=0)
    left = directions(body, rotations_from_smplx(turned("left_elbow", [0.0, -np.pi / 2, 0.0]), body))[0]
    torch.testing.assert_close(left["lower.L"], in_room([0, 0, 1]), atol=1e-4, rtol=0)  # to the front
    torch.testing.assert_close(left["upper.L"], in_room([1, 0, 0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(left["lower.R"], in_room([-1, 0, 0]), atol=1e-4, rtol=0)
    down = directions(body, rotations_from_smplx(turned("right_shoulder", [0.0, 0.0, np.pi / 2]), body))[0]
    torch.testing.assert_close(down["hand.R"], in_room([0, -1, 0]), atol=1e-4, rtol=0)  # the arm hangs


def test_random_poses_agree_with_an_independent_chain(body):
    """Bones point where a plain product of SMPL-X rotations along the chain points, in the same room."""
    g = torch.Generator().manual_seed(0)
    poses = 0.6 * torch.randn(5, 55, 3, generator=g)
    rotations = rotations_from_smplx(poses.flatten(1), body)
    for t in range(5):
        ours, world = directions(body, rotations[t : t + 1])
        for side, word, sign in (("L", "left", 1.0), ("R", "right", -1.0)):
            total = torch.eye(3)
            for joint in CHAIN:
                name = joint if joint in SMPLX_INDEX else f"{word}_{joint}"
                total = total @ axis_angle_to_matrix(poses[t, SMPLX_INDEX[name]])
                bone = {"shoulder": "upper", "elbow": "lower", "wrist": "hand"}.get(joint)
                if bone:
                    expected = in_room((total @ torch.tensor([sign, 0.0, 0.0])).tolist())
                    torch.testing.assert_close(ours[f"{bone}.{side}"], expected, atol=2e-4, rtol=0)
        head = torch.eye(3)
        for joint in ("pelvis", "spine1", "spine2", "spine3", "neck", "head"):
            head = head @ axis_angle_to_matrix(poses[t, SMPLX_INDEX[joint]])
        for axis in torch.eye(3):
            expected = in_room((head @ axis).tolist())
            torch.testing.assert_close(world["head"] @ in_room(axis.tolist()), expected, atol=2e-4, rtol=0)


def test_fingers_curl_towards_the_palm(body):
    """In the T pose with palms down, bending a left finger turns it down: about SMPL-X's -z axis for the left hand."""
    rest = body.rest(torch.zeros(1, body.n_shape))
    curled = rotations_from_smplx(turned("left_middle1", [0.0, 0.0, -1.0]), body)
    straight = rotations_from_smplx(torch.zeros(1, 165), body)
    tips = []
    for rotations in (straight, curled):
        _, heads = body.forward_kinematics(body.bone_rotations(rotations), rest.bones)
        tips.append(heads[0, body.bone_index["finger3-3.L"]] - heads[0, body.bone_index["finger3-1.L"]])
    change = (tips[1] - tips[0]) / tips[0].norm()
    assert change[2] < -0.5 and change[2] < -abs(change[1])  # down in the room


def test_twist_and_rest_compose():
    g = torch.Generator().manual_seed(1)
    rotation = axis_angle_to_matrix(torch.randn(20, 3, generator=g))
    axis = torch.tensor([1.0, 2.0, -1.0])
    twist, rest = split_twist(rotation, axis)
    torch.testing.assert_close(twist @ rest, rotation, atol=1e-5, rtol=0)
    vector = matrix_to_axis_angle(twist)
    assert torch.linalg.cross(vector, axis.expand_as(vector)).abs().max() < 1e-4


def test_resampling_keeps_constant_speed():
    turns = torch.zeros(31, 2, 3)
    turns[:, 0, 2] = torch.linspace(0, 3, 31)  # 30 fps, 1 s
    at = positions(31, 30, 25)
    out = resample_rotations(turns, at)
    assert len(out) == 26
    torch.testing.assert_close(out[:, 0, 2], torch.linspace(0, 3, 26), atol=1e-5, rtol=0)
    torch.testing.assert_close(resample_values(turns[:, 0], at), out[:, 0], atol=1e-5, rtol=0)


def test_smoothing_is_the_plain_least_squares_and_fills_gaps():
    g = torch.Generator().manual_seed(0)
    noisy = torch.linspace(0, 1, 40)[:, None] + 0.1 * torch.randn(40, 1, generator=g)
    weight = torch.ones(40)
    weight[10:14], noisy[10:14] = 0, 9.0  # a gap with nonsense
    out = smooth(noisy, 100.0, weight)
    assert (out - torch.linspace(0, 1, 40)[:, None]).abs().max() < 0.12

    # stationarity of the objective, by finite differences
    def cost(x):
        return (weight[:, None] * (x - noisy) ** 2).sum() + 100 * (x.diff(dim=0).diff(dim=0) ** 2).sum()

    for i in (0, 12, 30):
        moved = out.clone()
        moved[i] += 0.01
        assert cost(moved) > cost(out)
    still = torch.full((12, 1, 3), 0.4)
    torch.testing.assert_close(smooth_rotations(still, 50.0), still, atol=1e-5, rtol=0)


@pytest.mark.parametrize("short", [False, True])
def test_textgrids(tmp_path, short):
    path = tmp_path / "a.TextGrid"
    path.write_text(textgrid(3.0, short))
    tiers = read_textgrid(path)
    assert tiers["words"] == [("hello", 0.5, 1.0), ('say "hi"', 1.0, 1.5)]
    assert tiers["phones"][1] == ("HH", 0.5, 0.7)
    path.write_text(textgrid(3.0, short)[:-40])
    with pytest.raises(ValueError, match="ends early"):
        read_textgrid(path)
    path.write_text("nothing")
    with pytest.raises(ValueError, match="no TextGrid"):
        read_textgrid(path)


def test_a_recording_becomes_clips(tmp_path, body):
    poses = np.zeros((90, 165), np.float32)
    poses[:, 3 * SMPLX_INDEX["head"] + 1] = np.linspace(0, 1, 90)
    folders = import_beat2(write_beat2(tmp_path / "beat", poses=poses), tmp_path / "root", seconds=2)
    assert [f.name for f in folders] == ["2_scott_0_1_1_000", "2_scott_0_1_1_001"]
    first, second = (read_clip(f) for f in folders)
    assert (first.info.frames, second.info.frames) == (50, 25) and first.info.transcript == 'hello say "hi"'
    assert first.words[0] == ("hello", 0.5, 1.0) and first.phones[2] == ("ow", 0.7, 1.0, 1)
    jaw = torch.cat([c.motion.expression[:, ARKIT_INDEX["jawOpen"]] for c in (first, second)])
    torch.testing.assert_close(jaw, torch.arange(75) / 100, atol=0.006, rtol=0)
    turn = torch.cat([c.motion.rotations[:, JOINT_INDEX["head"], 2] for c in (first, second)])
    torch.testing.assert_close(turn, torch.arange(75) / 25 * 30 / 89, atol=1e-3, rtol=0)
    assert len(check_clips(tmp_path / "root", ["motion", "audio", "words"])) == 2


def test_without_arkit_the_jaw_joint_speaks(tmp_path):
    poses = np.zeros((60, 165), np.float32)
    poses[:, 3 * SMPLX_INDEX["jaw"]] = 0.2
    source = write_beat2(tmp_path / "beat", frames=60, poses=poses, arkit=False, grid=False)
    clip = read_clip(import_beat2(source, tmp_path / "root")[0])
    assert clip.motion.expression[:, ARKIT_INDEX["jawOpen"]].mean() == pytest.approx(0.5, abs=1e-3)
    assert clip.motion.expression.sum() == clip.motion.expression[:, ARKIT_INDEX["jawOpen"]].sum()
    assert clip.words is None


def test_bad_recordings_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no .npz"):
        import_beat2(tmp_path, tmp_path / "root")
    source = write_beat2(tmp_path / "beat", frames=60)
    with pytest.raises(ValueError, match="no recording 'other'"):
        import_beat2(source, tmp_path / "root", names=["other"])
    npz = next(source.rglob("*.npz"))
    for arrays, message in (
        ({"poses": np.zeros((5, 72)), "mocap_frame_rate": 30}, "SMPL-X has"),
        ({"poses": np.full((5, 165), np.nan), "mocap_frame_rate": 30}, "first in frame 0"),
        ({"poses": np.zeros((5, 165))}, "lacks poses or mocap_frame_rate"),
    ):
        np.savez(npz, **arrays)
        with pytest.raises(ValueError, match=message):
            read_smplx(npz)
    arkit = next(source.rglob("*.json"))
    for text, message in (
        ('{"names": ["a"], "frames": []}', "must agree"),
        ('{"names": ["jawOpen"], "frames": [{"weights": [1, 2], "time": 0}]}', "must agree"),
        ("{}", "holds no ARKit weights"),
    ):
        arkit.write_text(text)
        with pytest.raises(ValueError, match=message):
            read_arkit(arkit, 10)
    next(source.rglob("*.wav")).unlink()
    np.savez(npz, poses=np.zeros((60, 165)), mocap_frame_rate=30)
    with pytest.raises(ValueError, match="has no .*wav"):
        import_beat2(source, tmp_path / "root")
    assert not (tmp_path / "root").exists()
