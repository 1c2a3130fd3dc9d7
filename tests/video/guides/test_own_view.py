"""The photograph's own texture of trunk and arms is drawn in its own pose and view, and nowhere else."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from stereotalker_core.body.model import HalfBody
from stereotalker_core.body.rasterize import rasterize
from stereotalker_core.body.texture.lift import lift_unlit
from stereotalker_core.body.texture.portrait_view import Trust
from stereotalker_core.body.texture.texels import Lifter
from stereotalker_core.geometry.projection import intrinsics_for, look_at, project
from stereotalker_core.geometry.skeleton import JOINT_INDEX
from stereotalker_core.records import Cameras, Identity, Motion
from stereotalker_core.video.guides import maps
from stereotalker_core.video.guides.maps import render_guides
from stereotalker_core.video.guides.own_view import nearness, textures

SIZE = (160, 160)
STAIN = torch.tensor([0.9, -0.9, 0.9])


def seen_from(yaw):
    yaw = torch.tensor(yaw)
    target = torch.tensor([0.0, -0.02, 0.42])
    camera = look_at(target, yaw, torch.zeros_like(yaw), torch.full_like(yaw, 2.4))
    return Cameras(camera, intrinsics_for(0.95, 2.4, SIZE), yaw, SIZE)


def still(frames, **turned):
    motion = Motion(torch.zeros(frames, 49, 3), torch.zeros(frames, 52))
    for joint, angle in turned.items():
        motion.rotations[:, JOINT_INDEX[joint.replace("_", ".")], 1] = angle
    return motion


@pytest.fixture(scope="module")
def scene():
    """A registered fit of a picture in which a stain in the colour of nothing lies on a bare forearm."""
    body = HalfBody()
    view = seen_from([0.0])
    posed = body.pose(body.rest(torch.zeros(1, body.n_shape)), torch.zeros(1, 49, 3), torch.zeros(1, 52))
    points = project(posed.vertices, view.world_to_camera, view.intrinsics)
    found = rasterize(points, body.triangles, SIZE)
    part = torch.where(found.triangle[0] >= 0, body.triangle_part[found.triangle[0].clamp_min(0)], -1)
    image = torch.full((3, *SIZE), -0.7)
    for names, colour in ((("torso", "hips"), (-0.5, -0.3, 0.5)), (("face", "neck", "scalp"), (0.45, 0.10, -0.05))):
        image[:, torch.isin(part, torch.tensor([body.part_index[n] for n in names]))] = torch.tensor(colour)[:, None]
    arms = torch.isin(part, torch.tensor([body.part_index[n] for n in ("arm.L", "arm.R", "hand.L", "hand.R")]))
    image[:, arms] = torch.tensor((0.45, 0.10, -0.05))[:, None]
    forearm = posed.bones[:, [body.bone_index["lowerarm01.L"], body.bone_index["wrist.L"]]].mean(1, keepdim=True)
    x, y = project(forearm, view.world_to_camera, view.intrinsics)[0, 0, :2].round().int().tolist()
    image[:, y - 3 : y + 4, x - 3 : x + 4] = STAIN[:, None, None]
    mask = (part >= 0).float()[None]
    camera, lifter = view.world_to_camera[0], Lifter(body, 512)
    lifted = lift_unlit(
        body, image, mask, posed, camera, view.intrinsics, lifter=lifter, trust=Trust(registered=True)
    )
    identity = Identity(
        torch.zeros(body.n_shape), torch.zeros(body.n_vertices), torch.zeros(49, 3), torch.zeros(52), camera,
        view.intrinsics, image, mask, torch.full_like(image, -0.7), lifted.atlas, lifted.visibility,
        light=lifted.light, atlas_layout=2, own_view=lifted.own_view,
    )  # fmt: skip
    return body, identity, view, (y, x)


def reddest(guides, body):
    """The largest likeness to the stain on arms, 0..1."""
    arm = torch.isin(guides.part[0, 0] - 1, torch.tensor([body.part_index[n] for n in ("arm.L", "arm.R")]))
    return float((1 - (guides.lift[0] - STAIN[:, None, None]).abs().amax(0) / 2)[arm].max())


def test_a_stain_on_an_arm_is_seen_in_its_own_view_and_goes_when_the_arm_moves(scene):
    body, identity, view, (y, x) = scene
    own = render_guides(body, identity, still(1), view)
    assert float((own.lift[0, :, y, x] - STAIN).abs().max()) < 0.1
    moved = render_guides(body, identity, still(1, upperarm01_L=0.6), view)
    assert reddest(moved, body) < reddest(own, body) - 0.2
    turned = render_guides(body, identity, still(1), seen_from([30.0]))
    assert reddest(turned, body) < reddest(own, body) - 0.2


def test_far_poses_and_views_are_drawn_as_without_it(scene):
    body, identity, view, _ = scene
    plain = replace(identity, own_view=None)
    for motion, cameras in ((still(1, lowerarm01_R=0.5), view), (still(1), seen_from([-40.0]))):
        ours, theirs = (render_guides(body, person, motion, cameras) for person in (identity, plain))
        assert torch.equal(ours.lift, theirs.lift) and torch.equal(ours.visibility, theirs.visibility)


def test_the_own_pose_has_its_shadows_already(scene):
    """Forearms before the belly are shaded anew in a gesture, and left as photographed in their own pose."""
    body, identity, view, _ = scene
    dark = replace(identity, shadowed=True)
    ours, plain = (render_guides(body, person, still(1), view) for person in (dark, identity))
    assert torch.equal(ours.lift, plain.lift)
    folded = still(1, upperarm01_L=0.8, lowerarm01_L=1.6)
    ours, plain = (render_guides(body, person, folded, view) for person in (dark, identity))
    assert float((plain.lift - ours.lift).max()) > 0.1


def test_loops_and_tensors_draw_the_same_between_both(scene, monkeypatch):
    body, identity, _, _ = scene
    motion, cameras = still(3, lowerarm01_L=0.2), seen_from([0.0, 12.0, 40.0])
    ours = render_guides(body, identity, motion, cameras)
    monkeypatch.setattr(maps, "loops", lambda device: None)
    twin = render_guides(body, identity, motion, cameras)
    torch.testing.assert_close(twin.lift, ours.lift, atol=2e-3, rtol=0)
    torch.testing.assert_close(twin.visibility, ours.visibility, atol=2e-3, rtol=0)


def test_nearness_falls_with_pose_and_view_but_not_with_the_head(scene):
    _, identity, _, _ = scene

    def near(yaw=0.0, **turned):
        return float(nearness(identity, still(1, **turned), seen_from([yaw]))[0])

    assert near() == near(head=0.8) == near(neck01=0.5) == 1
    angles = [near(lowerarm01_L=a) for a in (0.05, 0.15, 0.25, 0.45)]
    assert angles[0] == 1 and angles[-1] == 0 and angles == sorted(angles, reverse=True)
    views = [near(yaw) for yaw in (0.0, 12.0, 20.0, 30.0)]
    assert views[0] == 1 and views[-1] == 0 and 1 > views[1] > views[2] > 0


def test_frames_far_from_the_own_view_keep_their_texture():
    texture = torch.rand(1, 4, 8, 8)
    own = torch.cat([torch.ones(3, 4, 6), torch.full((1, 4, 6), 0.5)])
    first, second, third = textures(texture, own, torch.tensor([0.0, 1.0, 0.5]))
    assert first is None
    expected = texture.clone()
    expected[0, :3, :4, :6] = (texture[0, :3, :4, :6] + 1) / 2
    expected[0, 3, :4, :6] = texture[0, 3, :4, :6].clamp_min(0.5)
    torch.testing.assert_close(second, expected)
    assert torch.equal(third[..., 4:, :], texture[..., 4:, :]) and torch.equal(third[..., 6:], texture[..., 6:])
    assert float((third - texture)[0, :3].abs().max()) <= 0.25 + 1e-6


def test_files_keep_it_and_older_ones_come_without(scene, tmp_path):
    _, identity, _, _ = scene
    identity.save(tmp_path / "new.safetensors")
    replace(identity, own_view=None).save(tmp_path / "old.safetensors")
    assert torch.equal(Identity.load(tmp_path / "new.safetensors").own_view, identity.own_view)
    assert Identity.load(tmp_path / "old.safetensors").own_view is None


def test_it_covers_trunk_and_arms_alone(scene):
    body, identity, _, _ = scene
    lifter = Lifter(body, 512)
    rows, columns = identity.own_view.shape[1:]
    y, x = lifter.texel // 512, lifter.texel % 512
    inside = (y < rows) & (x < columns)
    below = lifter.dressed | lifter.limbs
    assert bool(inside[below].all())
    share = identity.own_view[3, y[inside], x[inside]]
    assert float(share[below[inside]].max()) == 1
    far = F.max_pool2d(torch.zeros(512 * 512).index_fill(0, lifter.texel[below], 1).view(1, 512, 512), 7, 1, 3)
    assert float(identity.own_view[3][far[0, :rows, :columns] == 0].abs().max()) == 0
