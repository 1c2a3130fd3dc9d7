from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from stereotalker_core.body.fine_mesh import usual_fine_mesh
from stereotalker_core.body.model import HalfBody
from stereotalker_core.body.rasterize import interpolate, rasterize
from stereotalker_core.body.texture.lift import lift_portrait
from stereotalker_core.body.texture.texels import Lifter
from stereotalker_core.checkpoint import save_tensors
from stereotalker_core.geometry.projection import intrinsics_for, look_at, project
from stereotalker_core.geometry.skeleton import JOINT_INDEX
from stereotalker_core.records import Cameras, Identity, Motion
from stereotalker_core.video.guides import maps as guides
from stereotalker_core.video.guides.maps import background_plate, guide_tensor, render_guides
from stereotalker_core.video.guides.skeleton_drawing import draw_skeleton


def cameras(body, yaw, size, height=0.86, distance=2.4):
    target = torch.tensor([0.0, -0.02, float(body.bone_mean[body.bone_index["head"], 2]) - 0.21])
    yaw = torch.as_tensor(yaw)
    matrix = look_at(target, yaw, torch.zeros_like(yaw), torch.full_like(yaw, distance))
    return Cameras(matrix, intrinsics_for(height, distance, size), yaw, size)


@pytest.fixture(scope="module")
def scene():
    body = HalfBody()
    size = (128, 128)
    view = cameras(body, [8.0], size)
    shell = 0.01 * torch.ones(body.n_vertices)
    posed = body.pose(body.rest(torch.zeros(1, body.n_shape), shell[None]), torch.zeros(1, 49, 3), torch.zeros(1, 52))
    depth = rasterize(project(posed.vertices, view.world_to_camera, view.intrinsics), body.triangles, size).depth
    generator = torch.Generator().manual_seed(1)
    image = F.interpolate(torch.rand(1, 3, 16, 16, generator=generator), size, mode="bilinear")[0] * 2 - 1
    mask = (depth > 0).float()
    camera = view.world_to_camera[0]
    atlas, seen = lift_portrait(body, image, mask, posed, camera, view.intrinsics, lifter=Lifter(body, 256))
    identity = Identity(
        torch.zeros(body.n_shape), shell, torch.zeros(49, 3), torch.zeros(52), camera, view.intrinsics, image, mask,
        image.clone(), atlas, seen, atlas_layout=2,
    )  # fmt: skip
    return body, identity, view


def still(frames):
    return Motion(torch.zeros(frames, 49, 3), torch.zeros(frames, 52))


def test_own_camera_gives_the_portrait_back(scene):
    body, identity, view = scene
    guides = render_guides(body, identity, still(1), view)
    inside = guides.part[0, 0] > 0
    drawn = identity.mask[0] > 0
    assert float((inside & drawn).sum() / (inside | drawn).sum()) > 0.98
    seen = guides.visibility[0, 0] > 0.95
    error = (guides.lift[0] - identity.portrait)[:, seen].square().mean() / 4
    assert -10 * torch.log10(error) > 30
    outside = ~inside & (F.max_pool2d(drawn.float()[None], 3, 1, 1)[0] == 0)
    assert torch.allclose(guides.lift[0][:, outside], identity.background[:, outside], atol=1e-3)
    assert float(guides.visibility[0, 0][~inside].abs().max()) == 0


def test_both_atlas_layouts_show_the_same_person(scene, tmp_path):
    """An atlas in the mesh's own layout, as files of version 0.1 hold it, drawn where its triangles lie."""
    body, identity, view = scene
    side = 512
    corners = torch.cat([body.uv * side, torch.ones_like(body.uv[:, :1])], 1)[None]
    own = rasterize(corners, body.uv_triangles, (side, side), cull=False)
    at = interpolate(body.atlas_uv, body.uv_triangles, own)
    both = F.grid_sample(torch.cat([identity.atlas, identity.visibility])[None], at * 2 - 1, align_corners=False)[0]
    first = replace(identity, atlas=both[:3], visibility=both[3:], atlas_layout=1)
    first.save(tmp_path / "person.safetensors")
    guides, again = (
        render_guides(body, one, still(1), view) for one in (identity, Identity.load(tmp_path / "person.safetensors"))
    )
    inside = guides.part[0, 0] > 0
    assert float((guides.lift - again.lift)[0][:, inside].abs().mean()) < 0.05
    wrong = render_guides(body, replace(first, atlas_layout=2), still(1), view)
    assert float((guides.lift - wrong.lift)[0][:, inside].abs().mean()) > 0.15


