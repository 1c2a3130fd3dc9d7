import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.geometry.rotations import axis_angle_to_matrix

BODY = HalfBody()


def random_inputs(batch: int):
    g = torch.Generator().manual_seed(0)
    shape = torch.randn(batch, BODY.n_shape, generator=g)
    rotations = 0.3 * torch.randn(batch, 49, 3, generator=g)
    return BODY.rest(shape), rotations, torch.rand(batch, 52, generator=g)


def test_skinning_matches_a_loop_over_bones():
    rest, rotations, _ = random_inputs(1)
    posed = BODY.pose(rest, rotations)
    local = torch.eye(3).repeat(BODY.n_bones, 1, 1)
    for j, bone in enumerate(BODY.motion_bones.tolist()):
        local[bone] = axis_angle_to_matrix(rotations[0, j])
    vertices = torch.zeros_like(rest.vertices[0])
    for bone in range(BODY.n_bones):
        moved, joint = rest.vertices[0], bone
        while True:  # rotate about every ancestor's rest head, innermost first
            head = rest.bones[0, joint]
            moved = (moved - head) @ local[joint].T + head
            if joint == 0:
                break
            joint = int(BODY.parent[joint])
        vertices += BODY.skin_weights[:, bone, None] * moved
    torch.testing.assert_close(posed.vertices[0], vertices, atol=2e-5, rtol=0)


def test_a_batch_equals_single_bodies():
    rest, rotations, expression = random_inputs(3)
    together = BODY.pose(rest, rotations, expression)
    for i in range(3):
        single = BODY.pose(
            type(rest)(rest.vertices[i : i + 1], rest.bones[i : i + 1]), rotations[i : i + 1], expression[i : i + 1]
        )
        torch.testing.assert_close(together.vertices[i], single.vertices[0], atol=1e-5, rtol=0)


def test_no_rotation_is_the_a_pose():
    rest, rotations, _ = random_inputs(1)
    posed = BODY.pose(rest, torch.zeros_like(rotations))
    torch.testing.assert_close(posed.vertices, rest.vertices, atol=1e-5, rtol=0)


def test_normals_match_a_scatter_of_face_normals():
    vertices = random_inputs(1)[0].vertices
    a, b, c = vertices[0][BODY.triangles].unbind(1)
    total = torch.zeros_like(vertices[0])
    for k in range(3):
        total.index_add_(0, BODY.triangles[:, k], torch.linalg.cross(b - a, c - a))
    expected = total / total.norm(dim=1, keepdim=True).clamp_min(1e-10)
    torch.testing.assert_close(BODY.normals(vertices)[0], expected, atol=1e-3, rtol=0)


def test_keypoints_match_a_loop_and_sit_where_they_should():
    rest = random_inputs(1)[0]
    source, found = torch.cat([rest.vertices, rest.bones], 1)[0], BODY.keypoints(rest.vertices, rest.bones)[0]
    pointer = BODY.keypoint_pointer.tolist()
    for i, (start, end) in enumerate(zip(pointer[:-1], pointer[1:], strict=True)):
        expected = (source[BODY.keypoint_source[start:end]] * BODY.keypoint_weight[start:end, None]).sum(0)
        torch.testing.assert_close(found[i], expected, atol=1e-5, rtol=0)
    assert len(BODY.keypoint_names) == 125
    assert (
        found[BODY.keypoint_index["body.left_shoulder"], 0] > 0 > found[BODY.keypoint_index["body.right_shoulder"], 0]
    )


def test_masks_lie_on_their_parts():
    part = BODY.triangle_part == BODY.part_index["lips"]
    pixel = (BODY.uv[BODY.uv_triangles].mean(1) * 256).long().clamp(0, 255)
    value = BODY.lips_mask[pixel[:, 1], pixel[:, 0]]
    assert value[part].mean() > 0.8 and value[~part].mean() < 0.02


def test_the_mean_body_is_its_own_mirror_image():
    flipped = BODY.mean * torch.tensor([-1.0, 1.0, 1.0])
    assert (flipped[BODY.mirror] - BODY.mean).norm(dim=1).max() < 2e-3  # 1500 random identities average to that
    # a few vertices of the tongue and the teeth lie almost on each other, so a match need not be unique there
    assert (BODY.mirror[BODY.mirror] == torch.arange(BODY.n_vertices)).float().mean() > 0.99
    assert (BODY.bone_mean[:, 0].sum()).abs() < 1e-2
    left = [i for i, n in enumerate(BODY.bone_names) if n.endswith(".L")]
    right = [BODY.bone_index[BODY.bone_names[i][:-1] + "R"] for i in left]
    mirrored = BODY.bone_mean[left] * torch.tensor([-1.0, 1.0, 1.0])
    assert len(left) > 25 and (mirrored - BODY.bone_mean[right]).norm(dim=1).max() < 2e-3


def test_the_chest_is_smooth():
    """A person in clothes has no nipples; each left a ring in the cloth of a photograph."""
    body = HalfBody()
    normal = body.normals(body.rest(torch.zeros(1, body.n_shape)).vertices)[0]
    near = ((body.mean - body.mean.new_tensor([0.105, -0.138, 0.3525])).norm(dim=1) < 0.012).nonzero().squeeze(1)
    assert len(near) > 30
    assert float((normal[near] @ normal[near].T).min()) > 0.95  # 18 degrees over 2 cm
