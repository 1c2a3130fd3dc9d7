"""Build stereotalker_core/body/assets/face_mesh.safetensors: where MediaPipe's 468 face points lie on the half body.

    pip install -e '.[train]'
    python tools/body/calibrate_face_mesh.py PHOTOGRAPHS --out stereotalker_core/body/assets/face_mesh.safetensors

The network's points follow what a face looks like, no topology of ours, so where they lie is measured. Round by round
the body is fitted to the points of every photograph; what is left over, turned back into the head's rest frame, has a
median over people, which is no property of any of them but of the points: by it they move on the mean body's surface.
The first round begins at the 68 landmarks of the asset, or, with --start, where another file says; half a dozen rounds
from nothing come to within some percent of where they would end. --compare FILE prints the residuals of a file.
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from face_mesh_surface import Surface, mirrored_points, symmetric
from torch import Tensor

from stereotalker_core.body.face_mesh import EYE_CONTOURS, FACE_OUTLINE, LIPS
from stereotalker_core.body.fitting.fit import fit_points, mesh_of
from stereotalker_core.body.fitting.fit_pose import fit_pose
from stereotalker_core.body.model import HalfBody
from stereotalker_core.checkpoint import load_tensors, save_tensors
from stereotalker_core.geometry.projection import project
from stereotalker_core.image import load_portrait
from stereotalker_core.perception.faces import MESH68
from stereotalker_core.perception.keypoints import Keypoints
from stereotalker_core.perception.people import find_person, load_perception

log = logging.getLogger("calibrate_face_mesh")
PICTURES = (".jpg", ".jpeg", ".png", ".webp")
ITERATIONS = (8, 15)  # of a fit
LICENCE = (
    "numbers derived by this project from public-domain photographs; Apache-2.0 like the project; no pixel and no "
    "person's own points are kept"
)
_SPREAD = 0.03  # m over which the landmarks' deviation from a similarity carries to the points between them
_INNER = range(17, 68)  # landmarks that lie on fixed places of the skin; the jaw line follows the outline
_AHEAD = 1.3  # times the median that points move: a fit's shape takes a part of every deviation upon itself
_EYES = [*EYE_CONTOURS["L"], *EYE_CONTOURS["R"]]


class Seen(NamedTuple):
    """The detected person: keypoints for the fit, mesh (468, 2) px, deep (468, 3) px with the network's depth,
    expression (52,), size (H, W) of the picture."""

    keypoints: Keypoints
    mesh: Tensor
    deep: Tensor
    expression: Tensor
    size: tuple[int, int]


class Residuals(NamedTuple):
    """The distances between the detected points of P people and those of the bodies fitted to them.

    moves: (P, 468, 3) m in the head's rest frame; errors: (P, 468) relative to the distance of the irises."""

    moves: Tensor
    errors: Tensor

    def summary(self) -> dict[str, float]:
        """Return {"all", "lips", "eyes", "outline": mean error in distances of the irises, "bias", "spread": m}.

        "bias" is the mean length of the points' median moves; "spread" how far, in the median, people differ from
        these."""
        fine = [i for i in LIPS if i not in _EYES]
        median = self.moves.median(0).values
        return {
            "all": float(self.errors.mean()),
            "lips": float(self.errors[:, fine].mean()),
            "eyes": float(self.errors[:, _EYES].mean()),
            "outline": float(self.errors[:, list(FACE_OUTLINE)].mean()),
            "bias": float(median.norm(dim=1).mean()),
            "spread": float((self.moves - median).norm(dim=2).median(0).values.mean()),
        }


def look(folder: Path, every: int, first: int) -> list[Seen]:
    """Detect the largest person in every `every`-th photograph of the folder, beginning with number `first`."""
    networks, found = load_perception(), []
    files = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES)[first::every]
    for path in files:
        image = load_portrait(path).image
        try:
            person = find_person(image, networks)
        except ValueError as refusal:
            log.warning("%s: %s", path.name, refusal)
            continue
        mesh = mesh_of(person.keypoints)
        if not bool(torch.isfinite(mesh).all()) or person.mesh is None or person.expression is None:
            log.warning("%s: part of the face lies outside the picture", path.name)
            continue
        points = fit_points(person.keypoints)
        points = points.subset([n for n in points.names if not n.startswith("hand.")])
        found.append(Seen(points, mesh, person.mesh[:468], person.expression, tuple(image.shape[-2:])))
    if len(found) < 10:
        raise ValueError(f"{folder} shows {len(found)} usable faces; at least ten are needed for a median")
    return found


def first_guess(body: HalfBody, seen: list[Seen]) -> Tensor:
    """Return initial points (468, 3) m near the mean body's face: the mean detected mesh, mapped to the landmarks.

    By a similarity transform, then a smooth field that moves the inner landmarks to their places."""
    landmarks = body.keypoints(body.mean[None], body.bone_mean[None])[0]
    target = landmarks[[body.keypoint_index[f"face.{k}"] for k in _INNER]]
    mesh = torch.stack([_level(one.deep) for one in seen]).median(0).values
    source = mesh[[MESH68[k] for k in _INNER]]
    a, b = source - source.mean(0), target - target.mean(0)
    u, scales, v = torch.linalg.svd(a.T @ b)
    sign = torch.tensor([1.0, 1.0, float(torch.sign(torch.linalg.det(u @ v)))])
    rotation = (u * sign) @ v
    scale = (scales * sign).sum() / a.square().sum()
    points = scale * (mesh - source.mean(0)) @ rotation + target.mean(0)
    anchors = points[[MESH68[k] for k in _INNER]]
    kernel = torch.exp(-(torch.cdist(anchors, anchors) / _SPREAD).square()) + 1e-2 * torch.eye(len(anchors))
    field = torch.exp(-(torch.cdist(points, anchors) / _SPREAD).square())
    return points + field @ torch.linalg.solve(kernel, target - anchors)


