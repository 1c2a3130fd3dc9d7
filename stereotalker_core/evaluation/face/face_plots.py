"""Pictures of how faces move: heat maps of the displacement over the face, curves of ten samples against the truth."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ...body.model import HalfBody
from ...body.rasterize import interpolate, rasterize
from ...checkpoint import write_atomically
from ...face.arkit_map import layout_map
from ...face.layout import N_EXPRESSION
from ...face.sampling import FaceModels
from .evaluate import FaceMesh, Item, face_mesh, performances
from .face_metrics import N_SAMPLES, movement

_SIZE = 256
_SAMPLES, _TRUTH, _AXES = (120, 160, 220), (200, 40, 40), (90, 90, 90)


def heat_colour(value: Tensor) -> Tensor:
    """Map values (...) in [0, 1] -> colours (..., 3), from dark blue over green to yellow."""
    stops = torch.tensor([[0.17, 0.12, 0.45], [0.13, 0.45, 0.55], [0.35, 0.72, 0.40], [0.99, 0.90, 0.15]])
    place = value.clamp(0, 1) * (len(stops) - 1)
    low = place.floor().long().clamp_max(len(stops) - 2)
    return torch.lerp(stops[low], stops[low + 1], (place - low)[..., None])


def heat_map(body: HalfBody, mesh: FaceMesh, value: Tensor, top: float, size: int = _SIZE) -> Tensor:
    """Draw one number per vertex of the mesh on the face, seen from the front -> (3, H, W) in [0, 1].

    body, mesh: the face.
    value: (V,) numbers.
    top: the number that is drawn yellow.
    size: px of the picture."""
    at = torch.full((body.n_vertices,), -1)
    at[mesh.ids] = torch.arange(len(mesh.ids))
    triangles = at[body.triangles]
    triangles = triangles[(triangles >= 0).all(1)]
    low, high = mesh.template.amin(0), mesh.template.amax(0)
    scale = 0.9 * size / max(float(high[0] - low[0]), float(high[2] - low[2]))
    middle = (low + high) / 2
    x = (mesh.template[:, 0] - middle[0]) * scale + size / 2
    y = (middle[2] - mesh.template[:, 2]) * scale + size / 2
    points = torch.stack([x, y, 2 + mesh.template[:, 1] / 1000], 1)[None]  # looking along -y: nearer is smaller
    fragments = rasterize(points, triangles, (size, size))
    colour = interpolate(heat_colour(value / top)[None], triangles, fragments)[0]
    inside = (fragments.triangle[0] >= 0)[..., None]
    return torch.where(inside, colour, torch.ones(3)).permute(2, 0, 1)


def curves(truth: Tensor, samples: Tensor, title: str, size: tuple[int, int] = (640, 220)) -> Image.Image:
    """Draw truth (T,) in red over samples (N, T) in blue, with the range of the numbers at the left."""
    width, height = size
    picture = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(picture)
    both = torch.cat([samples, truth[None]])
    low, high = float(both.min()), float(both.max())
    unit = max(high - low, 1e-6)

    def path(values: Tensor) -> list[tuple[float, float]]:
        step = (width - 70) / max(1, len(values) - 1)
        return [(60 + i * step, 30 + (height - 45) * (high - float(v)) / unit) for i, v in enumerate(values)]

    for sample in samples:
        draw.line(path(sample), fill=_SAMPLES, width=1)
    draw.line(path(truth), fill=_TRUTH, width=2)
    draw.text((60, 8), title, fill=_AXES)
    draw.text((4, 24), f"{high:.3f}", fill=_AXES)
    draw.text((4, height - 22), f"{low:.3f}", fill=_AXES)
    return picture


def write_plots(models: FaceModels, items: Sequence[Item], folder: Path) -> list[Path]:
    """Draw movement.png and a curves_N.png for every item -> the files.

    models: ProbTalk3D and its speech encoder.
    items: the sentences to perform.
    folder: where the files are written.

    movement.png shows mean and deviation of the movement over the face, of the teacher and of the model; curves_N.png
    ten performances of item N against the teacher's."""
    body = HalfBody()
    mesh, to_face = face_mesh(body), layout_map()
    sums, written = torch.zeros(2, 2, len(mesh.ids)), []
    for n, item in enumerate(items):
        samples, truth = performances(models, item, samples=N_SAMPLES, seed=n), item.teacher(n)
        for row, motion in enumerate((truth, samples[0])):
            sums[row] += torch.stack(movement(mesh.vertices(motion))) / len(items)
        ours, theirs = to_face.face(samples), to_face.face(truth)
        name = f"{item.style.identity} {item.style.emotion} {item.style.intensity}"
        strips = [
            curves(theirs[:, :N_EXPRESSION].mean(1), ours[..., :N_EXPRESSION].mean(2), f"mean expression, {name}"),
            curves(theirs[:, N_EXPRESSION:].mean(1), ours[..., N_EXPRESSION:].mean(2), "mean jaw (rad)"),
        ]
        written.append(_save(_stack(strips), folder / f"curves_{n}.png"))
    top = sums.amax((0, 2))  # one scale for the means, one for the deviations
    maps = [[heat_map(body, mesh, sums[row, k], float(top[k])) for k in range(2)] for row in range(2)]
    grid = torch.cat([torch.cat(row, 2) for row in maps], 1)
    picture = Image.fromarray((grid.permute(1, 2, 0) * 255).round().byte().numpy())
    _label(picture, top)
    return [*written, _save(picture, folder / "movement.png")]


def _label(picture: Image.Image, top: Tensor) -> None:
    draw = ImageDraw.Draw(picture)
    for row, who in enumerate(("teacher", "model")):
        for column, what in enumerate(("mean", "deviation")):
            text = f"{who}: {what} of the step, yellow = {float(top[column]):.2f} mm"
            draw.text((column * _SIZE + 6, row * _SIZE + 4), text, fill=_AXES)


def _stack(pictures: Sequence[Image.Image]) -> Image.Image:
    out = Image.new("RGB", (pictures[0].width, sum(p.height for p in pictures)), "white")
    height = 0
    for picture in pictures:
        out.paste(picture, (0, height))
        height += picture.height
    return out


def _save(picture: Image.Image, path: Path) -> Path:
    write_atomically(path, lambda name: picture.save(name))
    return path
