"""The light of a portrait: recovered from shaded vertices, and its effect on the lift."""

import math

import pytest
import torch
import torch.nn.functional as F

from stereotalker_core.body.model import HalfBody
from stereotalker_core.body.rasterize import interpolate, rasterize
from stereotalker_core.body.texture.lift import lift_portrait, lift_unlit
from stereotalker_core.body.texture.light import SKY_BELOW, UNLIT, find_light, relit, shade
from stereotalker_core.body.texture.texels import Lifter
from stereotalker_core.geometry.projection import intrinsics_for, look_at, project

LIGHT = torch.tensor([0.55, -0.35, 0.25, 0.45])


@pytest.fixture(scope="module")
def body():
    return HalfBody()


def test_shade_equals_its_formula():
    normals = F.normalize(torch.randn(50, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    got = shade(normals, LIGHT)[:, 0]
    for normal, value in zip(normals.tolist(), got.tolist(), strict=True):
        direct = max(0.0, sum(a * b for a, b in zip(normal, LIGHT[:3].tolist(), strict=True)))
        sky = SKY_BELOW + (1 - SKY_BELOW) * (normal[2] + 1) / 2
        assert value == pytest.approx(max(0.12, direct + 0.45 * sky), abs=1e-5)


def test_relit_is_undone_by_the_inverse_shading():
    colour, shading = torch.rand(20, 3) * 2 - 1, torch.rand(20, 1) + 0.3
    assert torch.allclose(relit(relit(colour, shading), 1 / shading), colour, atol=1e-5)


def _scene(body, light, albedo):
    """Vertex colours of a person painted with albedo (V, 3) under a light, and what find_light needs."""
    normals = body.normals(body.mean[None])[0]
    part = Lifter(body, 64).vertex_part
    colour = (albedo * shade(normals, light)).clamp(0, 1).sqrt() * 2 - 1
    seen = (-normals[:, 1] > 0.2).float()
    unlit = torch.zeros(len(body.part_names), dtype=torch.bool)
    unlit[[body.part_index[name] for name in UNLIT]] = True
    return colour, seen, normals, body.mean, part, body.mirror, unlit


def test_light_is_found_on_patterned_clothes(body):
    stripes = 0.25 + 0.3 * (torch.sin(body.mean[:, 2:] * 150) > 0)
    light = find_light(*_scene(body, LIGHT, stripes.expand(-1, 3)))
    cosine = F.cosine_similarity(light[:3], LIGHT[:3], dim=0)
    assert float(cosine) > 0.98
    assert float(light[3] / light[:3].norm()) == pytest.approx(float(LIGHT[3] / LIGHT[:3].norm()), rel=0.25)


def test_the_mean_of_likely_lights_lies_between_candidates(body, monkeypatch):
    """Lights from between the directions that are tried; the twin takes the best of these alone."""
    errors = {True: 0.0, False: 0.0}
    stripes = (0.25 + 0.1 * (torch.sin(body.mean[:, 2:] * 150) > 0)).expand(-1, 3)
    for azimuth in (-35, -15, 5, 25, 45):
        a, e = math.radians(azimuth), math.radians(25)
        direction = torch.tensor([math.sin(a) * math.cos(e), -math.cos(a) * math.cos(e), math.sin(e)])
        light = torch.cat([direction * 0.55, torch.tensor([0.45])])
        colour, seen, normals, *rest = _scene(body, light, stripes)
        scaled = light / shade(normals[seen > 0.8], light).mean()
        for mean in errors:
            monkeypatch.setattr("stereotalker_core.body.texture.light._SURELY", 0.03 if mean else 1e-6)
            found = find_light(colour, seen, normals, *rest)
            assert found is not None
            errors[mean] += float((found - scaled).norm())
    assert errors[True] < 0.8 * errors[False]


def test_even_light_gives_none(body):
    colour, *rest = _scene(body, LIGHT, torch.full((body.n_vertices, 3), 0.4))
    noise = 0.05 * torch.randn(colour.shape, generator=torch.Generator().manual_seed(1))
    assert find_light(torch.zeros_like(colour) + noise, *rest) is None
    assert find_light(colour, torch.zeros(body.n_vertices), *rest[1:]) is None


def test_unlit_atlas_is_even_and_shades_back_to_the_portrait(body):
    size = (192, 192)
    camera = look_at(torch.tensor([0.0, -0.02, 0.47]), torch.tensor([8.0]), torch.zeros(1), torch.tensor([2.4]))
    intrinsics = intrinsics_for(0.86, 2.4, size)
    posed = body.pose(body.rest(torch.zeros(1, body.n_shape)), torch.zeros(1, 49, 3), torch.zeros(1, 52))
    fragments = rasterize(project(posed.vertices, camera, intrinsics), body.triangles, size)
    normals = body.normals(posed.vertices)
    attributes = torch.cat([normals[:, body.render_vertex], body.atlas_uv[None]], -1)
    surface = interpolate(attributes, body.uv_triangles, fragments)
    normal, uv = F.normalize(surface[0, ..., :3], dim=-1), surface[..., 3:] * 2 - 1
    inside = (fragments.triangle[0] >= 0).float()[None]
    image = ((0.4 * shade(normal, LIGHT)).sqrt() * 2 - 1).expand(-1, -1, 3).permute(2, 0, 1) * inside
    view = (image.contiguous(), inside, posed, camera[0], intrinsics)
    lifter = Lifter(body, 256)
    atlas, visibility, light, _ = lift_unlit(body, *view, lifter=lifter)
    plain, seen_too = lift_portrait(body, *view, lifter=lifter)
    assert torch.equal(visibility, seen_too)
    seen = visibility.flatten()[lifter.texel] > 0.9
    texels = [x.flatten(1)[0, lifter.texel][seen & ~lifter.templated] for x in (atlas, plain)]
    assert float(texels[0].std()) < 0.5 * float(texels[1].std())
    texture = F.grid_sample(torch.cat([atlas, visibility])[None], uv, align_corners=False)[0].permute(1, 2, 0)
    again = relit(texture[..., :3], shade(normal, light))
    trusted = texture[..., 3] > 0.95
    assert float((again - image.permute(1, 2, 0))[trusted].square().mean()) < 4e-4
