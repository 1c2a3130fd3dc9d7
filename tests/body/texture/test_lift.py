import pytest
import torch
import torch.nn.functional as F

from stereotalker_core.body.model import HalfBody
from stereotalker_core.body.rasterize import interpolate, rasterize
from stereotalker_core.body.texture.lift import lift_portrait, spread
from stereotalker_core.body.texture.portrait_view import PortraitView, Trust
from stereotalker_core.body.texture.texels import Lifter
from stereotalker_core.geometry.projection import intrinsics_for, look_at, project
from stereotalker_core.pixels.inpaint_places import push_pull

SIZE = (160, 160)


@pytest.fixture(scope="module")
def scene():
    body = HalfBody()
    posed = body.pose(body.rest(torch.zeros(1, body.n_shape)), torch.zeros(1, 49, 3), torch.zeros(1, 52))
    target = torch.tensor([0.0, -0.02, float(body.bone_mean[body.bone_index["head"], 2]) - 0.21])
    camera = look_at(target, torch.tensor([12.0]), torch.zeros(1), torch.full((1,), 2.4))[0]
    intrinsics = intrinsics_for(0.86, 2.4, SIZE)
    pixels = project(posed.vertices, camera[None], intrinsics)
    fragments = rasterize(pixels, body.triangles, SIZE)
    generator = torch.Generator().manual_seed(0)
    image = F.interpolate(torch.rand(1, 3, 20, 20, generator=generator), SIZE, mode="bicubic")[0].clamp(0, 1) * 2 - 1
    mask = (fragments.depth > 0).float()
    lifter = Lifter(body, 256)
    atlas, visibility = lift_portrait(body, image, mask, posed, camera, intrinsics, lifter=lifter)
    return body, posed, camera, intrinsics, fragments, image, mask, lifter, atlas, visibility


def test_texel_map_matches_its_plain_definition(scene):
    body, lifter = scene[0], scene[7]
    rows = torch.arange(0, len(lifter.texel), 997)
    y, x = torch.div(lifter.texel[rows], 256, rounding_mode="floor"), lifter.texel[rows] % 256
    triangle = {tuple(t): i for i, t in enumerate(body.triangles.tolist())}
    for k, corner in enumerate(lifter.corners[rows].tolist()):
        uv = body.atlas_uv[body.uv_triangles[triangle[tuple(corner)]]]
        at = (uv * lifter.weight[rows[k]][:, None]).sum(0) * 256
        assert abs(float(at[0]) - float(x[k]) - 0.5) < 0.02 and abs(float(at[1]) - float(y[k]) - 0.5) < 0.02


def test_seen_pixels_come_back(scene):
    body, _, _, _, fragments, image, _, _, atlas, visibility = scene
    uv = interpolate(body.atlas_uv, body.uv_triangles, fragments) * 2 - 1
    again = F.grid_sample(torch.cat([atlas, visibility])[None], uv, align_corners=False)[0]
    seen = again[3] > 0.95
    assert float(seen.float().sum()) > 0.6 * float((fragments.depth > 0).sum())
    error = (again[:3] - image)[:, seen].square().mean() / 4
    assert -10 * torch.log10(error) > 30


def test_back_is_unseen_and_everything_is_filled(scene):
    body, lifter, atlas, visibility = scene[0], scene[7], scene[8], scene[9]
    normal = body.normals(body.mean[None])[0]
    facing = (normal[lifter.corners] * lifter.weight[..., None]).sum(1)[:, 1]  # +y is the back
    flat = visibility.flatten()[lifter.texel]
    assert float(flat[facing > 0.9].max()) == 0
    assert bool(torch.isfinite(atlas).all()) and float(atlas.abs().max()) <= 1
    teeth = lifter.part == body.part_index["teeth.up"]
    assert float(flat[teeth].max()) == 0


