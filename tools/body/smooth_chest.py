"""Take the nipples out of stereotalker_core/body/assets/halfbody.safetensors and shell_prior.safetensors, in place.

    python tools/body/smooth_chest.py

MakeHuman's chest has them in rings of vertices a millimetre apart. A person in clothes has none: on photographs each
left a ring in the cloth, where neighbouring facets are seen, sharpened and lit from different sides. The surface there
is spanned anew from its border, as a harmonic function of the texture coordinates, so that it is smooth and all of its
texels are about equally large. Means and bases are linear in the vertices, so the same weights serve all of them.
"""

import torch
from torch import Tensor

from stereotalker_core.body.model import ASSET, HalfBody
from stereotalker_core.body.shell_prior import ASSET as SHELL
from stereotalker_core.checkpoint import load_tensors, save_tensors

CENTRE, RADIUS = (0.105, -0.141, 0.3525), 0.022  # m, on the left half of the mean body
_LEAST = 1e-3  # of a weight, so that no vertex leaves the hull of its neighbours


def main() -> None:
    body = HalfBody()
    inside, weights = spanned(body)
    for path, names in ((ASSET, ("v_mean", "v_basis")), (SHELL, ("mean", "basis"))):
        tensors, meta = load_tensors(path)
        for name in names:
            tensors[name] = smoothed(tensors[name], inside, weights)
        save_tensors(tensors, meta | {"chest": "smoothed by tools/body/smooth_chest.py"}, path)


def spanned(body: HalfBody) -> tuple[Tensor, Tensor]:
    """Return the vertices to move (n,), and the weights (n, V) of the others that tell where to."""
    left = body.mean.new_tensor(CENTRE)
    away = torch.stack([(body.mean - c).norm(dim=1) for c in (left, left * left.new_tensor([-1.0, 1.0, 1.0]))])
    inside = (away.amin(0) < RADIUS).nonzero().squeeze(1)
    stiffness = torch.zeros(len(body.mean), len(body.mean), dtype=torch.double)
    corners = torch.isin(body.triangles, inside).any(1)
    vertex, uv = body.triangles[corners], body.atlas_uv[body.uv_triangles[corners]].double()
    for k in range(3):
        a, b, opposite = vertex[:, k], vertex[:, (k + 1) % 3], uv[:, (k + 2) % 3]
        p, q = uv[:, k] - opposite, uv[:, (k + 1) % 3] - opposite
        cotangent = (p * q).sum(1) / (p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).abs().clamp_min(1e-12)
        stiffness.index_put_((a, b), cotangent, accumulate=True)
        stiffness.index_put_((b, a), cotangent, accumulate=True)
    stiffness = torch.where(stiffness != 0, stiffness.clamp_min(_LEAST), stiffness)[inside]
    among = torch.diag(stiffness.sum(1)) - stiffness[:, inside]
    outside = stiffness.index_fill(1, inside, 0.0)
    weights = torch.linalg.solve(among, outside)
    other = torch.searchsorted(inside, body.mirror[inside])
    return inside, (weights + weights[other][:, body.mirror]) / 2  # the body stays symmetric to the bit


def smoothed(values: Tensor, inside: Tensor, weights: Tensor) -> Tensor:
    """Return values (V, ...) of vertices with those of `inside` (n,) replaced by weighted sums of others, weights
    (n, V)."""
    new = (weights @ values.double().view(len(values), -1)).view(len(inside), *values.shape[1:])
    return values.index_copy(0, inside, new.to(values))


if __name__ == "__main__":
    main()
