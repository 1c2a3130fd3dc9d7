"""Data of the bake: what a portrait's fit knows of a person's texture, and the whole of it, as pictures of the rig.

    python -m stereotalker_core synth bake --identities 2203 --out data/bake

No video is rendered: of each person one portrait is drawn, fitted and lifted; the truth is the painted texture under
the light in which the fit sees it. Fits are true ones, ones with a real fit's errors, or treated as a photograph's are
(`Trust.registered`). Written identity by identity into a memory-mapped array; a killed run goes on where it was.
"""

import argparse
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...body.model import HalfBody
from ...body.texture.lift import lift_unlit
from ...body.texture.light import shade
from ...body.texture.portrait_view import Trust
from ...body.texture.rig import FITS, RIG_ATLAS, Rig
from ...records import Identity
from ..people.avatar import Avatar, make_avatar
from ..people.portrait import (
    AvatarPortrait,
    _posed,
    bare_identity,
    perturbed_identity,
    reference_portrait,
    true_identity,
)
from ..people.render import _GAIN
from ..people.template import Template, uniform

log = logging.getLogger(__name__)
PORTRAIT = 512  # pixels
SHARES = (0.4, 0.3, 0.3)  # of people, by the kind of their fit (FITS)
CHANNELS = 7  # of a row: lift (3), visibility, truth (3)
_SKY_LOW = (0.55, 0.50, 0.48)  # of render._shaded_colour
_BASE_SEED = 3_000_000  # apart from those of every other set
_BRIGHTEST = 1.15  # of what the truth may be: a wrong light leaves more than white


@dataclass(frozen=True)
class Example:
    """The example of one person: values at the P pixels of the rig, colours in [-1, 1].

    lift: (P, 3), the portrait's colours, with holes filled; visibility: (P, 1) in [0, 1], what the portrait showed;
        truth: (P, 3), the true colours, which may lie a little above 1."""

    lift: Tensor
    visibility: Tensor
    truth: Tensor


def seed_of(place: int, seed: int) -> int:
    """Return the avatar's seed for the person at number `place` in the set with this seed."""
    return _BASE_SEED + seed * 100_000 + place


def true_texture(body: HalfBody, rig: Rig, avatar: Avatar, identity: Identity) -> Tensor:
    """Return the person's true texture (P, 3) in [-1, 1] under the light of the fit, so that guides shade it correctly.

    The surface is lit as in the portrait; highlights, which move with the camera, are left out."""
    vertices = _posed(body, identity).vertices
    normals = body.normals(vertices)[0]
    normal = (normals[rig.corners] * rig.weight[..., None]).sum(1)
    normal = normal / normal.norm(dim=1, keepdim=True).clamp_min(1e-6)
    light = avatar.light
    low = normal.new_tensor(_SKY_LOW)
    sky = low + (1 - low) * (0.5 + 0.5 * normal[:, 2:])
    direct = (normal @ light.direction).clamp_min(0)[:, None]
    shading = (light.colour * direct * (1 - light.ambient) + light.ambient * sky) * _GAIN
    paint = rig.pictures(avatar.albedo, "uv")
    shown = (paint.square() * shading).clamp(0, 1).sqrt()
    if identity.light is not None:
        shown = shown / shade(normal, identity.light).sqrt()
    return shown.clamp(0, _BRIGHTEST) * 2 - 1


def fitted(
    body: HalfBody, rig: Rig, avatar: Avatar, portrait: AvatarPortrait, template: Template, kind: str, seed: int
) -> Identity:
    """Fit an avatar's portrait and project it onto the texture -> the identity.

    body, rig, template: tables of the body; avatar, portrait: the person; seed: determines the fit's errors.
    kind: how wrong the fit is: "true", "perturbed" (a real fit's errors), or "registered" (true, treated as a
        photograph's)."""
    if kind == "perturbed":
        rng = torch.Generator().manual_seed(seed)
        bare = replace(bare_identity(avatar, portrait, portrait.background), quality=1.0)
        return perturbed_identity(body, bare, rng, template, rig.lifter)
    if kind == "true":
        return true_identity(body, avatar, portrait, rig.lifter)
    bare = bare_identity(avatar, portrait, portrait.background)
    view = (bare.portrait, bare.mask, _posed(body, bare), bare.world_to_camera, bare.intrinsics)
    atlas, visibility, light, _ = lift_unlit(body, *view, lifter=rig.lifter, trust=Trust(registered=True))
    return replace(bare, atlas=atlas, visibility=visibility, light=light, atlas_layout=2)


