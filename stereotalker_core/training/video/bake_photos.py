"""Photographs as data of the bake: texels that a turned camera would not see are hidden and must be predicted.

    python -m stereotalker_core synth bake-photos --photos FOLDER --out data/bake_photos

Nobody knows the other side of a photograph. But part of what it shows would be hidden had the camera stood elsewhere:
those texels lose their visibility, the fill is recomputed without them, and they become the truth. Every photograph
gives several such examples; what it never showed is marked as unknown (visibility 1, truth = lift), so that it has no
influence. The rows are those of synthetic/data/bake_data.py."""

import argparse
import json
import logging
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...body.model import HalfBody
from ...body.rasterize import at_points
from ...body.texture.lift import _lift, lift_unlit
from ...body.texture.portrait_view import PortraitView, Trust
from ...body.texture.rig import Rig
from ...image import load_portrait
from ...perception.networks import Perception, load_perception
from ...records import Identity
from ...synthetic.data.bake_data import CHANNELS, Example, packed

log = logging.getLogger(__name__)
TURNS = (-70.0, -45.0, 45.0, 70.0)  # degrees
_RAMP = (0.1, 0.3)  # cosine from which a turned camera would see a texel, and over which trust grows
_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


class TurnedView(PortraitView):
    """The portrait's view, reduced to what a camera rotated by `turn` degrees would see as well."""

    turn: float | None = None

    def sample(self, corners: Tensor, weight: Tensor, *kinds, **named) -> tuple[Tensor, Tensor]:
        """Sample colours and visibility as `PortraitView.sample` does; what faces away from the turned camera is less
        visible."""
        colour, seen = super().sample(corners, weight, *kinds, **named)
        if self.turn is None:
            return colour, seen
        angle = math.radians(self.turn)
        towards = self.normal.new_tensor([-math.sin(angle), -math.cos(angle), 0.0])
        facing = at_points((self.normal @ towards)[:, None], corners, weight)[:, 0]
        return colour, seen * ((facing - _RAMP[0]) / _RAMP[1]).clamp(0, 1)


def examples_of(body: HalfBody, rig: Rig, identity: Identity) -> list[Example]:
    """Return examples on the rig's pixels, one per simulated turn of the camera, lit as in the whole photograph."""
    posed = body.pose(
        body.rest(identity.shape[None], identity.shell[None]), identity.rotations[None], identity.expression[None]
    )
    told = (identity.portrait, identity.mask, posed, identity.world_to_camera, identity.intrinsics)
    trust = Trust(registered=True)
    atlas, visibility, light, _ = lift_unlit(body, *told, lifter=rig.lifter, trust=trust)
    whole = rig.pictures(torch.cat([atlas, visibility]))
    view, found = TurnedView(body, *told, trust), []
    view.light = light
    for turn in TURNS:
        view.turn = turn
        pictures = rig.pictures(torch.cat(_lift(body, rig.lifter, view)[:2]))
        known = whole[:, 3:] > 0.9
        lift = torch.where(known, pictures[:, :3], whole[:, :3])
        found.append(Example(lift, torch.where(known, pictures[:, 3:], 1.0), whole[:, :3]))
    return found


def _fit_or_skip(body: HalfBody, networks: Perception, path: Path) -> Identity | None:
    from ...pipeline import fit_person

    portrait = load_portrait(path)
    try:
        return fit_person(body, portrait.image, mask=portrait.mask, networks=networks)
    except ValueError as error:
        log.warning("%s: %s", path.name, error)
        return None


@torch.inference_mode()
def generate(photos: str | Path, out: str | Path, count: int | None = None) -> Path:
    """Write, or resume writing, the examples of a folder's photographs. ValueError where there are none.

    photos: their folder; out: where examples are written; count: photographs at most, by name; None for all."""
    paths = sorted(p for p in Path(photos).rglob("*") if p.suffix.lower() in _SUFFIXES)[:count]
    if not paths:
        raise ValueError(f"no photographs in {photos}")
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    body, networks = HalfBody(), load_perception()
    rig, done = Rig(body), out / "photographs.json"
    seen = json.loads(done.read_text(encoding="utf-8")) if done.is_file() else []
    shape = (len(paths) * len(TURNS), len(rig.pixel), CHANNELS)
    path = out / "examples.npy"
    array = np.lib.format.open_memmap(path, "r+" if seen else "w+", None if seen else np.uint8, shape)
    written = int((out / "written").read_text(encoding="utf-8")) if seen else 0
    for photo in paths:
        if photo.name in seen:
            continue
        identity = _fit_or_skip(body, networks, photo)
        for example in [] if identity is None else examples_of(body, rig, identity):
            array[written] = packed(example)
            written += 1
        array.flush()
        seen.append(photo.name)
        (out / "written").write_text(str(written), encoding="utf-8")
        done.write_text(json.dumps(seen), encoding="utf-8")
        log.info("%s: %d examples", photo.name, written)
    return out


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `synth bake-photos`."""
    parser.add_argument("--photos", required=True, metavar="FOLDER")
    parser.add_argument("--count", type=int, help="so many of them, by name")
    parser.add_argument("--out", default="data/bake_photos")


def run(options: argparse.Namespace) -> None:
    """Write the examples of a folder of photographs."""
    generate(options.photos, options.out, options.count)