def test_outside_of_the_mask_nothing_is_seen(scene):
    body, posed, camera, intrinsics, _, image, mask, lifter, _, _ = scene
    half = mask.clone()
    half[:, :, : SIZE[1] // 2] = 0
    _, visibility = lift_portrait(body, image, half, posed, camera, intrinsics, lifter=lifter)
    point = (posed.vertices[0][lifter.corners] * lifter.weight[..., None]).sum(1)
    x = project(point[None], camera[None], intrinsics)[0, :, 0]
    assert float(visibility.flatten()[lifter.texel][x < SIZE[1] / 2 - 1].max()) == 0


def test_holes_look_like_the_surface_beside_them(scene):
    body, posed, camera, intrinsics, fragments, _, mask, lifter, _, _ = scene
    arm = torch.isin(body.triangle_part, torch.tensor([body.part_index["arm.L"], body.part_index["arm.R"]]))
    red = (fragments.triangle >= 0) & arm[fragments.triangle]
    image = torch.where(red, torch.tensor([1.0, -1, -1])[:, None, None], torch.tensor([-1.0, -1, 1])[:, None, None])
    atlas, visibility = lift_portrait(body, image, mask, posed, camera, intrinsics, lifter=lifter)
    colour, seen = atlas.flatten(1)[:, lifter.texel], visibility.flatten()[lifter.texel]
    hidden = seen == 0
    assert float(colour[0, hidden & (lifter.part == body.part_index["arm.L"])].mean()) > 0.3
    assert float(colour[2, hidden & (lifter.part == body.part_index["scalp"])].mean()) > 0.9


def test_vertices_between_parts_belong_to_the_higher_one():
    """Several triangles claim such a vertex; with a plain indexed write the threads decide, and files differ."""
    body = HalfBody()
    part = torch.zeros(body.n_vertices, dtype=torch.long)
    for triangle, label in zip(body.triangles.tolist(), body.triangle_part.tolist(), strict=True):
        for vertex in triangle:
            part[vertex] = max(part[vertex], label)
    names = len(body.part_names)
    found = Lifter(body, 64).likeness[:, 6 : 6 + names].argmax(1)
    assert torch.equal(found, part)


def test_untrusted_hands_take_the_colour_of_the_face(scene):
    body, posed, camera, intrinsics, fragments, _, mask, lifter, _, _ = scene
    face = torch.tensor([body.part_index[n] for n in ("face", "lips", "eyesocket")])
    skin = (fragments.triangle >= 0) & torch.isin(body.triangle_part, face)[fragments.triangle]
    image = torch.where(skin, 1.0, -1.0).expand(3, -1, -1)
    atlas, _ = lift_portrait(body, image, mask, posed, camera, intrinsics, lifter=lifter, trust=Trust(hands=False))
    assert float(atlas.flatten(1)[:, lifter.texel][:, lifter.hands].mean()) > 0.6


def test_large_portrait_gives_the_same_texture(scene):
    body, posed, camera, _, _, image, mask, lifter, atlas, _ = scene
    big = F.interpolate(torch.cat([image, mask])[None], scale_factor=8.0, mode="bilinear", align_corners=False)[0]
    intrinsics = intrinsics_for(0.86, 2.4, (1280, 1280))
    other, seen = lift_portrait(body, big[:3], big[3:], posed, camera, intrinsics, lifter=lifter)
    both = (seen[0] > 0.95) & (scene[9][0] > 0.95)
    assert float(both.float().mean()) > 0.05
    assert float((other - atlas).abs()[:, both].mean()) < 0.03


def test_push_pull_keeps_known_values_and_fills_smoothly():
    values, weight = torch.zeros(1, 1, 13, 17), torch.zeros(1, 1, 13, 17)
    values[..., :4, :], weight[..., :4, :] = 1.0, 1.0
    values[..., -3:, :], weight[..., -3:, :] = 3.0, 1.0
    out = push_pull(values, weight)
    assert torch.equal(out[..., :4, :], values[..., :4, :])
    assert 1.0 < float(out[0, 0, 7, 8]) < 3.0


def test_bad_sizes_are_refused(scene):
    body, posed, camera, intrinsics, _, image, mask, lifter, _, _ = scene
    with pytest.raises(ValueError, match="atlas size"):
        Lifter(body, 8)
    with pytest.raises(ValueError, match="expected"):
        lift_portrait(body, image, mask[:, :10], posed, camera, intrinsics, lifter=lifter)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_runs_on_cuda(scene):
    _, posed, camera, intrinsics, _, image, mask, _, atlas, _ = scene
    body = HalfBody().cuda()
    moved = type(posed)(posed.vertices.cuda(), posed.bones.cuda(), posed.rotations.cuda())
    out, _ = lift_portrait(body, image.cuda(), mask.cuda(), moved, camera.cuda(), intrinsics.cuda(), size=256)
    assert float((out.cpu() - atlas).abs().mean()) < 0.01


def test_the_head_is_trusted_by_degrees(scene):
    """Where it turns away from the camera, hair and background are beside it; the torso has no such neighbours."""
    body, posed, camera, _, _, _, _, lifter, _, visibility = scene
    eye = -(camera[:3, :3].T @ camera[:3, 3])
    corners, weight = lifter.corners, lifter.weight[..., None]
    normal, point = ((x[0][corners] * weight).sum(1) for x in (body.normals(posed.vertices), posed.vertices))
    facing = F.cosine_similarity(normal, eye - point)
    seen = visibility.flatten()[lifter.texel]
    oblique = (facing > 0.30) & (facing < 0.36) & (seen > 0)
    face, torso = (oblique & (lifter.part == body.part_index[name]) for name in ("face", "torso"))
    assert 0.3 < float(seen[face].median()) < 0.7 and float(seen[torso].median()) > 0.95
    frontal = (facing > 0.65) & (lifter.part == body.part_index["face"])
    assert float(seen[frontal].median()) > 0.95


def test_weights_of_the_next_texel_follow_from_this_ones(scene):
    lifter = scene[7]
    weight = torch.full((256 * 256, 3), float("nan")).index_copy(0, lifter.texel, lifter.weight).view(256, 256, 3)
    corners = torch.full((256 * 256, 3), -1).index_copy(0, lifter.texel, lifter.corners).view(256, 256, 3)
    across = torch.zeros(256 * 256, 2, 3).index_copy(0, lifter.texel, lifter.across).view(256, 256, 2, 3)
    for axis in (0, 1):
        here, there = (slice(None, -1), slice(1, None))
        here, there = ((slice(None), s) if axis == 0 else (s, slice(None)) for s in (here, there))
        same = (corners[here] == corners[there]).all(-1) & (corners[here][..., 0] >= 0)
        assert int(same.sum()) > 5000
        assert float((weight[here] + across[here][:, :, axis] - weight[there]).abs()[same].max()) < 1e-5


def test_large_texels_are_means_over_their_area(scene):
    """The plain twin: a fine chequered picture looked up at nine points of every texel, one by one."""
    body, posed, camera, intrinsics, _, image, mask, lifter = scene[:8]
    rows, columns = torch.meshgrid(torch.arange(320), torch.arange(320), indexing="ij")
    chequered = (((rows // 2 + columns // 3) % 2).float() * 2 - 1).expand(3, -1, -1)
    double = intrinsics * torch.tensor([2.0, 2.0, 1.0])[:, None]
    large = F.interpolate(mask[None], (320, 320))[0]
    view = PortraitView(body, chequered, large, posed, camera, double, Trust(registered=True))
    told = (lifter.corners, lifter.weight)
    colour, seen = view.sample(*told)
    found = view.means(colour, seen, *told, lifter.across)
    total = torch.zeros_like(colour)
    for x in (-1 / 3, 0.0, 1 / 3):
        for y in (-1 / 3, 0.0, 1 / 3):
            moved = lifter.weight + x * lifter.across[:, 0] + y * lifter.across[:, 1]
            total += view.sample(lifter.corners, moved)[0] / 9
    changed = (found != colour).any(1)
    assert float(changed[seen > 0.5].float().mean()) > 0.2 and not bool(changed[seen == 0].any())
    near = view.place(*told)[1] > 0.3  # at grazing angles perspective bends the steps
    assert float((found - total).abs()[changed & near].mean()) < 0.05
    assert float(found[changed].std()) < 0.8 * float(colour[changed].std())  # what was black or white is grey


def test_the_own_view_goes_on_a_little_beyond_its_edges():
    """Half-seen texels of another colour at an edge take the colour beside them; far ones are not told."""
    own, told = torch.full((3, 40, 40), 0.9), torch.zeros(1, 40, 40)
    own[:, :, :20], told[:, :, :20] = -0.5, 1.0
    own[:, :, 20], told[:, :, 20] = 0.3, 0.4
    colour, known = spread(own, told)
    assert torch.allclose(colour[:, :, :23], torch.tensor(-0.5), atol=1e-4)
    assert torch.equal(colour[:, :, 23:], own[:, :, 23:])
    assert bool((known[:, :, :23] == 1).all()) and not bool(known[:, :, 23:].any())
