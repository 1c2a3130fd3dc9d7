"""The deferred renderer against plain twins, and its maps against each other."""

import pytest
import torch

from stereotalker_core.body.rasterize import interpolate, interpolate_covered, rasterize
from stereotalker_core.geometry.projection import project
from stereotalker_core.records import Motion
from stereotalker_core.synthetic.people import render
from stereotalker_core.synthetic.people.performance import random_motion
from stereotalker_core.synthetic.people.portrait import canonical_cameras

SIZE = 64


@pytest.fixture(scope="module")
def scene(half_body, avatar, heads):
    motion = random_motion(half_body, heads, 3, torch.Generator().manual_seed(2))
    cameras = canonical_cameras(half_body, avatar.shape, torch.tensor([-50.0, 0.0, 70.0]), SIZE)
    return motion, cameras, render.render_avatar(half_body, avatar, motion, cameras)


def test_shapes_and_ranges(scene):
    frames = scene[2]
    assert frames.rgb.shape == (3, 3, SIZE, SIZE) and frames.alpha.shape == (3, 1, SIZE, SIZE)
    assert frames.region.shape == (3, SIZE, SIZE) and frames.keypoints.shape == (3, 125, 2)
    assert frames.rgb.abs().max() <= 1 and 0.1 < frames.alpha.mean() < 0.8


def test_region_agrees_with_alpha(scene):
    frames = scene[2]
    assert (frames.region[frames.alpha[:, 0] == 1] > 0).all()
    assert (frames.region[frames.alpha[:, 0] == 0] == 0).all()
    assert set(frames.region.unique().tolist()) == {0, 1, 2, 3}


def test_background_shows_where_nobody_is(scene):
    frames = scene[2]
    outside = (frames.alpha == 0).expand_as(frames.rgb)
    assert torch.equal(frames.rgb[outside], frames.background.expand_as(frames.rgb)[outside])


def test_seen_keypoints_lie_on_the_drawn_body(scene):
    frames = scene[2]
    for t in range(len(frames.rgb)):
        seen = frames.keypoints[t][frames.visible[t]].long()
        near = torch.nn.functional.max_pool2d(frames.alpha[t], 3, 1, 1)[0]
        assert len(seen) > 25
        assert (near[seen[:, 1], seen[:, 0]] > 0).float().mean() > 0.97


def test_profile_hides_the_far_eye(half_body, avatar):
    cameras = canonical_cameras(half_body, avatar.shape, torch.tensor([0.0, 90.0, -90.0]), SIZE)
    motion = Motion(torch.zeros(3, 49, 3), torch.zeros(3, 52))
    seen = render.render_avatar(half_body, avatar, motion, cameras).visible
    names = [half_body.keypoint_names[i] for i in render.rendered_keypoints(half_body)]
    right, left = names.index("iris.R"), names.index("iris.L")
    assert seen[:, right].tolist() == [True, True, False]  # positive yaw looks at the subject's right side
    assert seen[:, left].tolist() == [True, False, True]


def test_render_is_deterministic_and_frames_are_independent(half_body, avatar, scene):
    motion, cameras, frames = scene
    alone = render.render_avatar(half_body, avatar, motion[1:2], cameras[1:2])
    assert ((alone.rgb[0] - frames.rgb[1]).abs() > 1e-3).float().mean() < 0.002  # another batch
    assert torch.equal(render.render_avatar(half_body, avatar, motion, cameras).rgb, frames.rgb)


def test_surface_gather_equals_interpolate(half_body, avatar, scene):
    motion, cameras, _ = scene
    posed = half_body.pose(half_body.rest(avatar.shape[None]), motion.rotations)
    pixels = project(posed.vertices, cameras.world_to_camera, cameras.intrinsics)
    fragments = rasterize(pixels, half_body.triangles, cameras.size)
    values = torch.randn(3, len(half_body.uv), 4, generator=torch.Generator().manual_seed(0))
    inside = (fragments.triangle >= 0).flatten().nonzero()[:, 0]
    fast = interpolate_covered(values, half_body.uv_triangles, fragments, inside)
    plain = interpolate(values, half_body.uv_triangles, fragments).view(-1, 4)[inside]
    torch.testing.assert_close(fast, plain, atol=1e-5, rtol=1e-5)


def test_vote_equals_bincount(rng):
    label = torch.randint(0, 4, (2, 8, 6), generator=rng).to(torch.uint8)
    voted = render._vote(label, 2)
    for t in range(2):
        for y in range(4):
            for x in range(3):
                block = label[t, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2].flatten().long()
                assert voted[t, y, x] == torch.bincount(block, minlength=4).argmax()


def test_bad_input_is_named(half_body, avatar, scene):
    motion, cameras, _ = scene
    with pytest.raises(ValueError, match="they must agree"):
        render.render_avatar(half_body, avatar, motion[:1], cameras)
    with pytest.raises(ValueError, match="supersample"):
        render.render_avatar(half_body, avatar, motion, cameras, supersample=9)
