"""Canvases that are not square, and from where yaw is measured."""

import math
from dataclasses import replace

import pytest
import torch

from stereotalker_core.body.fitting.fit import fit_portrait
from stereotalker_core.body.model import HalfBody
from stereotalker_core.body.rasterize import rasterize
from stereotalker_core.body.texture.texels import Lifter
from stereotalker_core.camera.trajectories import Framing, canonical_framing, fixed, framing_for, orbit
from stereotalker_core.geometry.projection import project
from stereotalker_core.geometry.skeleton import HEAD_JOINTS, JOINT_INDEX, SPINE_JOINTS
from stereotalker_core.perception.keypoints import make_keypoints
from stereotalker_core.records import Cameras, Identity, Motion
from stereotalker_core.synthetic.movement.poses import joint_heads, rest_arms
from stereotalker_core.synthetic.people.avatar import make_avatar
from stereotalker_core.synthetic.people.portrait import canonical_cameras
from stereotalker_core.synthetic.people.render import render_avatar, rendered_keypoints

SIZES = [(224, 128), (256, 448), (1024, 576)]  # height, width
FRAMING = canonical_framing(0.6)
POINTS = torch.tensor([[[0.0, -0.1, 0.6], [0.2, 0.0, 0.2], [-0.3, -0.2, 0.4], [0.1, 0.1, 0.75]]])


def pixels(cameras: Cameras) -> torch.Tensor:
    return project(POINTS, cameras.world_to_camera, cameras.intrinsics)[0, :, :2]


@pytest.mark.parametrize("size", SIZES)
def test_the_narrower_side_holds_what_a_square_shows(size):
    """A wide canvas has the square in its middle; a tall one has it at its bottom, where portraits end."""
    rows, columns = size
    side = min(size)
    square = pixels(fixed(FRAMING, 1, 20.0, 4.0, (side, side)))
    offset = torch.tensor([(columns - side) / 2, float(rows - side)])
    torch.testing.assert_close(pixels(fixed(FRAMING, 1, 20.0, 4.0, size)), square + offset, atol=1e-2, rtol=0)


def test_a_framing_that_is_narrower_than_high_fills_a_canvas_of_its_shape():
    tall = replace(FRAMING, width=FRAMING.height / 2)
    matrix = tall.intrinsics((256, 128))
    torch.testing.assert_close(
        matrix, replace(FRAMING).intrinsics((256, 256)) - torch.tensor([[0, 0, 64], [0, 0, 0], [0, 0, 0.0]])
    )
    assert torch.equal(tall.intrinsics((128, 128)), FRAMING.intrinsics((128, 128)))  # and a square as before
    for settings in ({"width": 0.0}, {"width": -1.0}, {"heading": math.nan}):
        with pytest.raises(ValueError, match="a framing needs"):
            Framing((0.0, 0.0, 0.0), 1.0, 1.0, **settings)


@pytest.fixture(scope="module")
def body() -> HalfBody:
    return HalfBody()


@pytest.fixture(scope="module", params=[30.0, -30.0])
def turned(request, body):
    """(degrees to the person's left, what a fit of their portrait gives): the whole body turned before the camera."""
    avatar = make_avatar(body, 4)
    rest = body.rest(avatar.shape[None], avatar.shell[None])
    rotations = rest_arms(joint_heads(body, rest)).clone()
    rotations[:, JOINT_INDEX["root"], 2] += math.radians(request.param)
    cameras = canonical_cameras(body, avatar.shape, torch.zeros(1), 192)
    motion = Motion(rotations, torch.zeros(1, 52))
    drawn = render_avatar(body, avatar, motion, cameras, background=avatar.background((192, 192)), rest=rest)
    names = [body.keypoint_names[i] for i in rendered_keypoints(body)]
    seen = {n: xy for n, xy, v in zip(names, drawn.keypoints[0].tolist(), drawn.visible[0], strict=True) if v}
    identity = fit_portrait(
        body, drawn.rgb[0], make_keypoints(seen), drawn.alpha[0], lifter=Lifter(body, 64), shell_iterations=0
    )
    return request.param, identity


def seen_from(body: HalfBody, identity: Identity, origin: str, yaw: float = 0.0):
    """The person in the portrait's pose -> silhouette (H, W), and where the nose stands beside the ears' middle."""
    framing = framing_for(body, identity, "portrait", origin)
    cameras = orbit(framing, 1, yaw, yaw, 0.0, (192, 192))
    posed = body.pose(
        body.rest(identity.shape[None], identity.shell[None]), identity.rotations[None], identity.expression[None]
    )
    pixel = project(posed.vertices, cameras.world_to_camera, cameras.intrinsics)
    silhouette = rasterize(pixel, body.triangles, (192, 192)).triangle[0] >= 0
    points = project(body.keypoints(posed.vertices, posed.bones), cameras.world_to_camera, cameras.intrinsics)[0]
    at = {name: points[body.keypoint_names.index(name)] for name in ("face.30", "body.left_ear", "body.right_ear")}
    ears = (at["body.left_ear"] + at["body.right_ear"]) / 2
    width = (at["body.left_ear"] - at["body.right_ear"])[:2].norm()
    return silhouette, float((at["face.30"] - ears)[0] / width), cameras


def test_yaw_is_measured_from_the_photograph_or_from_the_body(body, turned):
    degrees, identity = turned
    mask = identity.mask[0] > 0.5
    assert identity.trunk_yaw == pytest.approx(-degrees, abs=9)  # its front is seen from the other side
    own, aside, cameras = seen_from(body, identity, "photo")
    assert float((own & mask).sum() / (own | mask).sum()) > 0.88 and float(cameras.yaw) == 0
    assert aside * degrees > 0 and abs(aside) > 0.3  # a nose turned to the left stands at the right of the picture
    front, straight, cameras = seen_from(body, identity, "body")
    assert abs(straight) < 0.12 and float(cameras.yaw) == pytest.approx(identity.trunk_yaw, abs=1e-3)
    _, straight, cameras = seen_from(body, identity, "photo", identity.trunk_yaw)
    assert abs(straight) < 0.12  # the same camera by its other name


def test_the_bearing_of_a_person_without_a_rest_state_is_the_body_front(body, turned):
    _, identity = turned
    assert identity.literal().trunk_yaw == 0
    joints = [JOINT_INDEX[n] for n in (*SPINE_JOINTS, *HEAD_JOINTS)]
    assert torch.equal(identity.rest_rotations[joints], identity.rotations[joints])
    with pytest.raises(ValueError, match="yaw_origin 'nose'"):
        framing_for(body, identity, yaw_origin="nose")


def test_an_orbit_of_the_body_goes_on_beyond_the_back():
    cameras = orbit(replace(FRAMING, heading=30.0), 5, -180.0, 180.0)
    assert cameras.yaw.tolist() == pytest.approx([-150, -60, 30, 120, -150], abs=1e-3)
