"""Round trips through every file format, and readable refusals."""

import json
import math

import numpy as np
import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.geometry.projection import intrinsics_for, look_at
from stereotalker_core.geometry.rotations import axis_angle_to_matrix
from stereotalker_core.geometry.skeleton import JOINT_INDEX
from stereotalker_core.motion.arkit import ARKIT
from stereotalker_core.motion.files.bvh import bone_tree, load_bvh, save_bvh
from stereotalker_core.motion.files.io import (
    HEAD_SHARES,
    READERS,
    head_angles,
    load_live_link_csv,
    load_motion,
    load_npz,
    save_live_link_csv,
    save_npz,
)
from stereotalker_core.motion.files.openpose import openpose_frames, save_openpose
from stereotalker_core.motion.files.preview import preview_frames, strip, turntable
from stereotalker_core.records import Cameras, Motion
from tests.motion.samples import make_motion


@pytest.fixture(scope="module")
def body() -> HalfBody:
    return HalfBody()


def test_npz_is_exact(tmp_path):
    motion = make_motion()
    save_npz(motion, tmp_path / "m.npz")
    back = load_npz(tmp_path / "m.npz")
    assert torch.equal(back.rotations, motion.rotations) and torch.equal(back.expression, motion.expression)
    assert back.fps == 25


def test_foreign_npz_is_refused(tmp_path):
    np.savez(tmp_path / "other.npz", poses=np.zeros(3))
    with pytest.raises(ValueError, match="rotations"):
        load_npz(tmp_path / "other.npz")


def test_csv_keeps_face_and_head(tmp_path):
    motion = make_motion(60)
    motion.rotations.zero_()
    turn = 0.4 * torch.randn(60, 3, generator=torch.Generator().manual_seed(2))
    for name, share in HEAD_SHARES.items():
        motion.rotations[:, JOINT_INDEX[name]] = share * turn
    save_live_link_csv(motion, tmp_path / "m.csv")
    back = load_live_link_csv(tmp_path / "m.csv")
    torch.testing.assert_close(back.expression, motion.expression, atol=1e-5, rtol=0)
    torch.testing.assert_close(back.rotations, motion.rotations, atol=1e-4, rtol=0)
    header = (tmp_path / "m.csv").read_text().splitlines()[0].split(",")
    assert len(header) == 2 + 52 + 9 and header[:3] == ["Timecode", "BlendShapeCount", "EyeBlinkLeft"]


# the first line of a recording of the app, and of what other tools write for it
APP = (
    "Timecode,BlendShapeCount,EyeBlinkLeft,EyeLookDownLeft,EyeLookInLeft,EyeLookOutLeft,EyeLookUpLeft,EyeSquintLeft,"
    "EyeWideLeft,EyeBlinkRight,EyeLookDownRight,EyeLookInRight,EyeLookOutRight,EyeLookUpRight,EyeSquintRight,"
    "EyeWideRight,JawForward,JawRight,JawLeft,JawOpen,MouthClose,MouthFunnel,MouthPucker,MouthRight,MouthLeft,"
    "MouthSmileLeft,MouthSmileRight,MouthFrownLeft,MouthFrownRight,MouthDimpleLeft,MouthDimpleRight,MouthStretchLeft,"
    "MouthStretchRight,MouthRollLower,MouthRollUpper,MouthShrugLower,MouthShrugUpper,MouthPressLeft,MouthPressRight,"
    "MouthLowerDownLeft,MouthLowerDownRight,MouthUpperUpLeft,MouthUpperUpRight,BrowDownLeft,BrowDownRight,BrowInnerUp,"
    "BrowOuterUpLeft,BrowOuterUpRight,CheekPuff,CheekSquintLeft,CheekSquintRight,NoseSneerLeft,NoseSneerRight,"
    "TongueOut,HeadYaw,HeadPitch,HeadRoll,LeftEyeYaw,LeftEyePitch,LeftEyeRoll,RightEyeYaw,RightEyePitch,RightEyeRoll"
)


