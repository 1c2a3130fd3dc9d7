"""GLB files against a second reader: the skinned vertices of every frame, the texture, what the format asks for."""

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.camera.trajectories import fixed, framing_for
from stereotalker_core.camera.viewer import viewer_cameras
from stereotalker_core.motion.arkit import ARKIT
from stereotalker_core.motion.files.glb import save_glb
from stereotalker_core.records import Identity, Motion
from tests.motion.files.gltf_reader import Gltf
from tests.motion.samples import make_motion

CLOSE = 1e-4  # m


@pytest.fixture(scope="module")
def body() -> HalfBody:
    return HalfBody()


@pytest.fixture(scope="module")
def identity(body) -> Identity:
    """Somebody with clothes, a smile and a turned head at rest."""
    g = torch.Generator().manual_seed(5)
    texture = torch.rand(3, 64, 64, generator=g) * 2 - 1
    rest = torch.zeros(49, 3)
    rest[:7] = 0.1 * torch.randn(7, 3, generator=g)
    return Identity(
        shape=torch.randn(body.n_shape, generator=g),
        shell=0.004 * torch.randn(body.n_vertices, 3, generator=g),
        rotations=0.2 * torch.randn(49, 3, generator=g),
        expression=torch.rand(52, generator=g),
        world_to_camera=torch.eye(4),
        intrinsics=torch.eye(3),
        portrait=texture,
        mask=torch.ones(1, 64, 64),
        background=texture,
        atlas=texture,
        visibility=torch.ones(1, 64, 64),
        atlas_layout=2,
        rest_expression=0.3 * torch.rand(52, generator=g),
        expression_gain=0.8 + 0.4 * torch.rand(52, generator=g),
        rest_rotations=rest,
    )


def ours(body, identity, motion: Motion) -> np.ndarray:
    """(T, R, 3) vertices as the renderer poses them, in glTF's axes (x, z, -y)."""
    performed = identity.performed(motion)
    rest = body.rest(identity.shape[None], identity.shell[None])
    x, y, z = body.pose(rest, performed.rotations, performed.expression).vertices[:, body.render_vertex].unbind(-1)
    return torch.stack([x, z, -y], -1).double().numpy()


@pytest.fixture(scope="module")
def written(body, identity, tmp_path_factory) -> tuple[Path, Motion]:
    path, motion = tmp_path_factory.mktemp("glb") / "person.glb", make_motion(6, seed=2, scale=0.5)
    save_glb(identity, body, path, motion, {"notice": "Synthetic media"})
    return path, motion


def test_every_frame_has_the_vertices_that_we_render(body, identity, written):
    path, motion = written
    file, expected = Gltf(path), ours(body, identity, motion)
    for frame in range(len(motion)):
        found = file.vertices(frame / 25)
        assert np.abs(found - expected[frame]).max() < CLOSE, f"frame {frame}"
    assert np.abs(file.vertices(2 / 25) - expected[4]).max() > 0.02  # the comparison can tell two frames apart


def test_the_file_rests_as_the_portrait_does(body, identity, written, tmp_path):
    still = Motion(torch.zeros(1, 49, 3), torch.zeros(1, 52))
    expected = ours(body, identity, still)[0]
    assert np.abs(Gltf(written[0]).vertices() - expected).max() < CLOSE
    path = tmp_path / "still.glb"
    save_glb(identity, body, path)
    file = Gltf(path)
    assert "animations" not in file.json
    assert np.abs(file.vertices() - expected).max() < CLOSE


def test_turns_that_wrap_around_stay_short_between_frames(body, identity, tmp_path):
    """Half a turn and a bit more is the same place from the other side: no viewer may spin between two such frames."""
    rotations = torch.zeros(8, 49, 3)
    rotations[:, 10, 2] = torch.linspace(2.8, 3.5, 8)  # axis-angle, through pi
    wrapped = torch.where(rotations > torch.pi, rotations - 2 * torch.pi, rotations)
    path, plain = tmp_path / "wrapped.glb", replace(identity, rest_rotations=torch.zeros(49, 3))
    save_glb(plain, body, path, Motion(wrapped, torch.zeros(8, 52)))
    file = Gltf(path)
    for channel in file.json["animations"][0]["channels"][:49]:
        values = file.array(file.json["animations"][0]["samplers"][channel["sampler"]]["output"])
        assert (np.sum(values[1:] * values[:-1], 1) > 0).all()  # also for viewers that never look for the short way


