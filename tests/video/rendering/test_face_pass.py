"""The face pass: where its square lies, that its camera sees the same picture, and how it is blended."""

import pytest
import torch
import torch.nn.functional as F

from stereotalker_core.body.model import HalfBody
from stereotalker_core.body.regions import FACE_PARTS
from stereotalker_core.evaluation.video.temporal import subject
from stereotalker_core.geometry.projection import project
from stereotalker_core.records import Motion
from stereotalker_core.synthetic.movement.poses import joint_heads
from stereotalker_core.synthetic.people.performance import random_motion
from stereotalker_core.synthetic.people.portrait import canonical_cameras
from stereotalker_core.video.guides.maps import render_guides
from stereotalker_core.video.rendering.face_pass import FaceWindow, face_window, with_face
from stereotalker_core.video.rendering.nano import load_nano
from stereotalker_core.video.rendering.render import render_video


@pytest.fixture(scope="module")
def body():
    return HalfBody()


@pytest.fixture(scope="module")
def person(body):
    return subject(body, 1_500_003).identity


@pytest.fixture(scope="module")
def scene(body, person):
    """Rest, motion and cameras of six frames, turning."""
    rest = body.rest(person.shape[None], person.shell[None])
    motion = random_motion(body, joint_heads(body, rest), 6, torch.Generator().manual_seed(3))
    return rest, motion, canonical_cameras(body, person.shape, torch.linspace(-50, 40, 6), 256)


def test_the_square_holds_every_vertex_of_the_face(body, scene):
    rest, motion, cameras = scene
    window = face_window(body, rest, motion, cameras, 2)
    names = torch.tensor([body.part_index[name] for name in FACE_PARTS])
    face = body.triangles[torch.isin(body.triangle_part, names)].unique()
    posed = body.pose(rest, motion.rotations, motion.expression)
    pixel = project(posed.vertices[:, face], cameras.world_to_camera, cameras.intrinsics)[..., :2]
    low, high = pixel.flatten(0, 1).amin(0), pixel.flatten(0, 1).amax(0)
    corner = torch.tensor([window.left, window.top])
    assert (low > corner).all() and (high < corner + window.side).all()
    assert window.side % 32 == 0 and window.side <= 128


def test_its_camera_sees_the_same_picture(body, scene, person):
    """Guides of the square, averaged down, are the canvas's guides there."""
    rest, motion, cameras = scene
    window = face_window(body, rest, motion, cameras, 2)
    rows = slice(window.top, window.top + window.side)
    columns = slice(window.left, window.left + window.side)
    whole = render_guides(body, person, motion, cameras, rest).lift[..., rows, columns]
    near = render_guides(body, person, motion, window.cameras(cameras), rest).lift
    assert near.shape[-1] == 2 * window.side
    assert (F.avg_pool2d(near, 2) - whole).abs().mean() < 0.02
    assert (F.avg_pool2d(near, 2).roll(1, -1) - whole).abs().mean() > 0.03  # and not a pixel beside it


def test_a_face_that_fills_the_canvas_is_left_alone(body, scene):
    rest, motion, cameras = scene
    near = FaceWindow(40, 80, 96, 2).cameras(cameras)
    assert face_window(body, rest, motion, near, 2) is None
    for scale in (0, 1, 5):
        with pytest.raises(ValueError, match="face pass"):
            face_window(body, rest, motion, cameras, scale)


@pytest.mark.parametrize("portions", [(8, 8), (3, 5, 8), (1,) * 16])
def test_frames_meet_in_any_portions(portions):
    window = FaceWindow(8, 16, 32, 2)
    canvas = torch.rand(16, 4, 64, 64)
    inset = torch.rand(16, 4, 64, 64)
    parts = ((part, part[:, :3]) for part in canvas.split((7, 9)))
    found = torch.cat([values for values, _ in with_face(parts, ((p, p) for p in inset.split(portions)), window)])
    expected = canvas.clone()
    weight = window.weight()[0, 0]
    for t in range(16):
        for y in range(32):
            for x in range(32):
                w = weight[y, x]
                small = inset[t, :, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].mean((1, 2))
                expected[t, :, 8 + y, 16 + x] = (1 - w) * canvas[t, :, 8 + y, 16 + x] + w * small
    assert torch.allclose(found, expected, atol=1e-6)
    assert float(weight.max()) == 1 and float(weight[0].max()) < 0.1


def test_the_rest_of_the_picture_stays(body, scene, person):
    rest, motion, cameras = scene
    motion, cameras = Motion(motion.rotations[:3], motion.expression[:3]), cameras[:3]
    renderer = load_nano()
    plain, passed = (
        torch.cat([c.frames for c in render_video(body, renderer, person, motion, cameras, face_scale=scale)])
        for scale in (1, 2)
    )
    window = face_window(body, rest, motion, cameras, 2)
    changed = (plain != passed).any(1).any(0)
    inside = torch.zeros_like(changed)
    # and a pixel around it: compositing looks at the neighbours' alpha
    inside[window.top - 1 : window.top + window.side + 1, window.left - 1 : window.left + window.side + 1] = True
    assert changed.any() and not (changed & ~inside).any()
    assert (plain - passed).abs().mean() < 0.05
