"""FLAME's mesh from a model file of the user: parameters -> vertices, by blend shapes and linear blend skinning.

FLAME is licensed and does not ship here. Register at its project page, and convert the downloaded pickle once:

    python -m stereotalker_core.face.flame generic_model.pkl flame.safetensors

Everything per vertex (meshes, the paper's metrics) then works as in the paper. No code in the pickle is executed."""

import argparse
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..checkpoint import load_tensors, save_tensors
from ..geometry.rotations import axis_angle_to_matrix
from ..shapes import dims
from .layout import N_EXPRESSION, N_PARAMETERS

logger = logging.getLogger(__name__)
SHAPE_COLUMNS = 300  # of shapedirs; expression coefficients follow
_ARRAYS = {"v_template": "template", "shapedirs": "blend", "posedirs": "correctives", "weights": "skin"}
_JAW = 2  # joints: global, neck, jaw, left eye, right eye


class Flame(nn.Module):
    """The FLAME head model.

    template: (V, 3) m.
    blend: (V, 3, 400) m, displacements per unit of 300 shape and 100 expression coefficients.
    correctives: (V, 3, 36) m, displacements per entry of the joints' rotation matrices.
    regressor: (J, V) weights that give joints from vertices.
    skin: (V, J) skinning weights.
    parent: (J,) index of each joint's parent.
    triangles: (F, 3) vertex indices."""

    template: Tensor
    blend: Tensor
    correctives: Tensor
    regressor: Tensor
    skin: Tensor
    parent: Tensor
    triangles: Tensor

    def __init__(
        self, template: Tensor, blend: Tensor, correctives: Tensor, regressor: Tensor, skin: Tensor, parent: Tensor,
        triangles: Tensor,
    ) -> None:  # fmt: skip
        super().__init__()
        known = dims(template, "V 3")
        dims(blend, "V 3 K", **known)
        joints = dims(regressor, "J V", **known)["J"]
        dims(correctives, "V 3 C", V=known["V"], C=9 * (joints - 1))
        dims(skin, "V J", V=known["V"], J=joints)
        if blend.shape[2] < SHAPE_COLUMNS + N_EXPRESSION:
            raise ValueError(f"{blend.shape[2]} columns of blend shapes; FLAME has 300 of shape, 100 of expression")
        for name, value in (
            ("template", template), ("blend", blend), ("correctives", correctives), ("regressor", regressor),
            ("skin", skin), ("parent", parent), ("triangles", triangles),
        ):  # fmt: skip
            self.register_buffer(name, value)

    @classmethod
    def load(cls, path: str | Path) -> "Flame":
        """Read a converted file; ValueError for another one."""
        tensors, meta = load_tensors(path)
        if meta.get("record") != "Flame":
            raise ValueError(f"{path} is no converted FLAME model; make one with stereotalker_core.face.flame")
        return cls(**tensors)

    def save(self, path: str | Path) -> None:
        """Write all arrays to a safetensors file."""
        save_tensors(dict(self.named_buffers()), {"record": "Flame"}, path)

    def forward(self, parameters: Tensor, shape: Tensor | None = None) -> Tensor:
        """Map FLAME parameters (..., T, 53) -> vertices (..., T, V, 3) in metres; shape: (300,), zeros by default.

        Head, neck and eyes are at rest, as in the paper."""
        flat = parameters.reshape(-1, parameters.shape[-1])
        dims(flat, f"T {N_PARAMETERS}")
        expression, jaw = flat[:, :N_EXPRESSION], flat[:, N_EXPRESSION:]
        columns = self.blend[..., SHAPE_COLUMNS : SHAPE_COLUMNS + N_EXPRESSION]
        rest = self.template if shape is None else self.template + self.blend[..., : len(shape)] @ shape
        shaped = rest + torch.einsum("vdk,tk->tvd", columns, expression)
        joints = self.regressor @ shaped  # (T, J, 3)
        local = torch.eye(3).to(flat).repeat(len(flat), joints.shape[1], 1, 1)
        local[:, _JAW] = axis_angle_to_matrix(jaw)
        bent = (local[:, 1:] - torch.eye(3).to(flat)).flatten(1)  # (T, 36)
        posed = shaped + torch.einsum("vdc,tc->tvd", self.correctives, bent)
        return self._skin(posed, joints, local).reshape(*parameters.shape[:-1], -1, 3)

    def _skin(self, posed: Tensor, joints: Tensor, local: Tensor) -> Tensor:
        turns, places = [local[:, 0]], [joints[:, 0]]
        for j in range(1, joints.shape[1]):
            p = int(self.parent[j])
            turns.append(turns[p] @ local[:, j])
            places.append(places[p] + (turns[p] @ (joints[:, j] - joints[:, p])[..., None])[..., 0])
        turn, place = torch.stack(turns, 1), torch.stack(places, 1)
        shift = place - (turn @ joints[..., None])[..., 0]
        blended = torch.einsum("vj,tjab->tvab", self.skin, turn)
        return (blended @ posed[..., None])[..., 0] + torch.einsum("vj,tja->tva", self.skin, shift)


