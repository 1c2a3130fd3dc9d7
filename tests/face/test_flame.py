"""FLAME's skinning on a small made-up model, against a plain loop; conversion of its pickle without running code."""

import pickle
import sys
import types

import numpy as np
import pytest
import torch

from stereotalker_core.face.flame import Flame, main, read_flame_pickle
from stereotalker_core.geometry.rotations import axis_angle_to_matrix

V, J = 30, 5


def arrays(seed=0):
    rng = np.random.default_rng(seed)
    regressor = rng.random((J, V))
    skin = rng.random((V, J))
    return {
        "v_template": rng.normal(size=(V, 3)),
        "shapedirs": 0.1 * rng.normal(size=(V, 3, 400)),
        "posedirs": 0.1 * rng.normal(size=(V, 3, 36)),
        "J_regressor": regressor / regressor.sum(1, keepdims=True),
        "weights": skin / skin.sum(1, keepdims=True),
        "kintree_table": np.array([[4294967295, 0, 1, 1, 1], [0, 1, 2, 3, 4]], dtype=np.int64),
        "f": np.arange(12).reshape(4, 3),
    }


@pytest.fixture
def flame(tmp_path):
    (tmp_path / "flame.pkl").write_bytes(pickle.dumps(arrays(), protocol=2))
    return read_flame_pickle(tmp_path / "flame.pkl")


def plain(frame, a):
    """One frame, one vertex, one joint after the other."""
    shaped = a["v_template"] + a["shapedirs"][:, :, 300:350] @ frame[:50]
    joints = a["J_regressor"] @ shaped
    jaw = axis_angle_to_matrix(torch.tensor(frame[None, 50:]))[0].numpy()
    local = [np.eye(3)] * 2 + [jaw] + [np.eye(3)] * 2
    bent = np.concatenate([(m - np.eye(3)).ravel() for m in local[1:]])
    posed = shaped + a["posedirs"] @ bent
    transforms = []
    for j, parent in enumerate([None, 0, 1, 1, 1]):
        own = np.eye(4)
        own[:3, :3], own[:3, 3] = local[j], joints[j] - (0 if parent is None else joints[parent])
        transforms.append(own if parent is None else transforms[parent] @ own)
    out = np.zeros((V, 3))
    for v in range(V):
        for j in range(J):
            moved = transforms[j] @ np.append(posed[v] - joints[j], 1)
            out[v] += a["weights"][v, j] * moved[:3]
    return out


def test_vertices_equal_a_plain_loop(flame):
    frames = 0.5 * np.random.default_rng(1).normal(size=(3, 53))
    ours = flame(torch.from_numpy(frames).float())
    for frame, vertices in zip(frames, ours, strict=True):
        np.testing.assert_allclose(vertices.numpy(), plain(frame, arrays()), atol=1e-5)
    assert flame(torch.zeros(2, 4, 53)).shape == (2, 4, V, 3)
    torch.testing.assert_close(flame(torch.zeros(1, 53))[0], flame.template, atol=1e-5, rtol=0)


def test_shape_moves_the_template(flame):
    shape = torch.randn(300)
    expected = flame.template + flame.blend[..., :300] @ shape
    torch.testing.assert_close(flame(torch.zeros(1, 53), shape)[0], expected, atol=1e-4, rtol=1e-4)


def test_conversion_round_trips(tmp_path, flame):
    main([str(tmp_path / "flame.pkl"), str(tmp_path / "flame.safetensors")])
    again = Flame.load(tmp_path / "flame.safetensors")
    assert all(torch.equal(v, dict(again.named_buffers())[k]) for k, v in flame.named_buffers())


def test_chumpy_and_scipy_objects_give_their_numbers_without_those_libraries(tmp_path, flame):
    names = ("chumpy", "chumpy.ch", "scipy", "scipy.sparse", "scipy.sparse.csc")
    modules = {name: types.ModuleType(name) for name in names}
    Ch = type("Ch", (), {"__module__": "chumpy.ch"})
    Csc = type("csc_matrix", (), {"__module__": "scipy.sparse.csc"})
    modules["chumpy.ch"].Ch, modules["scipy.sparse.csc"].csc_matrix = Ch, Csc
    saved = {name: sys.modules.get(name) for name in names}
    sys.modules |= modules
    try:
        content, wrapped, sparse = arrays(), Ch(), Csc()
        wrapped.x = content["shapedirs"]
        dense = content["J_regressor"]
        sparse.data, sparse.indices = dense.T.ravel(), np.tile(np.arange(J), V)
        sparse.indptr, sparse._shape = np.arange(V + 1) * J, dense.shape
        data = pickle.dumps(content | {"shapedirs": wrapped, "J_regressor": sparse}, protocol=2)
    finally:
        for name, module in saved.items():
            sys.modules.pop(name) if module is None else sys.modules.__setitem__(name, module)
    (tmp_path / "real.pkl").write_bytes(data)
    other = read_flame_pickle(tmp_path / "real.pkl")
    assert torch.equal(other.blend, flame.blend) and torch.equal(other.regressor, flame.regressor)


class _Attack:
    def __reduce__(self):
        return print, ("attacked",)


def test_bad_files_are_refused_and_run_nothing(tmp_path, capsys):
    for name, content, error in (
        ("code", pickle.dumps(_Attack()), "print"),
        ("cut", pickle.dumps(arrays())[:500], "cut.pkl"),
        ("other", pickle.dumps({"a": 1}), "no FLAME model"),
    ):
        (tmp_path / f"{name}.pkl").write_bytes(content)
        with pytest.raises(ValueError, match=error):
            read_flame_pickle(tmp_path / f"{name}.pkl")
    assert "attacked" not in capsys.readouterr().out
    with pytest.raises(FileNotFoundError):
        read_flame_pickle(tmp_path / "absent.pkl")
    few = arrays() | {"shapedirs": np.zeros((V, 3, 100))}
    (tmp_path / "few.pkl").write_bytes(pickle.dumps(few))
    with pytest.raises(ValueError, match="columns"):
        read_flame_pickle(tmp_path / "few.pkl")