def test_csv_has_the_columns_of_the_app_in_its_order(tmp_path):
    motion = make_motion(3)
    save_live_link_csv(motion, tmp_path / "m.csv")
    header, first = (line.split(",") for line in (tmp_path / "m.csv").read_text().splitlines()[:2])
    assert header == APP.split(",") and first[1] == "61"
    for name in ("JawOpen", "EyeLookInRight", "TongueOut"):
        expected = float(motion.expression[0, ARKIT.index(name[0].lower() + name[1:])])
        assert float(first[header.index(name)]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", ["shuffled", "lower case", "no header", "other names"])
def test_csv_is_read_by_name_and_else_by_place(tmp_path, kind, caplog):
    motion = make_motion(4)
    save_live_link_csv(motion, tmp_path / "m.csv")
    rows = [line.split(",") for line in (tmp_path / "m.csv").read_text().splitlines()]
    if kind == "shuffled":
        order = [0, *torch.randperm(62, generator=torch.Generator().manual_seed(1)).add(1).tolist()]
        rows = [[row[i] for i in order] for row in rows]
    elif kind == "lower case":
        rows[0] = ["\ufefftimecode", *(cell[0].lower() + cell[1:] for cell in rows[0][1:])]
    elif kind == "no header":
        rows = rows[1:]
    else:
        rows[0] = [f"column {i}" for i in range(len(rows[0]))]
    (tmp_path / "n.csv").write_text("\n".join(map(",".join, rows)), encoding="utf-8")
    back, plain = load_live_link_csv(tmp_path / "n.csv"), load_live_link_csv(tmp_path / "m.csv")
    assert torch.equal(back.expression, plain.expression) and torch.equal(back.rotations, plain.rotations)
    assert ("by place" in caplog.text) == (kind in ("no header", "other names"))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda row: row[:30], "line 5: the row ends after 30 columns"),
        (lambda row: [*row[:20], "nan", *row[21:]], "line 5: MouthClose is 'nan'"),
        (lambda row: [*row[:54], "far", *row[55:]], "line 5: HeadYaw is 'far'"),
    ],
)
def test_a_bad_row_of_a_csv_is_named(tmp_path, spoil, words):
    save_live_link_csv(make_motion(6), tmp_path / "m.csv")
    rows = [line.split(",") for line in (tmp_path / "m.csv").read_text().splitlines()]
    rows[4] = spoil(rows[4])
    (tmp_path / "m.csv").write_text("\n".join(map(",".join, rows)))
    with pytest.raises(ValueError, match=words):
        load_motion(tmp_path / "m.csv")


@pytest.mark.parametrize("fps", [25.0, 30.0, 60.0])
def test_csv_tells_its_rate(tmp_path, fps):
    motion = make_motion(int(fps * 4))
    save_live_link_csv(type(motion)(motion.rotations, motion.expression, fps), tmp_path / "m.csv")
    assert load_live_link_csv(tmp_path / "m.csv").fps == fps


def test_other_csv_is_refused(tmp_path):
    (tmp_path / "m.csv").write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="JawOpen"):
        load_live_link_csv(tmp_path / "m.csv")
    (tmp_path / "n.csv").write_text("Timecode,JawOpen\n00:00:00:00.0,open\n")
    with pytest.raises(ValueError, match="line 2: JawOpen is 'open', not a number"):
        load_live_link_csv(tmp_path / "n.csv")


@pytest.mark.parametrize("suffix", [".safetensors", ".npz", ".csv", ".bvh"])
def test_every_format_that_is_written_is_read(body, tmp_path, suffix):
    from stereotalker_core.commands.talking.talk import SAVERS

    motion, path = make_motion(5, scale=0.1), tmp_path / f"m{suffix}"
    assert set(SAVERS) == set(READERS)
    SAVERS[suffix](motion, path)
    back = load_motion(path)
    assert len(back) == 5 and back.fps == 25
    if suffix != ".bvh":
        torch.testing.assert_close(back.expression, motion.expression, atol=1e-5, rtol=0)
    if suffix != ".csv":
        torch.testing.assert_close(back.rotations, motion.rotations, atol=1e-4, rtol=0)