# ------------------------------------------------------------------------------------------------ conversion
class _Holder:
    """The stand-in for an object of chumpy or scipy: keeps its state, executes none of their code."""

    def __init__(self, *args: Any) -> None:
        self.state: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        self.state = state if isinstance(state, dict) else {}


class _ArrayUnpickler(pickle.Unpickler):
    """The unpickler of numpy arrays in plain containers; chumpy and scipy objects become holders, all else is refused.
    """

    def find_class(self, module: str, name: str) -> Any:
        root = module.split(".")[0]
        if root == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        if root == "numpy" and name in ("_reconstruct", "scalar"):
            return _numpy_internal(name)
        if root in ("chumpy", "scipy"):
            return _Holder
        if (module, name) == ("_codecs", "encode"):
            return _latin_bytes
        raise ValueError(f"the file asks for {module}.{name}, which is code and no array; nothing of it was run")


def _numpy_internal(name: str) -> Any:
    """Return numpy's own function of this name for rebuilding arrays; since numpy 2 it is in another module than
    pickles say."""
    from importlib import import_module

    major = int(np.__version__.split(".")[0])
    return getattr(import_module("numpy._core.multiarray" if major >= 2 else "numpy.core.multiarray"), name)


def _latin_bytes(text: str, encoding: str = "latin1") -> bytes:
    return text.encode("latin1")


def _array(value: Any) -> np.ndarray:
    """Return an array: the value itself, the content of a chumpy object, or a scipy CSC matrix made dense."""
    if isinstance(value, _Holder):
        state = value.state
        if {"data", "indices", "indptr"} <= set(state):
            return _dense(state)
        return _array(next((state[k] for k in ("x", "r", "a") if k in state), np.zeros(0)))
    return np.asarray(value)


def _dense(state: dict[str, Any]) -> np.ndarray:
    rows, columns = state["_shape"] if "_shape" in state else state["shape"]
    out = np.zeros((rows, columns))
    pointer = np.asarray(state["indptr"])
    for column in range(columns) if len(pointer) == columns + 1 else ():
        part = slice(pointer[column], pointer[column + 1])
        out[np.asarray(state["indices"])[part], column] = np.asarray(state["data"])[part]
    return out


def read_flame_pickle(path: str | Path) -> Flame:
    """Read FLAME 2020's generic_model.pkl -> `Flame`.

    FileNotFoundError; ValueError where the file contains code, is damaged or is something else."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file at {path}")
    try:
        with path.open("rb") as file:
            content = _ArrayUnpickler(file, encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, AttributeError, IndexError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged or no FLAME model ({error!r}); download it again") from error
    needed = {*_ARRAYS, "J_regressor", "kintree_table", "f"}
    if not isinstance(content, dict) or not needed <= set(content):
        raise ValueError(f"{path} is no FLAME model; it needs {', '.join(sorted(needed))}")
    arrays = {ours: torch.from_numpy(_array(content[theirs]).astype(np.float32)) for theirs, ours in _ARRAYS.items()}
    parent = torch.from_numpy(_array(content["kintree_table"]).astype(np.int64)[0]).clamp_min(0)
    parent[parent > len(parent)] = 0  # the root's is the largest unsigned number
    regressor = torch.from_numpy(_array(content["J_regressor"]).astype(np.float32))
    triangles = torch.from_numpy(_array(content["f"]).astype(np.int64))
    return Flame(**arrays, regressor=regressor, parent=parent, triangles=triangles)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line of this module."""
    parser = argparse.ArgumentParser(prog="face.flame", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("pickle", type=Path, help="generic_model.pkl of FLAME 2020")
    parser.add_argument("out", type=Path, help=".safetensors")
    options = parser.parse_args(arguments)
    flame = read_flame_pickle(options.pickle)
    flame.save(options.out)
    logger.info("wrote %s: %d vertices", options.out, len(flame.template))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