def test_a_file_of_version_0_1_loads_and_renders(scene, tmp_path):
    """It lacks the layout, the light and the rest state, and its shell lies along the normals."""
    body, identity, view = scene
    old = ("shape", "shell", "rotations", "expression", "world_to_camera", "intrinsics", "portrait", "mask")
    tensors = {name: getattr(identity, name) for name in (*old, "background", "atlas", "visibility")}
    save_tensors(tensors, {"record": "Identity", "values": {"quality": 0.7}}, tmp_path / "old.safetensors")
    found = Identity.load(tmp_path / "old.safetensors")
    assert found.atlas_layout == 1 and found.light is None and found.rest_expression is None and found.quality == 0.7
    motion = still(2)
    assert found.performed(motion) is motion
    assert bool(torch.isfinite(render_guides(body, found, motion[:1], view).lift).all())


def test_a_motion_is_added_to_the_rest_state(scene):
    """A smile in the portrait stays; a literal person shows the motion as it is."""
    body, identity, view = scene
    smile, nod = torch.zeros(52), torch.zeros(49, 3)
    smile[body.expression_index["mouthSmileLeft"]] = 0.9
    nod[JOINT_INDEX["head"], 2] = 0.3
    person = replace(identity, rest_expression=smile, expression_gain=torch.ones(52), rest_rotations=nod)
    shown = render_guides(body, person, still(1), view)
    meant = render_guides(body, identity, Motion(nod[None], smile[None]), view)
    assert torch.equal(shown.lift, meant.lift) and torch.equal(shown.part, meant.part)
    plain = render_guides(body, person.literal(), still(1), view)
    assert torch.equal(plain.lift, render_guides(body, identity, still(1), view).lift)
    assert not torch.equal(plain.lift, shown.lift)


def test_edges_are_the_mean_of_their_samples(scene):
    """The plain twin: every pixel drawn as two by two pixels of a canvas of twice the size, without supersampling."""
    body, identity, view = scene
    even = replace(identity, atlas=torch.ones_like(identity.atlas), background=-torch.ones_like(identity.background))
    scale = torch.tensor([2.0, 2.0, 1.0])[:, None]
    posed = body.pose(body.rest(identity.shape[None], identity.shell[None]), torch.zeros(1, 49, 3), torch.zeros(1, 52))
    mesh = usual_fine_mesh(body, "cpu")
    vertices, _ = mesh.points(posed.vertices, body.normals(posed.vertices))
    points = project(vertices, view.world_to_camera, view.intrinsics * scale)
    covered = (rasterize(points, mesh.triangles, (256, 256)).triangle >= 0).float()
    share = F.avg_pool2d(covered[:, None], 2)
    guides = render_guides(body, even, still(1), view)
    # two drawings: a sample on an outline may fall to either side
    assert ((guides.lift[:, :1] - (2 * share - 1)).abs() > 1e-4).float().mean() < 0.001
    sure = (share < 0.26) | (share > 0.74)
    assert ((guides.part > 0)[sure] == (share > 0.5)[sure]).float().mean() > 0.999


def test_normals_face_the_camera_and_are_units(scene):
    body, identity, _ = scene
    guides = render_guides(body, identity, still(3), cameras(body, [-60.0, 0.0, 60.0], (128, 128)))
    inside = guides.part[:, 0] > 0
    length = guides.normal.norm(dim=1)
    assert torch.allclose(length[inside], torch.ones(()), atol=1e-4) and float(length[~inside].max()) == 0
    assert float(guides.normal[:, 2][inside].median()) > 0.4
    top = guides.normal[1, 1][inside[1]]  # y up: the first covered row is the top of the head
    rows = inside[1].nonzero()[:, 0]
    assert float(top[rows <= rows.min() + 1].mean()) > 0.5


