"""What stays of a portrait's expression while the person talks, and what a talking mouth must be able to undo."""

import math
from dataclasses import replace

import pytest
import torch

from stereotalker_core.body.fitting.fit_pose import PoseFit
from stereotalker_core.body.fitting.rest_state import SHUT_EYE, openings, rest_state
from stereotalker_core.body.model import HalfBody
from stereotalker_core.geometry.projection import intrinsics_for, look_at, project
from stereotalker_core.geometry.skeleton import JOINT_INDEX

LIPS, LIDS = ((13, 14), (82, 87), (312, 317)), {"Left": (386, 374), "Right": (159, 145)}


@pytest.fixture(scope="module")
def body():
    return HalfBody()


def fit_of(body, **coefficients):
    """A fit of the mean body with these coefficients, head tilted, one arm lifted."""
    expression, rotations = torch.zeros(52), torch.zeros(49, 3)
    for name, value in coefficients.items():
        expression[body.expression_index[name]] = value
    rotations[JOINT_INDEX["head"]] = torch.tensor([0.0, 0.1, 0.05])
    rotations[JOINT_INDEX["upperarm01.L"]] = torch.tensor([0.0, 0.6, 0.0])
    camera = look_at(torch.tensor([0.0, -0.02, 0.6]), torch.zeros(1), torch.zeros(1), torch.full((1,), 2.1))[0]
    return PoseFit(
        torch.zeros(body.n_shape),
        rotations,
        expression,
        camera,
        intrinsics_for(0.5, 2.1, (512, 512)),
        torch.zeros(0),
        torch.zeros(0),
    )


def mesh_of(body, fit):
    """(468, 2) px where the photograph shows exactly the fitted face."""
    vertices = fit.posed(body).vertices[0]
    at = (vertices[body.mesh_vertices] * body.mesh_weights[..., None]).sum(1)
    return project(at[None], fit.world_to_camera[None], fit.intrinsics)[0, :, :2]


def states(body, fit):
    mesh = mesh_of(body, fit)
    return mesh, *rest_state(body, fit, torch.zeros(body.n_vertices, 3), mesh)


def height(body, expression, pairs):
    """Metres between the first and the second points in the neutral pose."""
    moved = body.express(body.mean[None], expression[None])[0]
    at = (moved[body.mesh_vertices] * body.mesh_weights[..., None]).sum(1)
    return float(torch.stack([at[a, 2] - at[b, 2] for a, b in pairs]).mean())


def test_an_open_mouth_closes_and_its_smile_stays(body):
    fit = fit_of(body, jawOpen=0.5, mouthSmileLeft=0.6, mouthSmileRight=0.6, mouthLowerDownLeft=0.3)
    mesh, rest, _, _ = states(body, fit)
    shut = height(body, torch.zeros(52), LIPS)
    assert openings(mesh)["lips"] > 0.15 and height(body, fit.expression, LIPS) > shut + 0.005
    assert abs(height(body, rest, LIPS)) < 0.0012
    assert float(rest[body.expression_index["mouthSmileLeft"]]) == pytest.approx(0.6)
    assert float(rest[body.expression_index["mouthLowerDownLeft"]]) == 0


def test_a_closed_smile_is_left_as_it_is(body):
    fit = fit_of(body, mouthSmileLeft=0.7, mouthSmileRight=0.5, mouthPressLeft=0.2, browInnerUp=0.4)
    mesh = mesh_of(body, fit)
    for upper, lower in LIPS:
        mesh[lower] = mesh[upper] + torch.tensor([0.0, 0.2])
    rest, _, _ = rest_state(body, fit, torch.zeros(body.n_vertices, 3), mesh)
    assert openings(mesh)["lips"] < 0.02
    mouth = [i for n, i in body.expression_index.items() if n.startswith(("mouth", "jaw", "brow"))]
    assert torch.equal(rest[mouth], fit.expression[mouth])


def test_shut_eyes_open_each_for_itself(body):
    mesh, rest, _, _ = states(body, fit_of(body, eyeBlinkLeft=0.65))  # the mean lids touch there
    wide = openings(mesh)
    assert wide["Left"] < SHUT_EYE < wide["Right"]
    assert float(rest[body.expression_index["eyeBlinkLeft"]]) == 0
    assert height(body, rest, (LIDS["Left"],)) > 0.8 * height(body, rest, (LIDS["Right"],))


