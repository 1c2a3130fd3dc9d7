"""Soft shadows: an arm before the trunk darkens it, the photographed pose stays as it is, and nothing brightens."""

from dataclasses import replace

import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.body.shadows import Shadows, _hidden, factors, openness, shadows_of, vertex_visibility
from stereotalker_core.geometry.skeleton import JOINT_INDEX
from stereotalker_core.synthetic.people.avatar import make_avatar
from stereotalker_core.synthetic.people.portrait import reference_portrait, true_identity


@pytest.fixture(scope="module")
def body():
    return HalfBody()


@pytest.fixture(scope="module")
def identity(body):
    avatar = make_avatar(body, 5)
    return true_identity(body, avatar, reference_portrait(body, avatar, 5, 128))


def posed(body, identity, **turns):
    """Pose a person with some joints turned, in radians about x, y, z."""
    rotations = torch.zeros(1, 49, 3)
    for name, turn in turns.items():
        rotations[0, JOINT_INDEX[name.replace("_", ".")]] = torch.tensor(turn)
    return body.pose(body.rest(identity.shape[None], identity.shell[None]), rotations, torch.zeros(1, 52))


def test_a_sphere_hides_what_the_formula_says():
    point, up = torch.zeros(1, 1, 3), torch.tensor([[[0.0, 0.0, 1.0]]])
    above = torch.tensor([[[0.0, 0.0, 0.2]]])
    one = _hidden(point, up, above, above, torch.tensor([0.1]))
    assert float(one) == pytest.approx(0.5**1.5 * 1.45, rel=1e-4)
    assert float(_hidden(point, -up, above, above, torch.tensor([0.1]))) == 0  # behind the surface
    assert float(_hidden(point, up, above * 9, above * 9, torch.tensor([0.1]))) < 0.02


def test_a_forearm_before_the_belly_darkens_it_and_little_else(body, identity):
    hanging = posed(body, identity)
    folded = posed(body, identity, upperarm01_L=(0.0, 0.8, 0.0), lowerarm01_L=(0.0, 1.6, 0.0))
    change = openness(body, folded.vertices, folded)[0] - openness(body, hanging.vertices, hanging)[0]
    trunk = body.vertices_in("torso", "hips")
    assert float(change[trunk].min()) < -0.4
    assert float(change[trunk].mean()) > -0.1
    assert float(change[body.vertices_in("face", "scalp", "neck")].abs().max()) == 0


def test_the_photographed_pose_keeps_the_brightness_of_what_was_seen(body, identity):
    shadows = shadows_of(body, replace(identity, shadowed=True))
    rest = body.rest(identity.shape[None], identity.shell[None])
    pose = body.pose(rest, identity.rotations[None], identity.expression[None])
    found = factors(body, shadows, pose, body.normals(pose.vertices))[0]
    seen = vertex_visibility(body, identity) > 0.5
    assert torch.allclose(found[seen], torch.ones_like(found[seen]), atol=1e-5)
    assert int(seen.sum()) > 1000


def test_nothing_brightens_but_unseen_limbs_that_face_the_lamp(body, identity):
    pose = posed(body, identity, upperarm01_L=(0.0, 1.0, 0.0))
    normals = body.normals(pose.vertices)
    all_seen = Shadows(torch.full((body.n_vertices,), 0.5), torch.zeros(body.n_vertices))
    assert float(factors(body, all_seen, pose, normals).max()) <= 1
    unseen = all_seen._replace(unseen=body.vertices_in("arm.L").float())
    change = factors(body, unseen, pose, normals) / factors(body, all_seen, pose, normals)
    away = normals[0, :, 1] > 0.9  # backwards
    arm = body.vertices_in("arm.L")
    assert float(change[0, arm & away].max()) < 0.8 < 1 < float(change[0, arm].max())
    assert torch.equal(change[0, ~arm], torch.ones_like(change[0, ~arm]))