def _level(deep: Tensor) -> Tensor:
    """Normalise a detected mesh (468, 3) px: eyes level, looking ahead, eye corners at distance one."""
    across = deep[263] - deep[33]
    down = (deep[152] - deep[10]) - ((deep[152] - deep[10]) @ across) / (across @ across) * across
    x, y = across / across.norm(), down / down.norm()
    axes = torch.stack([x, y, torch.linalg.cross(x, y)])
    return (deep - (deep[263] + deep[33]) / 2) @ axes.T / across.norm()


def measure(body: HalfBody, seen: list[Seen]) -> Residuals:
    """Fit every person with the current points -> the residuals of the detected points on the fitted body."""
    moves, errors = [], []
    for one in seen:
        fit = fit_pose(body, one.keypoints, one.size, iterations=ITERATIONS, expression=one.expression)
        posed = fit.posed(body)
        at = (posed.vertices[0][body.mesh_vertices] * body.mesh_weights[..., None]).sum(1)
        pixel = project(at[None], fit.world_to_camera[None], fit.intrinsics)[0]
        off = one.mesh - pixel[:, :2]
        irises = (one.keypoints.point("iris.L") - one.keypoints.point("iris.R")).norm()
        errors.append(off.norm(dim=1) / irises)
        across = torch.cat([off * pixel[:, 2:] / fit.intrinsics[0, 0], torch.zeros(len(off), 1)], 1)
        world = across @ fit.world_to_camera[:3, :3]
        moves.append(world @ posed.rotations[0, body.bone_index["head"]])
    return Residuals(torch.stack(moves), torch.stack(errors))


def calibrate(body: HalfBody, seen: list[Seen], rounds: int, start: Path | None) -> dict[str, float]:
    """Move the mesh points of `body`, in place, to where they fit best -> the summary of the last round's residuals.

    seen: the detected people; rounds: how many; start: file with first points, None: the landmarks of the asset."""
    surface = Surface(body)
    mirror = mirrored_points(torch.stack([one.mesh for one in seen]))
    points = first_guess(body, seen) if start is None else surface.at(*read(start))
    points = symmetric(points, mirror)
    for number in range(rounds + 1):
        body.mesh_vertices, body.mesh_weights = surface.place(points)
        residuals = measure(body, seen)
        summary = residuals.summary()
        log.info("round %d: %s", number, ", ".join(f"{k} {v:.4f}" for k, v in summary.items()))
        median = symmetric(residuals.moves.median(0).values, mirror)
        points = symmetric(surface.at(body.mesh_vertices, body.mesh_weights) + _AHEAD * median, mirror)
    return summary


def read(path: Path) -> tuple[Tensor, Tensor]:
    """Read where the 468 points lie from a file: vertices (468, 3) of a triangle, and barycentric weights (468, 3)."""
    tensors = load_tensors(path)[0]
    return tensors["vertices"].long(), tensors["weights"].float()


@torch.no_grad()
def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("stereotalker_core").setLevel(logging.ERROR)
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photographs", type=Path, help="folder of portraits, one face each, most of them frontal")
    parser.add_argument("--out", type=Path, help="file to write")
    parser.add_argument("--compare", type=Path, help="print the residuals of this file")
    parser.add_argument("--start", type=Path, help="begin where this file says")
    parser.add_argument("--every", type=int, default=1, help="take every N-th photograph")
    parser.add_argument("--first", type=int, default=0, help="beginning with this one")
    parser.add_argument("--rounds", type=int, default=6)
    o = parser.parse_args()
    if o.out is None and o.compare is None:
        parser.error("give --out, --compare or both")
    body = HalfBody()
    seen = look(o.photographs, o.every, o.first)
    if o.compare:
        body.mesh_vertices, body.mesh_weights = read(o.compare)
        log.info("%s: %s", o.compare, measure(body, seen).summary())
    if o.out:
        residuals = calibrate(body, seen, o.rounds, o.start)
        meta = {
            "command": "python tools/body/calibrate_face_mesh.py PHOTOGRAPHS " + " ".join(_options(sys.argv[1:], o)),
            "photographs": f"{len(seen)} official head-and-shoulder portraits in the public domain, one person each",
            "licence": LICENCE,
            "residuals": residuals,
        }
        rows, weights = body.mesh_vertices.to(torch.int32).to(torch.uint16), body.mesh_weights.half()
        save_tensors({"vertices": rows, "weights": weights}, meta, o.out)


def _options(words: list[str], options: argparse.Namespace) -> list[str]:
    """Return the command line without machine-specific folders."""
    kept = [word for word in words if word != str(options.photographs)]
    return [Path(word).name if "/" in word else word for word in kept]


if __name__ == "__main__":
    main()