def test_other_files_and_numbers_that_are_none_are_refused(tmp_path):
    with pytest.raises(ValueError, match="m.fbx is no motion file; give one that ends in .safetensors"):
        load_motion(tmp_path / "m.fbx")
    motion = make_motion(5)
    motion.rotations[3, 7, 1] = math.nan
    save_npz(motion, tmp_path / "m.npz")
    with pytest.raises(ValueError, match="frame 3 holds a value that is no number"):
        load_motion(tmp_path / "m.npz")


def test_head_angles_are_yaw_pitch_roll():
    rotations = torch.zeros(3, 49, 3)
    head = JOINT_INDEX["head"]
    rotations[0, head, 2], rotations[1, head, 0], rotations[2, head, 1] = 0.3, 0.2, 0.1
    torch.testing.assert_close(head_angles(rotations), torch.diag(torch.tensor([0.3, 0.2, 0.1])), atol=1e-4, rtol=0)


def parse_bvh(text: str):
    """A plain reader: names, parents, offsets (cm) and channel rows."""
    names, parents, offsets, stack, rows, skip = [], [], [], [], [], False
    for line in text.splitlines():
        words = line.split()
        if words[0] in ("ROOT", "JOINT"):
            names.append(words[1])
            parents.append(stack[-1] if stack else -1)
        elif words[0] == "End":
            skip = True
        elif words[0] == "{":
            stack.append(len(names) - 1)
        elif words[0] == "}":
            stack.pop()
            skip = False
        elif words[0] == "OFFSET" and not skip:
            offsets.append([float(w) for w in words[1:]])
        elif words[0].lstrip("-")[:1].isdigit():
            rows.append([float(w) for w in words])
    return names, parents, torch.tensor(offsets), torch.tensor(rows)


def test_bvh_has_the_joint_positions_of_the_body(body, tmp_path):
    motion = make_motion(4)
    save_bvh(motion, body, tmp_path / "m.bvh")
    names, parents, offsets, rows = parse_bvh((tmp_path / "m.bvh").read_text())
    rest = body.rest(torch.zeros(1, body.n_shape))
    _, heads = body.forward_kinematics(body.bone_rotations(motion.rotations), rest.bones)
    axis = {0: 2, 1: 0, 2: 1}  # channel order Z X Y
    world, place = [], []
    for j, parent in enumerate(parents):
        matrix = torch.eye(3).expand(4, 3, 3)
        for channel in range(3):
            vector = torch.zeros(4, 3)
            vector[:, axis[channel]] = rows[:, 3 + 3 * j + channel] * math.pi / 180
            matrix = matrix @ axis_angle_to_matrix(vector)
        world.append(matrix if parent < 0 else world[parent] @ matrix)
        place.append(rows[:, :3] if parent < 0 else place[parent] + (world[parent] @ offsets[j]))
        ours = heads[:, body.bone_index[names[j]]] * 100
        expected = torch.stack([ours[:, 0], ours[:, 2], -ours[:, 1]], -1)
        torch.testing.assert_close(place[j], expected, atol=2e-3, rtol=0)


def test_bvh_comes_back_as_it_went_at_any_angle_and_rate(body, tmp_path):
    motion = make_motion(30, scale=0.6)
    motion = Motion(motion.rotations, motion.expression, 30.0)
    save_bvh(motion, body, tmp_path / "m.bvh", torch.full((body.n_shape,), 0.5))
    back = load_bvh(tmp_path / "m.bvh")
    assert back.fps == 30 and back.expression.abs().max() == 0
    ours, theirs = axis_angle_to_matrix(motion.rotations), axis_angle_to_matrix(back.rotations)
    torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=0)


