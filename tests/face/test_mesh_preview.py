"""Pictures of a FLAME-like mesh: where things appear, what moves, which faces it can show."""

import pytest
import torch
from flame_like import RINGS, SIDES, head

from stereotalker_core.face.arkit_map import fit_map, layout_map
from stereotalker_core.face.layout import Face
from stereotalker_core.face.mesh_preview import flame_parameters, mesh_frames, vertex_normals
from stereotalker_core.geometry.projection import intrinsics_for, look_at, project


def seen(frames):
    """(T, H, W) where the mesh is, in front of the light ground."""
    return (frames - 0.86).abs().amax(1) > 0.01


def others(a, b):
    """The share of values that differ by more than rounding.

    Another batch is another matrix product, and one pixel of an outline may go to the neighbouring triangle. Measured
    with the kernels for four kinds of processor: 0, and at most 4e-6 between the values.
    """
    return float(((a - b).abs() > 1e-4).float().mean())


def test_the_picture_is_upright_framed_and_shaded():
    flame = head()
    (frames,) = mesh_frames(flame, torch.zeros(1, 3, 53), 96)
    assert frames.shape == (3, 3, 96, 96) and frames.min() >= -1 and frames.max() <= 1
    mask = seen(frames)[0]
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    assert 80 < len(rows) < 96 and 50 < len(columns) < 75  # 0.24 m high, 0.16 m wide
    assert abs(float(rows.float().mean()) - 47.5) < 3 and abs(float(columns.float().mean()) - 47.5) < 2
    inside = frames[0, 0][mask]
    assert inside.std() > 0.05 and others(frames[0], frames[2]) < 0.002
    tall = head()
    tall.template[:, 1] += 0.1 * (tall.template[:, 1] > 0.11)  # a hat: the top of the head is at the top
    (hat,) = mesh_frames(tall, torch.zeros(1, 1, 53), 96)
    assert seen(hat)[0, :20].float().mean() < 0.5 * seen(hat)[0, -20:].float().mean()


def test_yaw_turns_as_everywhere_else():
    flame = head()
    nose = RINGS // 2 * SIDES
    flame.template[nose, 2] += 0.15  # long, and the picture is centred on head and nose together
    x, y, z = flame.template[nose]
    point = torch.stack([x, -z, y])[None, None]
    for yaw in (-60.0, 60.0):
        (frames,) = mesh_frames(flame, torch.zeros(1, 1, 53), 96, yaw)
        camera = look_at(torch.zeros(3), torch.tensor([yaw]), torch.zeros(1), torch.tensor([1.3]))
        right = float(project(point, camera, intrinsics_for(0.27, 1.3, (96, 96)))[0, 0, 0]) - 48
        mass = float(seen(frames)[0].nonzero()[:, 1].float().mean()) - 47.5  # the head lies opposite to the nose
        assert abs(right) > 10 and abs(mass) > 5 and right * mass < 0
        assert (yaw > 0) == (right > 0)


def test_the_jaw_moves_the_chin_and_an_expression_the_brow():
    flame, still = head(), torch.zeros(1, 2, 53)
    jaw, brow = still.clone(), still.clone()
    jaw[:, 1, 50] = 0.4
    brow[:, 1, 0] = 1.0
    for moved, upper in ((jaw, False), (brow, True)):
        (frames,) = mesh_frames(flame, moved, 96)
        change = (frames[1] - frames[0]).abs().amax(0)
        top, bottom = float(change[:40].mean()), float(change[56:].mean())
        assert (top > 5 * bottom) if upper else (bottom > 5 * top)


def test_performances_lie_side_by_side_in_chunks():
    flame = head()
    parameters = torch.randn(3, 19, 53, generator=torch.Generator().manual_seed(0)) * 0.3
    chunks = list(mesh_frames(flame, parameters, 32))
    assert [len(chunk) for chunk in chunks] == [8, 8, 3]
    frames = torch.cat(chunks)
    alone = torch.cat(list(mesh_frames(flame, parameters[1:2], 32)))
    assert frames.shape == (19, 3, 32, 96) and others(frames[..., 32:64], alone) < 0.002


def test_normals_equal_a_plain_loop():
    flame = head()
    expected = torch.zeros_like(flame.template)
    for a, b, c in flame.triangles.tolist():
        p, q, r = flame.template[a], flame.template[b], flame.template[c]
        for corner in (a, b, c):
            expected[corner] += torch.linalg.cross(q - p, r - p)
    expected = expected / expected.norm(dim=-1, keepdim=True)
    ours = vertex_normals(flame.template[None], flame.triangles)[0]
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=0)
    assert ((ours * flame.template).sum(-1) > 0).float().mean() > 0.95  # they look outwards


def test_faces_of_the_embedded_layout_need_a_fitted_map():
    arkit = torch.rand(300, 52, generator=torch.Generator().manual_seed(2))
    turn = torch.randn(53, 52, generator=torch.Generator().manual_seed(3))
    fitted = fit_map(arkit, arkit @ turn.T, ridge=1e-6)
    face = Face(layout_map().face(arkit)[None])
    with pytest.raises(ValueError, match="arkit_map"):
        flame_parameters(face, 0)
    ours, theirs = flame_parameters(face, 0, fitted), fitted.face(layout_map().arkit(face.sample(0)))
    assert torch.equal(ours, theirs) and (ours - arkit @ turn.T).abs().median() < 0.05
    own = Face(torch.randn(1, 4, 53), "flame")
    assert torch.equal(flame_parameters(own, 0, fitted), own.sample(0))


def test_a_broken_mesh_and_wrong_shapes_are_named():
    flame = head()
    with pytest.raises(ValueError, match="performances"):
        next(mesh_frames(flame, torch.zeros(3, 53), 32))
    flame.triangles[0, 0] = 10_000
    with pytest.raises(ValueError, match="10000"):
        next(mesh_frames(flame, torch.zeros(1, 1, 53), 32))