def fit_of(seed: int) -> int:
    """Return the place in FITS that the person with this avatar seed gets."""
    place = uniform(torch.Generator().manual_seed(seed * 17 + 11), 0, 1)
    return sum(place >= edge for edge in np.cumsum(SHARES)[:-1])


def draw_example(body: HalfBody, rig: Rig, template: Template, seed: int) -> Example:
    """Make the example of one person: draw an avatar and their portrait, fit it, and show the fit on the rig.

    body, rig, template: tables of the body; seed: determines everything."""
    avatar = make_avatar(body, seed, template)
    portrait = reference_portrait(body, avatar, seed * 11 + 1, PORTRAIT)
    identity = fitted(body, rig, avatar, portrait, template, FITS[fit_of(seed)], seed)
    pictures = rig.pictures(torch.cat([identity.atlas, identity.visibility]))
    truth = true_texture(body, rig, avatar, replace(identity, rotations=portrait.motion.rotations[0]))
    return Example(pictures[:, :3], pictures[:, 3:], truth)


def packed(example: Example) -> np.ndarray:
    """Convert an example to bytes (P, CHANNELS) uint8."""
    colours = torch.cat([example.lift, example.truth / _BRIGHTEST], 1) * 127.5 + 127.5
    row = torch.cat([colours[:, :3], example.visibility * 255, colours[:, 3:]], 1)
    return row.round().clamp(0, 255).to(torch.uint8).numpy()


def unpacked(rows: Tensor) -> Example:
    """Convert bytes (..., P, CHANNELS) uint8 of any number of people to an `Example` with the same leading axes."""
    values = rows.float()
    colour, truth = values[..., :3] / 127.5 - 1, (values[..., 4:] / 127.5 - 1) * _BRIGHTEST
    return Example(colour, values[..., 3:4] / 255, truth)


@torch.inference_mode()
def generate(
    out: str | Path, identities: int, seed: int = 1, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Write, or resume writing, the examples of many people into a folder -> the folder.

    out: the folder.
    identities: number of people.
    seed: number of the set; other sets have other people.
    progress: called with (people done, people in total).

    ValueError where the folder holds another set."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    body = HalfBody()
    rig, template = Rig(body), Template(body, RIG_ATLAS)
    record = json.dumps({"identities": identities, "seed": seed, "pixels": len(rig.pixel)})
    path, told = out / "examples.npy", out / "config.json"
    if told.is_file() and told.read_text(encoding="utf-8") != record:
        raise ValueError(f"{out} was written with {told.read_text(encoding='utf-8')}, not {record}; take another one")
    shape = (identities, len(rig.pixel), CHANNELS)
    known = path.is_file() and told.is_file()
    array = np.lib.format.open_memmap(path, "r+" if known else "w+", None if known else np.uint8, shape)
    told.write_text(record, encoding="utf-8")
    for place in range(_written(out), identities):
        array[place] = packed(draw_example(body, rig, template, seed_of(place, seed)))
        array.flush()
        (out / "written").write_text(str(place + 1), encoding="utf-8")
        if progress is not None:
            progress(place + 1, identities)
    return out


def _written(folder: Path) -> int:
    counter = folder / "written"
    return int(counter.read_text(encoding="utf-8") or 0) if counter.is_file() else 0


def read(folder: str | Path) -> np.ndarray:
    """Map the finished examples of a folder into memory: (people, P, CHANNELS) uint8. ValueError without any."""
    folder = Path(folder)
    count = _written(folder)
    if not count:
        raise ValueError(f"no people in {folder}; make some with: synth bake --out {folder}")
    return np.load(folder / "examples.npy", mmap_mode="r")[:count]


def read_fits(folder: str | Path) -> np.ndarray:
    """Return how each of the finished people of a folder was fitted: places in FITS, (people,)."""
    told = json.loads((Path(folder) / "config.json").read_text(encoding="utf-8"))
    return np.array([fit_of(seed_of(place, told["seed"])) for place in range(_written(Path(folder)))])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `synth bake`."""
    parser.add_argument("--identities", type=int, default=2203)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", default="data/bake")


def run(options: argparse.Namespace) -> None:
    """Write, or resume writing, the examples of all people."""

    def tell(done: int, total: int) -> None:
        if done % 50 == 0 or done == total:
            log.info("%d of %d people", done, total)

    generate(options.out, options.identities, options.seed, tell)