def test_left_is_left(scene):
    body, identity, _ = scene
    guides = render_guides(body, identity, still(1), cameras(body, [0.0], (128, 128)))
    label = guides.part[0, 0].long()
    left = (label == 1 + body.part_index["arm.L"]).nonzero()[:, 1].float().mean()
    right = (label == 1 + body.part_index["arm.R"]).nonzero()[:, 1].float().mean()
    assert left > right  # the person's left is on the right of the picture


def test_chunks_do_not_show(scene):
    body, identity, _ = scene
    views = cameras(body, torch.linspace(-30, 30, 10).tolist(), (64, 64))
    whole = render_guides(body, identity, still(10), views)
    single = render_guides(body, identity, still(1), views[9:10])
    assert (whole.part[9] == single.part[0]).float().mean() > 0.999
    assert ((whole.normal[9] - single.normal[0]).abs() > 1e-3).float().mean() < 0.001


def test_guide_tensor_equals_its_plain_twin(scene):
    body, identity, _ = scene
    guides = render_guides(body, identity, still(2), cameras(body, [0.0, 40.0], (64, 64)))
    tensor = guide_tensor(guides)
    assert tensor.shape == (2, 131, 16, 16)
    maps = torch.cat([guides.lift, guides.normal, guides.visibility * 2 - 1], 1)
    for c, y, x, frame in ((0, 3, 5, 0), (4, 10, 8, 1), (6, 15, 0, 1)):
        block = maps[frame, c, 4 * y : 4 * y + 4, 4 * x : 4 * x + 4].flatten()
        assert torch.equal(tensor[frame, 16 * c : 16 * c + 16, y, x], block)
    hot = F.one_hot(guides.part[:, 0].long(), 19).permute(0, 3, 1, 2).float()
    assert torch.allclose(tensor[:, 112:], F.avg_pool2d(hot, 4), atol=1e-6)
    with pytest.raises(ValueError, match="divisible"):
        guide_tensor(render_guides(body, identity, still(1), cameras(body, [0.0], (62, 64))))


def test_background_follows_the_similarity(scene):
    body, identity, _ = scene
    half = cameras(body, [0.0], (128, 128), height=0.43)  # twice as close
    plate = background_plate(identity, half)
    middle = identity.background[:, 32:96, 32:96]
    again = F.interpolate(plate[None], (64, 64), mode="area")[0]
    assert float((again - middle)[:, 2:-2, 2:-2].abs().mean()) < 0.02
    wide = background_plate(identity, cameras(body, [30.0], (128, 256), height=1.2))
    assert wide.shape == (3, 128, 256) and bool(torch.isfinite(wide).all()) and float(wide.abs().max()) <= 1
    turned = background_plate(identity, cameras(body, [70.0], (128, 128)))
    straight = background_plate(identity, cameras(body, [0.0], (128, 128)))
    assert torch.allclose(turned, straight, atol=1e-3)  # static: the wall does not turn with the camera


def test_lengths_must_agree(scene):
    body, identity, view = scene
    with pytest.raises(ValueError, match="agree"):
        render_guides(body, identity, still(2), view)