def test_bvh_channels_may_come_in_another_order(body, tmp_path):
    """Two joints, channels X Y Z: 90 degrees about the file's x (ours, too), then 90 about its y (our z)."""
    text = (
        "HIERARCHY\nROOT root\n{\n OFFSET 0 0 0\n"
        " CHANNELS 6 Xposition Yposition Zposition Xrotation Yrotation Zrotation\n"
        " JOINT head\n {\n  OFFSET 0 9 0\n  CHANNELS 3 Xrotation Yrotation Zrotation\n"
        "  End Site\n  {\n   OFFSET 0 1 0\n"
        "  }\n }\n}\nMOTION\nFrames: 2\nFrame Time: 0.0333333\n0 0 0 0 0 0 90 0 0\n0 0 0 0 0 0 90 90 0\n"
    )
    (tmp_path / "m.bvh").write_text(text)
    back = load_bvh(tmp_path / "m.bvh")
    assert back.fps == 30 and back.rotations.abs().sum((0, 2)).nonzero().flatten().tolist() == [JOINT_INDEX["head"]]
    x, z = (axis_angle_to_matrix(torch.tensor(v) * math.pi / 2) for v in ([1.0, 0, 0], [0, 0, 1.0]))
    found = axis_angle_to_matrix(back.rotations[:, JOINT_INDEX["head"]])
    torch.testing.assert_close(found, torch.stack([x, x @ z]), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("HIERARCHY", "ARMATURE", "no BVH file"), ("MOTION", "DANCE", "no BVH file"),
        ("Frames: 4", "Frames: 9", "cut off"), ("Frames: 4", "Frames: four", "Frames and Frame Time"),
        ("Frame Time: 0.04", "Frame Time: 9.04", "no clip"),
        ("CHANNELS 3", "CHANNELS 4", "as many channels"),
    ],
)  # fmt: skip
def test_a_bad_bvh_is_refused(body, tmp_path, old, new, words):
    save_bvh(make_motion(4), body, tmp_path / "m.bvh")
    text = (tmp_path / "m.bvh").read_text()
    assert old in text
    (tmp_path / "m.bvh").write_text(text.replace(old, new, 1))
    with pytest.raises(ValueError, match=words):
        load_motion(tmp_path / "m.bvh")


def test_a_bad_row_and_a_foreign_skeleton_of_a_bvh_are_named(body, tmp_path):
    path = tmp_path / "m.bvh"
    save_bvh(make_motion(4), body, path)
    lines = path.read_text().splitlines()
    for spoilt, words in (("1 2 3", "3 values where"), (f"nan {lines[-2].split(' ', 1)[1]}", "no number")):
        path.write_text("\n".join([*lines[:-2], spoilt, lines[-1]]))
        with pytest.raises(ValueError, match=f"line {len(lines) - 1}: .*{words}"):
            load_bvh(path)
    path.write_text("\n".join(lines).replace("JOINT ", "JOINT mixamorig:").replace("ROOT ", "ROOT mixamorig:"))
    with pytest.raises(ValueError, match="none of this body's joints"):
        load_bvh(path)


def test_bvh_tree_has_every_joint_once(body):
    tree = bone_tree(body)
    bones = [b for children in tree.values() for b in children]
    assert len(bones) == len(set(bones)) and {body.bone_index[n] for n in JOINT_INDEX} <= set(bones)


def test_openpose_frames(body, tmp_path):
    motion = make_motion(3, scale=0.05)
    target, zero = torch.tensor([0.0, -0.02, 0.4]), torch.zeros(3)
    cameras = Cameras(look_at(target, zero, zero, zero + 2.4), intrinsics_for(0.86, 2.4, (256, 256)), zero)
    frames = openpose_frames(motion, body, cameras)
    person = frames[0]["people"][0]
    pose = torch.tensor(person["pose_keypoints_2d"]).view(18, 3)
    assert (frames[0]["canvas_width"], frames[0]["canvas_height"]) == (256, 256)
    assert pose[0, 2] == 1 and pose[9, 2] == 0 and pose[5, 0] > pose[2, 0]  # left shoulder on the right of the picture
    assert len(person["face_keypoints_2d"]) == 210 and len(person["hand_left_keypoints_2d"]) == 63
    save_openpose(frames, tmp_path / "p.json")
    assert json.loads((tmp_path / "p.json").read_text()) == frames
    with pytest.raises(ValueError, match="cameras"):
        openpose_frames(motion[:2], body, cameras)


