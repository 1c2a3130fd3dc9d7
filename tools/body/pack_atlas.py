"""Build stereotalker_core/body/assets/atlas.safetensors: where each piece of the body's surface lies in a photograph's
texture atlas.

    python tools/body/pack_atlas.py --out stereotalker_core/body/assets/atlas.safetensors [--picture layout.png]

The mesh's own layout gives an eye 150 texels and a face less than the photograph has pixels. Here every island of the
mesh's layout is moved and scaled by what a half-body portrait shows of it: eyes twelve times, the head 1.75 times.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from stereotalker_core.body.model import HalfBody
from stereotalker_core.checkpoint import save_tensors

SIDE = 1024  # texels that the sizes below are given in
SOURCE = 768  # texels in which the mesh's own layout was measured


class Place(NamedTuple):
    """The new place of the islands of one part of the body.

    part: name of the part; scale: texels of the new atlas (SIDE) per texel of the mesh's own layout (SOURCE); corners:
        upper left corner of each island, in texels."""

    part: str
    scale: float
    corners: tuple[tuple[int, int], ...]


PLACES = (
    Place("scalp", 1.75, ((545, 60),)),
    Place("torso", 0.92, ((6, 6),)),
    Place("hand.R", 1.38, ((6, 474),)),
    Place("hand.L", 1.38, ((216, 474),)),
    Place("eye.R", 11.0, ((6, 690), (130, 690))),
    Place("eye.L", 11.0, ((6, 814), (130, 814))),
    Place("mouth", 1.1, ((256, 690),)),
    Place("eyesocket", 1.3, ((404, 690), (404, 790))),
    Place("teeth.up", 3.0, ((256, 812),)),
    Place("teeth.low", 3.0, ((256, 872),)),
    Place("tongue", 1.8, ((490, 690),)),
    Place("lashes", 1.2, ((404, 890), (452, 890))),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    parser.add_argument("--picture", type=Path, help="draw the layout, one colour a part")
    arguments = parser.parse_args()
    body = HalfBody()
    uv = packed(body)
    command = "python tools/body/pack_atlas.py " + " ".join(sys.argv[1:])
    save_tensors(
        {"uv": (uv * 65535).round().to(torch.int32).to(torch.uint16)},
        {"command": command, "licence": "derived from the UV layout of MakeHuman, CC0 1.0 Universal"},
        arguments.out,
    )
    if arguments.picture:
        draw(body, uv, arguments.picture)


def packed(body: HalfBody) -> Tensor:
    """Return the texture coordinates (R, 2) in [0, 1] of the render vertices in the new layout. ValueError where
    islands overlap or stick out."""
    island = islands(body.uv_triangles, len(body.uv))
    of_triangle = island[body.uv_triangles[:, 0]]
    out = torch.full_like(body.uv, float("nan"))
    for place in PLACES:
        held = of_triangle[body.triangle_part == body.part_index[place.part]].unique()
        held = torch.tensor([i for i in held.tolist() if bool(out[island == i].isnan().any())])
        order = torch.stack([body.uv[island == i].amin(0)[0] for i in held]).argsort()
        if len(held) != len(place.corners):
            raise ValueError(f"{place.part} lies on {len(held)} islands, the table places {len(place.corners)}")
        for i, corner in zip(held[order].tolist(), place.corners, strict=True):
            own = body.uv[island == i] * SOURCE
            out[island == i] = ((own - own.amin(0)) * place.scale + torch.tensor(corner)) / SIDE
    if bool(out.isnan().any()) or float(out.amin()) < 0 or float(out.amax()) > 1:
        raise ValueError("an island has no place or leaves the square")
    boxes = [(out[island == i].amin(0), out[island == i].amax(0)) for i in island.unique().tolist()]
    for k, (low, high) in enumerate(boxes):
        for other_low, other_high in boxes[:k]:
            if bool((torch.minimum(high, other_high) > torch.maximum(low, other_low)).all()):
                raise ValueError(f"islands overlap near {low.tolist()}")
    return out


def islands(triangles: Tensor, count: int) -> Tensor:
    """Return (R,) the number of the connected piece of the mesh that each of `count` render vertices belongs to."""
    label = torch.arange(count)
    while True:
        lowest = label[triangles].amin(1, keepdim=True).expand(-1, 3)
        new = label.scatter_reduce(0, triangles.flatten(), lowest.flatten(), "amin")
        new = new[new]
        if torch.equal(new, label):
            return label
        label = new


def draw(body: HalfBody, uv: Tensor, path: Path) -> None:
    """Write a picture of the layout, every part in its own random colour."""
    from stereotalker_core.body.rasterize import rasterize
    from stereotalker_core.image import save_image

    points = torch.cat([uv * SIDE, torch.ones_like(uv[:, :1])], 1)[None]
    triangle = rasterize(points, body.uv_triangles, (SIDE, SIDE), cull=False).triangle[0]
    colours = torch.rand(len(body.part_names), 3, generator=torch.Generator().manual_seed(3))
    picture = colours[body.triangle_part[triangle.clamp_min(0)]] * (triangle >= 0)[..., None]
    save_image(picture.permute(2, 0, 1) * 2 - 1, path)


if __name__ == "__main__":
    main()
