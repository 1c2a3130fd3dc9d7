"""Hands stay out of the trunk: measured on the body's skin, on constructed poses and on what is really sampled."""

import pytest
import torch

from stereotalker_core.audio.load import load_audio
from stereotalker_core.body.model import HalfBody
from stereotalker_core.evaluation.motion.liveliness import joint_acceleration
from stereotalker_core.geometry.skeleton import JOINT_INDEX
from stereotalker_core.motion.conditioning import Style
from stereotalker_core.motion.edit import PARTS, concat
from stereotalker_core.motion.generation.bearing import rest_pose
from stereotalker_core.motion.generation.clearance import MARGIN, _eased, clear_stream, cleared, trunk
from stereotalker_core.motion.generation.sampling import MotionModels, sample_motion
from stereotalker_core.records import Motion
from stereotalker_core.synthetic.example import SPEECH, TRANSCRIPT


def frames_inside(rotations: torch.Tensor) -> int:
    """Frames (T, 49, 3) in which a point of a hand is behind the skin of trunk, neck or face, less than 6 cm deep."""
    body = HalfBody()
    rest = body.rest(torch.zeros(1, body.n_shape))
    solid = torch.tensor([name in ("torso", "neck", "face") for name in body.part_names])[body.triangle_part]
    surface = torch.unique(body.triangles[solid])
    hands = [i for i, name in enumerate(body.keypoint_names) if name.startswith("hand.")]
    count = 0
    for first in range(0, len(rotations), 50):
        posed = body.pose(rest, rotations[first : first + 50])
        normals, points = body.normals(posed.vertices), body.keypoints(posed.vertices, posed.bones)[:, hands]
        for k in range(len(points)):
            distance, nearest = torch.cdist(points[k], posed.vertices[k, surface]).min(1)
            outward = points[k] - posed.vertices[k, surface[nearest]]
            inside = (outward * normals[k, surface[nearest]]).sum(-1) < 0
            count += bool((inside & (distance < 0.06)).any())
    return count


def reaching(frames: int = 160) -> Motion:
    """Arms that hang, and a left forearm that swings slowly across and into the belly, twice."""
    rotations = torch.zeros(frames, 49, 3)
    rotations[:, list(PARTS["hands"])] = rest_pose()
    swing = torch.sin(torch.arange(frames) / frames * 2 * torch.pi).square()
    elbow, arm = JOINT_INDEX["lowerarm01.L"], JOINT_INDEX["upperarm01.L"]
    rotations[:, elbow, 2] -= 1.5 * swing
    rotations[:, elbow, 0] -= 0.9 * swing
    rotations[:, arm, 0] -= 0.25 * swing
    return Motion(rotations, torch.zeros(frames, 52))


def test_a_hand_in_the_belly_comes_out_smoothly_and_the_rest_stays():
    motion = reaching()
    assert frames_inside(motion.rotations) > 5
    found = cleared(motion.rotations)
    assert frames_inside(found) == 0
    changed = (found - motion.rotations).abs().amax(2)
    assert changed[:, [i for i in range(49) if i != JOINT_INDEX["upperarm01.L"]]].max() == 0
    assert float(joint_acceleration(Motion(found, motion.expression)).max()) < 4
    assert torch.equal(found[:4], motion.rotations[:4])


def test_hands_before_the_trunk_are_left_alone():
    rotations = torch.zeros(30, 49, 3)
    rotations[:, list(PARTS["hands"])] = rest_pose()
    assert torch.equal(cleared(rotations), rotations)


@pytest.mark.parametrize("sizes", [(80,), (7, 50), (159, 1)])
def test_cuts_do_not_show(sizes):
    motion, parts, at = reaching(), [], 0
    while at < len(motion):
        parts.append(motion[at : at + sizes[len(parts) % len(sizes)]])
        at += len(parts[-1])
    cut = concat(list(clear_stream(parts)))
    torch.testing.assert_close(cut.rotations, cleared(motion.rotations), atol=1e-5, rtol=0)


def test_the_map_is_the_front_of_the_skin():
    body = HalfBody()
    rest = body.rest(torch.zeros(1, body.n_shape))
    solid = torch.tensor([name == "torso" for name in body.part_names])[body.triangle_part]
    skin = rest.vertices[0, torch.unique(body.triangles[solid])]
    breast = skin[(skin[:, 0].abs() < 0.1) & (skin[:, 1] < -0.05) & (skin[:, 2] > 0.1) & (skin[:, 2] < 0.4)]
    depth = trunk().depth(breast)
    assert len(breast) > 50 and float((depth - MARGIN).abs().median()) < 0.01
    ahead = trunk().depth(breast - torch.tensor([0.0, 0.06, 0.0]))
    assert float(ahead.max()) == 0 and float(trunk().depth(torch.tensor([0.35, 0.0, 0.2]))) == 0


def test_an_eased_depth_is_never_less_and_never_jumps():
    depth = torch.zeros(200)
    depth[60:63], depth[140] = 0.03, 0.01
    eased = _eased(depth)
    assert (eased >= depth - 1e-6).all() and eased[:30].max() == 0 and float(eased.diff().abs().max()) < 0.006


@pytest.fixture(scope="module")
def nano() -> MotionModels:
    return MotionModels.load_nano()


@pytest.mark.parametrize(
    "settings",
    [
        {"seed": 1}, {"seed": 2, "style": Style("happy", 1.0, 1.4)}, {"seed": 3, "transcript": TRANSCRIPT.read_text()},
        {"seed": 4, "hands": "low"},
    ],
)  # fmt: skip
def test_sampled_hands_are_never_inside_the_body(nano, settings):
    motion = sample_motion(nano, load_audio(SPEECH), **settings)
    assert frames_inside(motion.rotations[::2]) == 0