@pytest.mark.parametrize("name, value", [("eyeWide", 0.9), ("eyeSquint", 0.9), ("eyeBlink", 0.4)])
def test_a_whole_blink_shuts_eyes_of_any_width(body, name, value):
    fit = fit_of(body, **{f"{name}{side}": value for side in ("Left", "Right")})
    _, rest, gain, _ = states(body, fit)
    blink = torch.zeros(52)
    blink[[body.expression_index[f"eyeBlink{side}"] for side in ("Left", "Right")]] = 1
    performed = rest + blink * gain * (1 - rest)  # Identity.performed
    for side in ("Left", "Right"):
        assert -0.003 < height(body, performed, (LIDS[side],)) < 0.0012  # a lid over the other is shut, too
        assert height(body, rest, (LIDS[side],)) > 0.0025
    others = [i for n, i in body.expression_index.items() if not n.startswith("eyeBlink")]
    assert bool((gain[others] == 1).all())


def test_a_wide_eye_needs_more_of_a_blink_than_a_narrow_one(body):
    gains = []
    for name in ("eyeWide", "eyeSquint"):
        _, _, gain, _ = states(body, fit_of(body, **{f"{name}Left": 0.9}))
        gains.append(float(gain[body.expression_index["eyeBlinkLeft"]]))
    assert gains[0] > gains[1] and gains[1] >= 0.6 and gains[0] <= 1.8


def test_head_and_spine_keep_their_bearing_arms_do_not(body):
    fit = fit_of(body)
    _, _, _, rotations = states(body, fit)
    assert torch.equal(rotations[JOINT_INDEX["head"]], fit.rotations[JOINT_INDEX["head"]])
    assert float(rotations[JOINT_INDEX["upperarm01.L"]].abs().max()) == 0


def test_without_a_mesh_the_mouth_is_neutral_and_the_rest_stays(body):
    fit = fit_of(body, jawOpen=0.5, mouthSmileLeft=0.4, eyeBlinkLeft=0.3)
    rest, gain, _ = rest_state(body, fit, torch.zeros(body.n_vertices, 3), torch.full((468, 2), math.nan))
    assert float(rest[body.expression_index["jawOpen"]]) == 0
    assert float(rest[body.expression_index["mouthSmileLeft"]]) == pytest.approx(0.4)
    assert bool((gain == 1).all())


def test_openings_are_free_of_size_and_place(body):
    mesh, *_ = states(body, fit_of(body, jawOpen=0.3))
    once, again = openings(mesh), openings(mesh * 3.7 + torch.tensor([40.0, -7.0]))
    assert all(once[k] == pytest.approx(again[k], rel=1e-4) for k in once)


def test_rest_state_follows_the_registered_surface(body):
    """Lids that were drawn wider apart by the registration need a larger gain."""
    fit = fit_of(body)
    mesh, _, gain, _ = states(body, fit)
    wider = torch.zeros(body.n_vertices, 3)
    lid = (body.mean - (body.mean[body.mesh_vertices[159]] * body.mesh_weights[159][:, None]).sum(0)).norm(
        dim=1
    ) < 0.004
    wider[lid & body.vertices_in("face", "eyesocket"), 2] = 0.002
    _, more, _ = rest_state(body, replace(fit), wider, mesh)
    blink = body.expression_index["eyeBlinkRight"]
    assert float(more[blink]) > float(gain[blink]) + 0.02


def test_a_smile_that_shows_teeth_closes_by_its_lips_and_the_chin_stays(body):
    """Lips that the registered surface holds apart close without the jaw: the face is as long as in the photograph."""
    fit = fit_of(body, mouthSmileLeft=0.6, mouthSmileRight=0.6)
    parted = torch.zeros(body.n_vertices, 3)
    apart = torch.zeros(52)
    for name in ("mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight"):
        apart[body.expression_index[name]] = 0.5
    parted += body.express(body.mean[None], apart[None])[0] - body.mean
    mesh = mesh_of(body, replace(fit, expression=fit.expression + apart))
    rest, _, _ = rest_state(body, fit, parted, mesh)
    vertices = (body.mean + parted)[None]

    def points(expression):
        moved = body.express(vertices, expression[None])[0]
        return (moved[body.mesh_vertices] * body.mesh_weights[..., None]).sum(1)

    at = points(rest)
    assert abs(float(torch.stack([at[a, 2] - at[b, 2] for a, b in LIPS]).mean())) < 0.0008
    assert openings(mesh)["lips"] > 0.05
    assert abs(float(at[152, 2] - points(fit.expression)[152, 2])) < 0.0006  # the chin; by the jaw it rises 3 mm
