"""The usual shape of hair and clothes: a small PCA of shells (`assets/shell_prior.safetensors`).

A picture shows the outline from one side only. The prior infers the back, the sides and the crown from it. Built by
tools/body/build_shell_prior.py from this project's synthetic people."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..checkpoint import load_tensors

ASSET = Path(__file__).parent / "assets" / "shell_prior.safetensors"


class ShellPrior(NamedTuple):
    """The PCA of shells: mean (V,) and basis (V, S) in metres along the normals; coefficients are standard normal."""

    mean: Tensor
    basis: Tensor

    def offsets(self, coefficients: Tensor) -> Tensor:
        """Map coefficients (S,) -> shell (V,) in metres along the normals."""
        return self.mean + self.basis @ coefficients


@lru_cache(maxsize=2)
def load_shell_prior(device: str = "cpu") -> ShellPrior:
    """Return the shipped prior, read from disk once; usable inside and outside of inference mode."""
    with torch.inference_mode(False), torch.no_grad():
        tensors, _ = load_tensors(ASSET)
        return ShellPrior(tensors["mean"].float().to(device), tensors["basis"].float().to(device))
