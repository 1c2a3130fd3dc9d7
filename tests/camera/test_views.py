"""What cameras show of a fitted person: a sweep without jumps, stereo pairs with the right disparity, pitch."""

from dataclasses import replace

import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.body.rasterize import rasterize
from stereotalker_core.camera.trajectories import canonical_framing, fixed, keyframes, orbit, stereo_pair
from stereotalker_core.geometry.projection import project
from stereotalker_core.records import Identity, Motion
from stereotalker_core.video.guides.maps import render_guides

SIZE = (96, 96)


@pytest.fixture(scope="module")
def body():
    return HalfBody()


@pytest.fixture(scope="module")
def person(body):
    """A body with arms hanging and a smooth texture that tells left from right and up from down."""
    a = 96
    y, x = torch.meshgrid(torch.linspace(0, 9, a), torch.linspace(0, 9, a), indexing="ij")
    atlas = torch.stack([torch.sin(x), torch.cos(y), torch.sin(x + y)]) * 0.7
    framing = canonical_framing(float(body.bone_mean[body.bone_index["head"], 2]))
    camera = fixed(framing, 1, size=SIZE)
    return Identity(
        shape=torch.zeros(body.n_shape),
        shell=torch.zeros(body.n_vertices),
        rotations=torch.zeros(49, 3),
        expression=torch.zeros(52),
        world_to_camera=camera.world_to_camera[0],
        intrinsics=camera.intrinsics,
        portrait=torch.zeros(3, *SIZE),
        mask=torch.ones(1, *SIZE),
        background=torch.full((3, *SIZE), -0.5),
        atlas=atlas,
        visibility=torch.ones(1, a, a),
    ), framing


def still(frames):
    return Motion(torch.zeros(frames, 49, 3), torch.zeros(frames, 52))


def steps_of_sweep(body, identity, cameras):
    """Mean absolute difference of neighbouring views."""
    lift = render_guides(body, identity, still(len(cameras)), cameras).lift
    return lift.diff(dim=0).abs().mean((1, 2, 3))


@pytest.mark.parametrize("pitch", [0.0, 12.0])
def test_yaw_sweep_has_no_jump(body, person, pitch):
    """-90..90 in steps of 2 degrees: no neighbours differ by more than twice the median."""
    identity, framing = person
    step = steps_of_sweep(body, identity, orbit(framing, 91, -90, 90, pitch, SIZE))
    assert float(step.max()) <= 2 * float(step.median())
    assert float(step.min()) > 0.2 * float(step.median())  # and nothing stands still


def test_the_jump_test_sees_a_jump(body, person):
    identity, framing = person
    cameras = orbit(framing, 91, -90, 90, 0.0, SIZE)
    yaw = cameras.yaw.clone()
    yaw[45] += 30  # one frame out of line
    keys = [(i, float(y), 0.0, 1.0) for i, y in enumerate(yaw)]
    step = steps_of_sweep(body, identity, keyframes(framing, 91, keys, SIZE))
    assert float(step.max()) > 2 * float(step.median())


@pytest.mark.parametrize("pitch", [-15.0, 0.0, 15.0])
@pytest.mark.parametrize("yaw", [-75.0, -40.0, -10.0, 0.0, 25.0, 60.0, 90.0])
def test_disparity_has_the_right_sign_everywhere(body, person, yaw, pitch):
    """The left eye sees every point further right than the right eye, by focal * baseline / depth."""
    identity, framing = person
    left, right = stereo_pair(fixed(framing, 1, yaw, pitch, SIZE), 0.063)
    vertices = body.rest(identity.shape[None]).vertices
    a, b = (project(vertices, c.world_to_camera, c.intrinsics)[0] for c in (left, right))
    disparity = a[:, 0] - b[:, 0]
    assert float((disparity > 0).double().mean()) == 1.0
    twin = [float(left.intrinsics[0, 0]) * 0.063 / float(z) for z in a[:40, 2]]
    assert disparity[:40].tolist() == pytest.approx(twin, rel=1e-3)
    assert torch.allclose(a[:, 1], b[:, 1], atol=1e-3)  # no vertical disparity


def best_shift(left, right, furthest=14):
    """Columns by which `right` must move to the right to match `left`: a plain search."""
    errors = []
    for d in range(-furthest, furthest + 1):
        moved = torch.roll(right, d, -1)[..., furthest:-furthest]
        errors.append(float((moved - left[..., furthest:-furthest]).abs().mean()))
    return errors.index(min(errors)) - furthest


@pytest.mark.parametrize("yaw", [-60.0, -20.0, 0.0, 20.0, 60.0])
def test_pictures_of_a_stereo_pair_have_the_right_disparity(body, person, yaw):
    identity, framing = person
    identity = replace(identity, background=torch.full_like(identity.background, -0.5))
    pair = [
        render_guides(body, identity, still(1), c).lift[0]
        for c in stereo_pair(fixed(framing, 1, yaw, 0.0, SIZE), 0.063)
    ]
    focal = SIZE[0] * framing.distance / framing.height
    assert best_shift(*pair) == pytest.approx(focal * 0.063 / framing.distance, abs=1.6)


@pytest.mark.parametrize("pitch", [-30.0, -15.0, 15.0, 30.0])
def test_pitch_keeps_the_person_in_the_picture(body, person, pitch):
    """The head stays in view, and a camera from above sees more of the crown than one from below."""
    identity, framing = person
    vertices = body.rest(identity.shape[None]).vertices
    scalp = body.triangle_part == body.part_index["scalp"]
    shares = []
    for angle in (pitch, -pitch):
        camera = fixed(framing, 1, 0.0, angle, SIZE)
        triangle = rasterize(
            project(vertices, camera.world_to_camera, camera.intrinsics), body.triangles, SIZE
        ).triangle
        covered = triangle >= 0
        assert 0.15 < float(covered.float().mean()) < 0.8
        shares.append(float((covered & scalp[triangle]).float().mean()))
    assert (shares[0] - shares[1]) * pitch > 0