def test_what_the_format_asks_for(written, identity, body):
    file = Gltf(written[0])
    mesh, names = file.json["meshes"][0], file.json["meshes"][0]["extras"]["targetNames"]
    assert tuple(names) == ARKIT and len(mesh["primitives"][0]["targets"]) == len(mesh["weights"]) == 52
    attributes = mesh["primitives"][0]["attributes"]
    assert np.allclose(np.linalg.norm(file.array(attributes["NORMAL"]), axis=1), 1, atol=1e-3)
    assert np.abs(file.array(attributes["TEXCOORD_0"]) - body.atlas_uv.numpy()).max() < 1e-6
    for view in file.json["bufferViews"]:
        assert view["byteOffset"] % 4 == 0 and view["byteOffset"] + view["byteLength"] <= len(file.data)
    picture = torch.from_numpy(file.texture()).permute(2, 0, 1).float()
    assert float((picture * 2 - 1 - identity.atlas).abs().max()) < 0.005
    assert file.json["asset"]["extras"]["notice"] == "Synthetic media"
    triangles = file.array(mesh["primitives"][0]["indices"]).astype(int).reshape(-1, 3)
    a, b, c = (file.vertices()[triangles[:, i]] for i in range(3))
    assert float((np.cross(b - a, c - a) * a).sum()) > 0  # counter-clockwise seen from outside: a positive volume


def test_files_of_the_first_version_have_their_own_texture_layout(body, identity, tmp_path):
    path = tmp_path / "old.glb"
    save_glb(replace(identity, atlas_layout=1), body, path)
    file = Gltf(path)
    uv = file.array(file.json["meshes"][0]["primitives"][0]["attributes"]["TEXCOORD_0"])
    assert np.abs(uv - body.uv.numpy()).max() < 1e-6


def test_camera_info_films_the_exported_person_from_the_same_side(body, identity, written):
    """Vertices of the file, seen by the viewer's camera, lie where our camera sees ours: the yaw has the same sign."""
    from stereotalker_core.geometry.projection import project

    path, motion = written
    framing = framing_for(body, identity, "half_body")
    cameras = fixed(framing, 1, 35.0, size=(256, 256))
    (info,) = viewer_cameras(cameras, framing.target)
    x, y, z, w = (info["quaternion"][k] for k in "xyzw")
    from tests.motion.files.gltf_reader import matrix

    axes = matrix(np.array([x, y, z, w]))  # columns right, up, backwards
    own = (Gltf(path).vertices(0.0) - np.array([info["position"][k] for k in "xyz"])) @ axes
    focal = 128 / np.tan(np.radians(info["fov"]) / 2)
    seen = np.stack([128 + focal * own[:, 0] / -own[:, 2], 128 - focal * own[:, 1] / -own[:, 2]], 1)
    gltf = ours(body, identity, motion[:1])[0]
    back = torch.from_numpy(np.stack([gltf[:, 0], -gltf[:, 2], gltf[:, 1]], 1)).float()[None]
    expected = project(back, cameras.world_to_camera, cameras.intrinsics)[0, :, :2].numpy()
    assert np.abs(seen - expected).max() < 0.1  # px


def test_an_empty_motion_is_refused(body, identity, tmp_path):
    with pytest.raises(ValueError, match="no frames"):
        save_glb(identity, body, tmp_path / "x.glb", make_motion(2)[:0])
    assert not (tmp_path / "x.glb").exists()


def test_the_khronos_validator_finds_no_error(written):
    """Where Node and the package gltf-validator are (GLTF_VALIDATOR: the folder that holds node_modules)."""
    place = os.environ.get("GLTF_VALIDATOR")
    if not place:
        pytest.skip("GLTF_VALIDATOR names no folder with node_modules/gltf-validator")
    script = (
        "const v=require('gltf-validator');v.validateBytes(new Uint8Array(require('fs').readFileSync(process.argv[1])),"
        "{maxIssues:20}).then(r=>console.log(JSON.stringify(r.issues)))"
    )
    done = subprocess.run(
        ["node", "-e", script, str(written[0])], cwd=place, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    issues = json.loads(done.stdout)
    assert issues["numErrors"] == 0 and issues["numWarnings"] == 0, issues["messages"]
