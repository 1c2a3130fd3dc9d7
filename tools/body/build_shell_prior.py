"""Build stereotalker_core/body/assets/shell_prior.safetensors: how hair and clothes stand off the body, as a small PCA.

    python tools/body/build_shell_prior.py --out stereotalker_core/body/assets/shell_prior.safetensors

draws the shells of synthetic people (no pictures are rendered), makes them symmetric and keeps the first components.
"""

import argparse
import logging
import sys
from pathlib import Path

import torch
from torch import Tensor

from stereotalker_core.body.model import HalfBody
from stereotalker_core.checkpoint import save_tensors
from stereotalker_core.synthetic.people.clothes import clothes_shell, draw_clothes
from stereotalker_core.synthetic.people.hair import draw_hair, hair_shell
from stereotalker_core.synthetic.people.paint import draw_look
from stereotalker_core.synthetic.people.template import Template

log = logging.getLogger("build_shell_prior")
FIRST_SEED = 40_000_000  # no training or validation set comes near
_ATLAS = 64  # no texture is painted


def draw_shell(template: Template, seed: int) -> Tensor:
    """Return the shell (V,) of hair and clothes, in metres, of a random person, made as in `synthetic.people.avatar`.
    """
    rng = torch.Generator().manual_seed(seed)
    body = template.body
    shape = (0.8 * torch.randn(body.n_shape, generator=rng)).clamp(-2, 2)
    look = draw_look(rng)
    hair, clothes = draw_hair(rng, look.feminine, look.melanin), draw_clothes(rng)
    vertices = body.rest(shape[None]).vertices
    cap = hair_shell(template, hair, rng)
    shell = clothes_shell(template, clothes, vertices[0], body.normals(vertices)[0])
    return torch.where(cap > 1e-4, torch.maximum(shell, cap), shell)


def draw_shells(body: HalfBody, people: int) -> Tensor:
    """Return the symmetric shells (people, V) of random people, in metres."""
    template = Template(body, _ATLAS)
    stacked = torch.stack([draw_shell(template, seed) for seed in range(FIRST_SEED, FIRST_SEED + people)])
    return 0.5 * (stacked + stacked[:, body.mirror])


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--people", type=int, default=600)
    parser.add_argument("--components", type=int, default=20)
    parser.add_argument("--held-out", type=int, default=60)
    o = parser.parse_args()
    with torch.no_grad():
        shells = draw_shells(HalfBody(), o.people + o.held_out)
        known, unseen = shells[: o.people], shells[o.people :]
        mean = known.mean(0)
        _, values, rows = torch.linalg.svd(known - mean, full_matrices=False)
        rows = rows[: o.components]
        basis = rows.T * (values[: o.components] / o.people**0.5)
        rest = (unseen - mean) - (unseen - mean) @ rows.T @ rows
        explained = 1 - float(rest.square().sum() / (unseen - mean).square().sum())
    log.info("held-out people: %.1f %% of the variance explained", 100 * explained)
    meta = {
        "units": "metres along the normals of the rest body; a coefficient of 1 is one standard deviation",
        "licence": "made by this project, CC0 1.0",
        "command": "python tools/body/build_shell_prior.py " + " ".join(sys.argv[1:]),
        "explained_held_out": f"{explained:.4f}",
    }
    save_tensors({"mean": mean.half(), "basis": basis.half()}, meta, o.out)


if __name__ == "__main__":
    main()