def test_preview_of_the_face_shows_what_an_expression_is_read_off(body):
    """Dark brows that rise with the brow's coefficient, dark irises that follow the eye, lips redder than the skin."""
    still, raised, away = (torch.zeros(1, 52) for _ in range(3))
    raised[0, [ARKIT.index(n) for n in ("browInnerUp", "browOuterUpLeft", "browOuterUpRight")]] = 1
    pictures = []
    away[0, [ARKIT.index(n) for n in ("eyeLookOutLeft", "eyeLookInRight")]] = 1
    for expression in (still, raised, away):
        motion = Motion(torch.zeros(1, 49, 3), expression)
        pictures.append(next(preview_frames(motion, body, 0.0, 192, framing="face"))[0])
    rest = body.rest(torch.zeros(1, body.n_shape))
    points = body.keypoints(rest.vertices, rest.bones)[0]
    brow = pixel_of(body, rest, points[body.keypoint_index["face.19"]])
    window = (slice(None), slice(brow[1] - 9, brow[1] + 3), slice(brow[0] - 2, brow[0] + 3))
    height = [dark_rows(p[window]) for p in pictures[:2]]
    assert height[0] and height[1] and min(height[1]) < min(height[0])
    iris = pixel_of(body, rest, points[body.keypoint_index["iris.L"]])
    eye = (slice(None), slice(iris[1] - 1, iris[1] + 2), slice(iris[0] - 4, iris[0] + 5))
    assert pictures[0][eye].mean(0).amin() < -0.5 and not torch.allclose(pictures[0][eye], pictures[2][eye])
    with pytest.raises(ValueError, match="framing"):
        next(preview_frames(Motion(torch.zeros(1, 49, 3), still), body, framing="feet"))


def pixel_of(body, rest, point) -> tuple[int, int]:
    """Column and row of a place in the 192 pixels of the face's framing, by the numbers of its docstring."""
    chin = float(body.keypoints(rest.vertices, rest.bones)[0, body.keypoint_index["face.8"], 2])
    top = float(rest.vertices[0, :, 2].max())
    scale = 192 / (1.3 * (top - chin))
    nearness = 2.4 / (2.4 + float(point[1]) + 0.04)
    x, z = float(point[0]) * nearness, (float(point[2]) - (chin + top) / 2) * nearness
    return round(96 + scale * x - 0.5), round(96 - scale * z - 0.5)


def dark_rows(window) -> list[int]:
    return (window.mean(0).amin(1) < -0.35).nonzero()[:, 0].tolist()


def test_preview_shows_a_person(body):
    motion = make_motion(3, scale=0.05)
    frames = torch.cat(list(preview_frames(motion, body, turntable(3), size=64)))
    assert frames.shape == (3, 3, 64, 64) and frames.min() >= -1 and frames.max() <= 1
    covered = (frames - frames[:, :, :1, :1]).abs().sum(1) > 0.05
    assert (covered.flatten(1).float().mean(1) > 0.15).all() and not torch.equal(frames[0], frames[2])
    assert strip(motion, body, [0, 2], [0.0, 45.0], size=32).shape == (3, 64, 64)
    with pytest.raises(ValueError, match="frames"):
        strip(motion, body, [3], [0.0])


@pytest.mark.parametrize("fps", [0.0, -25.0, float("nan"), float("inf")])
@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_motion_that_cannot_be_played_is_refused(tmp_path, fps, suffix):
    motion = make_motion(3)
    motion, path = type(motion)(motion.rotations, motion.expression, fps), tmp_path / f"m{suffix}"
    (save_npz if suffix == ".npz" else type(motion).save)(motion, path)
    with pytest.raises(ValueError, match="frames per second"):
        load_motion(path)
