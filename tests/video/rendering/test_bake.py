"""The bake: strength 0 is the plain fill, what was seen stays to the bit, seeds repeat, experts have a say."""

import sys
from dataclasses import replace

import pytest
import torch

from stereotalker_core import checkpoint
from stereotalker_core.body.model import HalfBody
from stereotalker_core.body.rasterize import at_points
from stereotalker_core.body.texture.rig import Rig
from stereotalker_core.body.texture.texels import usual_lifter
from stereotalker_core.records import Identity, Motion
from stereotalker_core.synthetic.people.avatar import make_avatar
from stereotalker_core.synthetic.people.portrait import reference_portrait, true_identity
from stereotalker_core.video.guides.maps import render_guides
from stereotalker_core.video.networks.bake_network import BakeConfig, BakeNetwork, partners
from stereotalker_core.video.rendering.bake import BakeOptions, bake, load_bake

TINY = BakeConfig(widths=(8, 16, 16), heads=2, rank=2)


@pytest.fixture(scope="module")
def person():
    body = HalfBody()
    with torch.inference_mode():
        avatar = make_avatar(body, 7)
        portrait = reference_portrait(body, avatar, 3, size=256)
        return body, Rig(body), true_identity(body, avatar, portrait), portrait


@pytest.fixture(scope="module")
def network():
    """A network whose every part does something."""
    torch.manual_seed(0)
    model = BakeNetwork(TINY)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def test_strength_0_is_the_plain_fill(network, person):
    body, rig, identity, _ = person
    once = bake(network, body, identity, BakeOptions(strength=1.0, steps=1), rig)
    assert bake(network, body, identity, BakeOptions(strength=0.0), rig) is identity
    assert torch.equal(bake(network, body, once, BakeOptions(strength=0.0), rig).atlas, identity.atlas)
    assert once.baked == 1.0 and not torch.equal(once.atlas, identity.atlas)


def test_of_a_photograph_only_the_back_of_the_clothes_is_drawn(network, person):
    """Front, head and hands of a person with a rest state keep their fill; a synthetic person's do not."""
    body, rig, identity, _ = person
    photographed = replace(identity, rest_rotations=torch.zeros(49, 3))
    lifter = usual_lifter(body, "cpu")
    normal = at_points(body.normals(body.mean[None])[0], lifter.corners, lifter.weight)
    front = lifter.head | lifter.hands | (normal[:, 1] < -0.3) & lifter.dressed
    back = (lifter.behind > 0.9) & (lifter.height < 0.45) & (lifter.aside < 0.12)
    change = []
    for who in (photographed, identity):
        baked = bake(network, body, who, BakeOptions(steps=1), rig)
        change.append((baked.atlas - who.atlas).abs().mean(0).flatten()[lifter.texel])
    assert float(change[0][front].mean()) < 0.05 * float(change[1][front].mean())
    assert float(change[0][back].mean()) > 0.7 * float(change[1][back].mean()) > 1e-3


def test_what_the_portrait_showed_stays_to_the_bit(network, person):
    body, rig, identity, portrait = person
    baked = bake(network, body, identity, BakeOptions(steps=1), rig)
    seen = (identity.visibility > 0.99).expand(3, -1, -1)
    assert int(seen.sum()) > 10_000
    assert torch.equal(baked.atlas[seen], identity.atlas[seen])
    unseen = (identity.visibility == 0).expand(3, -1, -1)
    assert float((baked.atlas - identity.atlas)[unseen].abs().mean()) > 1e-3
    # drawn from the portrait's camera, it is the portrait as before
    motion = Motion(portrait.motion.rotations, portrait.motion.expression)
    plain, after = (render_guides(body, who, motion, portrait.cameras) for who in (identity, baked))
    shown = (plain.visibility > 0.99).expand(-1, 3, -1, -1)
    assert float((plain.lift - after.lift)[shown].abs().max()) < 0.02