def test_skeleton_is_drawn_at_the_joints(scene):
    body, identity, _ = scene
    view = cameras(body, [0.0], (128, 128))
    posed = body.pose(body.rest(identity.shape[None]), torch.zeros(1, 49, 3))
    picture = draw_skeleton(body, posed, view)
    assert picture.shape == (1, 3, 128, 128) and float(picture.min()) == -1
    at = project(body.keypoints(posed.vertices, posed.bones), view.world_to_camera, view.intrinsics)[0]
    x, y = at[body.keypoint_index["body.left_shoulder"], :2].long().tolist()
    assert float(picture[0, :, y, x].max()) > 0
    assert float(picture[0, :, 2, 2].max()) == -1


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_runs_on_cuda(scene):
    body, identity, view = scene
    moved = replace(view.to("cuda"), size=view.size)
    motion = still(1).to("cuda")
    guides = render_guides(HalfBody().cuda(), identity.to("cuda"), motion, moved)
    same = render_guides(body, identity, still(1), view)
    assert float((guides.lift.cpu() - same.lift).abs().mean()) < 0.01
    assert guide_tensor(guides).device.type == "cuda"


@pytest.mark.parametrize("shadowed", [True, False])
@pytest.mark.parametrize("light", [True, False])
def test_maps_by_tensors_are_means_over_the_finer_picture(scene, monkeypatch, light, shadowed):
    body, identity, view = scene
    monkeypatch.setattr(guides, "loops", lambda device: None)
    person = replace(identity, light=torch.tensor([0.4, -0.5, 0.3, 0.5]) if light else None, shadowed=shadowed)
    fine = replace(view, intrinsics=view.intrinsics * torch.tensor([2.0, 2.0, 1.0])[:, None], size=(256, 256))
    plate = background_plate(person, view)
    skin = guides.skin_of(body, person, view, plate)
    once = guides.skin_of(body, person, fine, F.interpolate(plate[None], scale_factor=2)[0])
    found = render_guides(body, person, still(1), view, skin=skin)
    monkeypatch.setattr(guides, "SAMPLES", 1)
    finer = render_guides(body, person, still(1), fine, skin=once)
    torch.testing.assert_close(found.lift, F.avg_pool2d(finer.lift, 2), atol=1e-4, rtol=0)
    seen = F.avg_pool2d(finer.visibility, 2) * (found.part > 0)
    torch.testing.assert_close(found.visibility, seen, atol=1e-3, rtol=0)
    turned = F.normalize(F.avg_pool2d(finer.normal, 2), dim=1) * (found.part > 0)
    torch.testing.assert_close(found.normal, turned, atol=1e-3, rtol=0)


def test_whoever_is_not_in_the_picture_leaves_the_background(scene, monkeypatch):
    body, identity, view = scene
    monkeypatch.setattr(guides, "loops", lambda device: None)
    away = view.world_to_camera.clone()
    away[:, 0, 3] += 100.0
    plate = background_plate(identity, view)
    skin = guides.skin_of(body, identity, view, plate)
    found = render_guides(body, identity, still(1), replace(view, world_to_camera=away), skin=skin)
    assert torch.equal(found.lift[0], plate)
    assert not found.part.any() and not found.normal.any() and not found.visibility.any() and not found.depth.any()


@pytest.mark.parametrize("light", [True, False])
def test_shadows_darken_the_same_by_loops_and_by_tensors(scene, monkeypatch, light):
    """A forearm is laid before the belly: the compiled loop and its twin darken the trunk alike, and only it."""
    body, identity, view = scene
    folded = still(1)
    for joint, turn in (("upperarm01.L", 0.8), ("lowerarm01.L", 1.6)):
        folded.rotations[0, JOINT_INDEX[joint], 1] = turn
    person = replace(identity, light=torch.tensor([0.4, -0.5, 0.3, 0.5]) if light else None)
    plain = render_guides(body, person, folded, view)
    dark = render_guides(body, replace(person, shadowed=True), folded, view)
    change = (plain.lift - dark.lift)[0].mean(0)
    trunk = plain.part[0, 0] == 1 + body.part_index["torso"]
    assert float(change[trunk].max()) > 0.1
    assert float(change[plain.part[0, 0] == 1 + body.part_index["face"]].abs().max()) < 0.01
    monkeypatch.setattr(guides, "loops", lambda device: None)
    twin = render_guides(body, replace(person, shadowed=True), folded, view)
    torch.testing.assert_close(twin.lift, dark.lift, atol=2e-3, rtol=0)
