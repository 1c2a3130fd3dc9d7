"""The value of the estimated surface: PSNR of the lift on the bare body, on the estimated and on the true surface.

    python -m stereotalker_core.evaluation.video.surface --people 7

The lift is the portrait projected onto the body; bare: without hair and clothes. Two settings. "pose known" changes
shape and shell alone: the portrait's pose and camera, and with them the position of every texel, are the true ones.
"all estimated" also takes pose and camera from the fit, as for a user."""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ...body.model import HalfBody
from ...body.texture.lift import lift_unlit
from ...body.texture.texels import Lifter
from ...checkpoint import write_atomically
from ...records import Cameras, Identity
from ...shapes import size_of
from ...synthetic.data.dataset import DatasetConfig
from ...synthetic.data.estimate import aligned_cameras
from ...synthetic.people.portrait import canonical_cameras
from ...synthetic.people.render import render_avatar
from ...synthetic.people.template import Template
from ...video.guides.maps import background_plate, render_guides
from ..bootstrap import bootstrap
from .estimated_fit import EstimatedClips, lift_psnr

logger = logging.getLogger(__name__)
YAWS = (-75.0, -45.0, -20.0, 15.0, 45.0)
ROWS = ("true surface", "estimated surface, pose known", "bare true body", "all estimated", "all estimated, bare body")


@torch.inference_mode()
def surface_psnr(body: HalfBody, seed: int, template: Template, lifter: Lifter) -> dict[str, float]:
    """Measure how well the projected portrait fits on each surface of ROWS -> {surface: PSNR (dB) over the person}.

    body: the half body; seed: determines the person; template: the mean body's texels and vertices; lifter: texel table
    of the atlas.
    The PSNR is that of the lift without networks, averaged over the camera's YAWS."""
    person = EstimatedClips(body, seed, DatasetConfig("val", clips=3, shards=1), template, lifter)
    true, found = person.identity, person.estimate
    motion = person.motion()[: len(YAWS)]
    cameras = canonical_cameras(body, true.shape, torch.tensor(YAWS), 256)
    wall = background_plate(replace(true, background=person.portrait.background), cameras)
    frames = render_avatar(body, person.avatar, motion, cameras, background=wall, rest=person.rest)
    inside = (frames.alpha > 0.5).float()
    here = Cameras(true.world_to_camera[None], true.intrinsics, torch.zeros(1), size_of(true.portrait))
    own = aligned_cameras(body, true, found, here).world_to_camera[0]  # the portrait's camera in the estimate's metres
    seen = aligned_cameras(body, true, found, cameras)
    bare = torch.zeros_like(true.shell)
    cases = (
        (true, cameras),
        (_lifted_elsewhere(body, true, found.shape, found.shell, own, lifter), seen),
        (_lifted_elsewhere(body, true, true.shape, bare, true.world_to_camera, lifter), cameras),
        (found, seen),
        (_lifted_elsewhere(body, found, found.shape, bare, found.world_to_camera, lifter), seen),
    )
    return {
        name: float(lift_psnr(frames.rgb, render_guides(body, who, motion, view).lift, inside).mean())
        for name, (who, view) in zip(ROWS, cases, strict=True)
    }


def _lifted_elsewhere(
    body: HalfBody, identity: Identity, shape: Tensor, shell: Tensor, camera: Tensor, lifter: Lifter
) -> Identity:
    """Return the identity with its portrait projected onto another surface, seen by another camera.

    shape: (K,) and shell: (V,) of that surface; camera: (4, 4) world to camera; lifter: texel table of the atlas."""
    posed = body.pose(body.rest(shape[None], shell[None]), identity.rotations[None], identity.expression[None])
    portrait, mask = identity.portrait, identity.mask
    atlas, visibility, light, _ = lift_unlit(body, portrait, mask, posed, camera, identity.intrinsics, lifter=lifter)
    changed = {"shape": shape, "shell": shell, "world_to_camera": camera}
    return replace(identity, **changed, atlas=atlas, visibility=visibility, light=light)


def table(scores: Sequence[dict[str, float]]) -> str:
    """Return a Markdown table: the PSNR of every surface, and how much of the loss on the body without hair and clothes
    the estimated surface recovers.

    scores: from `surface_psnr`, one per person."""

    def cell(values: list[float]) -> str:
        found = bootstrap(values)
        return f"{found['value']:.2f} [{found['low']:.2f}, {found['high']:.2f}]"

    lines = ["| surface | PSNR of the lift, dB |", "|---|---|"]
    lines += [f"| {name} | {cell([s[name] for s in scores])} |" for name in ROWS]
    true, known, bare, found, naked = ([s[name] for s in scores] for name in ROWS)
    for text, above, below in (
        ("the bare body loses", true, bare),
        ("recovered, pose known", known, bare),
        ("recovered, all estimated", found, naked),
    ):
        lines.append(f"| {text} | {cell([a - b for a, b in zip(above, below, strict=True)])} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line of this module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--people", type=int, default=7, help="held-out people")
    parser.add_argument("--out", help="Markdown file for the table; it is logged in any case")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    body = HalfBody()
    template, lifter = Template(body), Lifter(body)
    scores = []
    for seed in DatasetConfig("val", options.people, shards=1).seeds(0):
        scores.append(surface_psnr(body, seed, template, lifter))
        logger.info("person %d: %s", seed, {name: round(value, 2) for name, value in scores[-1].items()})
    text = table(scores)
    if options.out:
        write_atomically(Path(options.out), lambda name: Path(name).write_text(text + "\n", encoding="utf-8"))
    logger.info("\n%s", text)


if __name__ == "__main__":
    main()