def test_half_the_strength_is_half_the_change_and_seeds_repeat(network, person, monkeypatch):
    """Of what the network draws; how much grain is missing depends on it."""
    body, rig, identity, _ = person
    module = sys.modules[bake.__module__]
    monkeypatch.setattr(module, "textured", lambda body, lifter, atlas, *given: atlas)
    whole, again = (bake(network, body, identity, BakeOptions(seed=3, strength=1.0, steps=2), rig) for _ in range(2))
    half = bake(network, body, whole, BakeOptions(seed=3, strength=0.5, steps=2), rig)
    other = bake(network, body, identity, BakeOptions(seed=4, steps=2), rig)
    assert torch.allclose(whole.atlas, again.atlas, atol=1e-5)
    assert float((whole.atlas - other.atlas).abs().max()) > 1e-3
    inside = (whole.atlas.abs() < 0.99) & (half.atlas.abs() < 0.99)
    middle = (whole.atlas + identity.atlas) / 2
    assert torch.allclose(half.atlas[inside], middle[inside], atol=1e-4)


def test_experts_and_their_strengths_change_the_texture(network, person):
    body, rig, identity, _ = person
    whole = bake(network, body, identity, BakeOptions(steps=1), rig).atlas
    for off in ({"view_strength": 0.0}, {"mask_strength": 0.0}):
        assert float((bake(network, body, identity, BakeOptions(steps=1, **off), rig).atlas - whole).abs().max()) > 1e-4


@pytest.mark.parametrize("part", ["view_experts", "mask_experts", "across_views", "reference"])
def test_every_part_can_be_left_out(part, person):
    _, rig, identity, _ = person
    model = BakeNetwork(replace(TINY, **{part: False}))
    assert sum(p.numel() for p in model.parameters()) < sum(p.numel() for p in BakeNetwork(TINY).parameters())
    pictures = rig.pictures(torch.cat([identity.atlas, identity.visibility]))[None]
    with torch.inference_mode():
        found = model(rig, pictures[..., :3], pictures[..., 3:], torch.randn_like(pictures[..., :3]), torch.ones(1))
    assert found.shape == pictures[..., :3].shape and bool(found.isfinite().all())


def test_partners_of_nobody_have_no_visibility(person):
    _, rig, _, _ = person
    values = torch.rand(1, len(rig.pixel), 4)
    found = partners(rig, values)
    lonely = rig.opposite_there == 0
    assert bool(lonely.any()) and bool((found[0, lonely, 1, 3] == -1).all())
    assert torch.equal(found[0, lonely, 1, :3], values[0, lonely, :3])


def test_baked_people_and_networks_survive_their_files(network, person, tmp_path):
    body, rig, identity, _ = person
    baked = bake(network, body, identity, BakeOptions(strength=0.5, steps=1), rig)
    baked.save(tmp_path / "who.safetensors")
    again = Identity.load(tmp_path / "who.safetensors")
    assert again.baked == 0.5 and torch.equal(again.atlas, baked.atlas)
    assert torch.equal(again.before_bake().atlas, identity.atlas)
    checkpoint.save(network, tmp_path / "bake.safetensors", torch.float32)
    loaded = load_bake(tmp_path / "bake.safetensors")
    found = bake(loaded, body, identity, BakeOptions(strength=0.5, steps=1), rig)
    assert torch.allclose(found.atlas, baked.atlas, atol=1e-5)


@pytest.mark.parametrize("wrong", [{"strength": 1.5}, {"strength": -0.1}, {"steps": 0}, {"steps": 51}])
def test_settings_out_of_range_are_refused(network, person, wrong):
    body, rig, identity, _ = person
    with pytest.raises(ValueError):
        bake(network, body, identity, BakeOptions(**wrong), rig)


def test_atlases_of_version_0_1_are_refused(network, person):
    body, rig, identity, _ = person
    with pytest.raises(ValueError, match="fit the portrait again"):
        bake(network, body, replace(identity, atlas_layout=1), rig=rig)
