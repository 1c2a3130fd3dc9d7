"""The rig: fixed tables between the atlas and canonical orthographic pictures of a person's texture.

What the portrait does not show is generated in pictures and not in the atlas, because neighbours in a picture are
neighbours on the body, while neighbours in the atlas depend on how its charts were packed. The views show the mean body
in its A pose, all from the same height, so that

* a row of pixels is the same height in every view (an epipolar line: attention between views needs one row, no more),
* the pixel on the opposite side of the body is in the mirrored column of the opposite view, and the same point on the
  other half of the body has a place, too: `opposite` and `mirror`.

From the side an arm would hide the trunk, so arms are drawn beside the trunk there. The tables depend on the body
alone, not on the person: a shell or a shape moves surface points, not the texels they carry."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...pixels.inpaint_places import push_pull
from ..model import HalfBody
from ..rasterize import at_points, rasterize
from ..regions import FACE_PARTS, HAND_PARTS
from .texels import Lifter

YAWS = (0.0, 90.0, 180.0, -90.0)  # degrees; positive: from the person's right, as everywhere
SIZE = (240, 288)  # rows and columns of a view
METRES = 0.004  # a pixel
BLOCK = 4  # pixels a side of a square that networks take as one token
RIG_ATLAS = 512  # texels a side of the atlas that the views are taken from and given back to
RIG_REGIONS = ("clothes", "face", "hair", "hands")
FITS = ("true", "perturbed", "registered")  # how a person was fitted: synthetic ones exactly or not, or as photographs
_TOP = 0.86  # m: the upper edge of the views
_SAMPLES = 2  # a pixel and axis
_BESIDE = (0.37, 0.22)  # m: where arms stand from the side: the near one behind the back, the far one before the chest
_FAR_AWAY = 100.0  # m: so far, a perspective is none
_STEEPEST, _SHARP = 0.2, 3  # cosine from which a view tells something of a surface, and how much the best view counts
_SAME = 0.004  # m behind the nearest surface that still count as it
_COLLAR, _CHEEKS = 0.47, -0.08  # m: cloth is below everybody's collar, skin on the front of every face
_INNER = ("mouth", "tongue", "teeth.up", "teeth.low", "lashes", "eye.L", "eye.R", "eyesocket")


class Layer(NamedTuple):
    """The parts that are drawn together in a view (hiding each other), and how many metres they are shifted sideways.
    """

    parts: tuple[str, ...]
    shift: float


def _drawn_parts(body: HalfBody, yaw: float) -> list[Layer]:
    """Return the layers of a view: all parts in one, or from the side the trunk and each arm, shifted beside it."""
    if abs(math.sin(math.radians(yaw))) < 0.5:
        return [Layer(tuple(body.part_names), 0.0)]
    arms = {side: (f"arm.{side}", f"hand.{side}") for side in "LR"}
    trunk = tuple(n for n in body.part_names if n not in (*arms["L"], *arms["R"]))
    back = 1.0 if yaw < 0 else -1.0  # the column direction that points behind the person
    near, far = ("L", "R") if yaw < 0 else ("R", "L")
    return [Layer(trunk, 0.0), Layer(arms[near], back * _BESIDE[0]), Layer(arms[far], -back * _BESIDE[1])]


def _axes(yaw: float) -> tuple[Tensor, Tensor]:
    """Return the picture's right and the direction towards the camera: unit vectors (3,) in the body's axes."""
    angle = math.radians(yaw)
    right = torch.tensor([math.cos(angle), -math.sin(angle), 0.0])
    return right, torch.tensor([-math.sin(angle), -math.cos(angle), 0.0])


class Rig(nn.Module):
    """The tables of a body's rig, as buffers. P of the pixels of all V views (H x W each) show the body (covered
    pixels).

    pixel: (P,) flat index of the covered pixels into V x H x W.
    grid: (S, 2) sample positions in the atlas; owner: (S,) the covered pixel that averages them.
    uv: (S, 2) the same positions in the layout of synthetic people.
    position, normal: (P, 3) on the mean body; region: (P, 4) fractions of the pixel in each of RIG_REGIONS.
    inner: (P,) bool, eyes, teeth and mouth.
    texel: (P,) flat index of one texel of a RIG_ATLAS atlas that the pixel shows.
    speakers: (P, 2) pixels whose seen colours determine the colour of the cloth, and that of the skin.
    token: (T,) flat index of the squares of BLOCK pixels a side that show some of the body.
    opposite, mirror: (P,) the covered pixel behind, and at the mirrored place; opposite_there, mirror_there: if any."""

    pixel: Tensor
    owner: Tensor
    count: Tensor
    grid: Tensor
    uv: Tensor
    corners: Tensor
    weight: Tensor
    texel: Tensor
    position: Tensor
    normal: Tensor
    region: Tensor
    inner: Tensor
    yaw: Tensor
    opposite: Tensor
    mirror: Tensor
    opposite_there: Tensor
    mirror_there: Tensor
    speakers: Tensor
    places: Tensor
    shares: Tensor
    token: Tensor
    held: Tensor
    inside: Tensor

    def __init__(self, body: HalfBody, lifter: Lifter | None = None):
        super().__init__()
        self.views, self.size = len(YAWS), SIZE
        self.lifter = lifter if lifter is not None else Lifter(body, RIG_ATLAS)
        samples = [self._rasterize(body, view) for view in range(self.views)]
        triangle, weight, pixel = (torch.cat(parts) for parts in zip(*samples, strict=True))
        # several samples fall into one pixel: owner says into which, count how many
        covered, owner = torch.unique(pixel, return_inverse=True)
        count = torch.bincount(owner, minlength=len(covered))[:, None]
        corners = body.triangles[triangle]

        def mean(values: Tensor) -> Tensor:
            return values.new_zeros(len(covered), values.shape[1]).index_add_(0, owner, values) / count

        normals = body.normals(body.mean[None])[0]
        part = body.triangle_part[triangle]
        at = torch.arange(len(covered))
        first = torch.full((len(covered),), len(part)).scatter_reduce(0, owner, torch.arange(len(part)), "amin")
        inner = torch.isin(part, part.new_tensor([body.part_index[n] for n in _INNER]))
        # what a pixel has once (a corner, a texel) is its first sample's; places, normals and regions are means
        buffers = {
            "pixel": covered,
            "owner": owner,
            "count": count[:, 0],
            "grid": at_points(body.atlas_uv, body.uv_triangles[triangle], weight) * 2 - 1,
            "uv": at_points(body.uv, body.uv_triangles[triangle], weight) * 2 - 1,
            "corners": corners[first],
            "weight": weight[first],
            "texel": _texel(at_points(body.atlas_uv, body.uv_triangles[triangle[first]], weight[first])),
            "position": mean(at_points(body.mean, corners, weight)),
            "normal": F.normalize(mean(at_points(normals, corners, weight)), dim=1),
            "region": mean(_regions_of_parts(body)[part]),
            "inner": mean(inner[:, None].float())[:, 0] > 0.5,
            "yaw": torch.tensor(YAWS),
        }
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)
        # pixels that surely show cloth (the trunk below the collar), and that surely show skin (the front of the face)
        side = part[first]
        place, torso = buffers["position"], side == body.part_index["torso"]
        face = (side == body.part_index["face"]) & (place[:, 1] < _CHEEKS)
        speakers = torch.stack([torso & (place[:, 2] < _COLLAR), face], 1)
        self.register_buffer("speakers", speakers.float(), persistent=False)
        self._partners(body, at, side)
        self._tokens()
        self._merging(body)

    # ---------------------------------------------------------------- tables
    @staticmethod
    def _place(points: Tensor, yaw: float, shift: Tensor | float) -> Tensor:
        """Project points (N, 3) m into the view from `yaw` degrees -> (N, 2) column and row, px; shift: metres
        sideways."""
        right, _ = _axes(yaw)
        across = points @ right.to(points) + shift
        return torch.stack([across / METRES + SIZE[1] / 2, (_TOP - points[:, 2]) / METRES], 1)

    def _rasterize(self, body: HalfBody, view: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the samples of a view: triangle (S,), barycentric (S, 3), flat pixel index over all views (S,)."""
        rows, columns = SIZE
        found = []
        for layer in _drawn_parts(body, YAWS[view]):
            ids = torch.tensor([body.part_index[n] for n in layer.parts])
            chosen = torch.isin(body.triangle_part, ids).nonzero().squeeze(1)
            depth = self._depth(body.mean, view)
            points = torch.cat([self._place(body.mean, YAWS[view], layer.shift) * _SAMPLES, depth[:, None]], 1)
            seen = rasterize(points[None], body.triangles[chosen], (rows * _SAMPLES, columns * _SAMPLES))
            hit = (seen.triangle[0] >= 0).flatten().nonzero().squeeze(1)
            row = torch.div(hit, columns * _SAMPLES, rounding_mode="floor")
            line, column = (torch.div(x, _SAMPLES, rounding_mode="floor") for x in (row, hit % (columns * _SAMPLES)))
            pixel = (view * rows + line) * columns + column
            found.append((chosen[seen.triangle.flatten()[hit]], seen.barycentric.reshape(-1, 3)[hit], pixel))
        triangle, weight, pixel = (torch.cat(list(parts)) for parts in zip(*found, strict=True))
        return triangle, weight, pixel

    @staticmethod
    def _depth(points: Tensor, view: int) -> Tensor:
        return _FAR_AWAY - points @ _axes(YAWS[view])[1].to(points)

    @staticmethod
    def _shifts(body: HalfBody, yaw: float) -> Tensor:
        """Return (parts,) metres by which each part is shifted sideways in a view."""
        shift = torch.zeros(len(body.part_names))
        for layer in _drawn_parts(body, yaw):
            shift[[body.part_index[n] for n in layer.parts]] = layer.shift
        return shift

    def _partners(self, body: HalfBody, at: Tensor, part: Tensor) -> None:
        rows, columns = SIZE
        view = torch.div(self.pixel, rows * columns, rounding_mode="floor")
        slot = torch.full((self.views * rows * columns,), -1).index_copy(0, self.pixel, at)
        swap = {"L": "R", "R": "L"}
        mirrored = torch.tensor(
            [body.part_index[f"{n[:-1]}{swap[n[-1]]}" if n.endswith((".L", ".R")) else n] for n in body.part_names]
        )
        flipped = self.position * torch.tensor([-1.0, 1.0, 1.0])
        there = {"opposite": (self.position, part), "mirror": (flipped, mirrored[part])}
        for name, (points, label) in there.items():
            index = torch.zeros_like(at)
            for v, yaw in enumerate(YAWS):
                turned = yaw + 180 if name == "opposite" else -yaw
                target = min(range(self.views), key=lambda k: abs((YAWS[k] - turned + 180) % 360 - 180))
                own = view == v
                place = self._place(points[own], YAWS[target], self._shifts(body, YAWS[target])[label[own]]).long()
                x, y = place[:, 0].clamp(0, columns - 1), place[:, 1].clamp(0, rows - 1)
                index[own] = slot[(target * rows + y) * columns + x]
            self.register_buffer(name, index.clamp_min(0), persistent=False)
            self.register_buffer(f"{name}_there", (index >= 0).float(), persistent=False)

    def _merging(self, body: HalfBody) -> None:
        """Find where every texel of the lifter's atlas lies in the views, and how much weight each view has for it."""
        lifter, (rows, columns) = self.lifter, SIZE
        points = at_points(body.mean, lifter.corners, lifter.weight)
        normals = F.normalize(at_points(body.normals(body.mean[None])[0], lifter.corners, lifter.weight), dim=1)
        nearest = torch.full((self.views * rows * columns,), 1e3)
        view = torch.div(self.pixel, rows * columns, rounding_mode="floor")
        # a depth map per view, of the pixels that the rig covers
        for v in range(self.views):
            own = view == v
            nearest[self.pixel[own]] = self._depth(self.position[own], v)
        places, weights = [], []
        for v, yaw in enumerate(YAWS):
            place = self._place(points, yaw, self._shifts(body, yaw)[lifter.part])
            cell = place.long()
            inside = ((cell >= 0) & (cell < torch.tensor([columns, rows]))).all(1)
            cell = cell.clamp_min(0).minimum(torch.tensor([columns - 1, rows - 1]))
            facing = normals @ _axes(yaw)[1]
            # a texel is hidden where something lies nearer than itself; more is forgiven where it is seen at a slant
            slack = _SAME + METRES * (1 - facing.square()).clamp_min(0).sqrt() / facing.clamp_min(0.1)
            hidden = self._depth(points, v) - nearest[(v * rows + cell[:, 1]) * columns + cell[:, 0]] > slack
            sure = ((facing - _STEEPEST) / (1 - _STEEPEST)).clamp(0, 1) ** _SHARP
            places.append(place / torch.tensor([columns, rows]) * 2 - 1)
            weights.append(sure * inside * ~hidden)
        self.register_buffer("places", torch.stack(places), persistent=False)  # (V, N, 2)
        self.register_buffer("shares", torch.stack(weights), persistent=False)  # (V, N)

    def _tokens(self) -> None:
        """Split the views into squares of BLOCK x BLOCK pixels: find the pixels of each square, and each pixel's place
        in it."""
        rows, columns = SIZE
        line, column = torch.div(self.pixel, columns, rounding_mode="floor"), self.pixel % columns
        token = torch.div(line, BLOCK, rounding_mode="floor") * (columns // BLOCK) + torch.div(
            column, BLOCK, rounding_mode="floor"
        )
        covered, slot = torch.unique(token, return_inverse=True)
        inside = slot * BLOCK**2 + line % BLOCK * BLOCK + column % BLOCK
        held = torch.full((len(covered) * BLOCK**2,), len(self.pixel))
        held[inside] = torch.arange(len(self.pixel))
        self.register_buffer("token", covered, persistent=False)
        self.register_buffer("held", held, persistent=False)
        self.register_buffer("inside", inside, persistent=False)

    # ---------------------------------------------------------------- pictures
    def tokens(self, values: Tensor) -> Tensor:
        """Map values of covered pixels (..., P, C) -> the T covered squares (..., T, BLOCK * BLOCK * C), zero off the
        body."""
        padded = F.pad(values, (0, 0, 0, 1))
        return padded.index_select(-2, self.held).unflatten(-2, (-1, BLOCK**2)).flatten(-2)

    def from_tokens(self, tokens: Tensor) -> Tensor:
        """Map squares of pixels (..., T, BLOCK * BLOCK * C) -> covered pixels (..., P, C), the inverse of `tokens`."""
        return tokens.unflatten(-1, (BLOCK**2, -1)).flatten(-3, -2).index_select(-2, self.inside)

    def laid_out(self, tokens: Tensor) -> Tensor:
        """Arrange covered squares (B, T, C) as maps (B * V, C, H / BLOCK, W / BLOCK), zero elsewhere, in channels-last
        memory."""
        rows, columns = (side // BLOCK for side in self.size)
        flat = tokens.new_zeros(len(tokens), self.views * rows * columns, tokens.shape[-1])
        flat = flat.index_copy(1, self.token, tokens)
        return flat.view(-1, rows, columns, tokens.shape[-1]).permute(0, 3, 1, 2)

    def collected(self, maps: Tensor) -> Tensor:
        """Collect the covered squares (B, T, C) from maps, the inverse of `laid_out`."""
        flat = maps.permute(0, 2, 3, 1).reshape(len(maps) // self.views, -1, maps.shape[1])
        return flat.index_select(1, self.token)

    def pictures(self, atlas: Tensor, layout: str = "grid") -> Tensor:
        """Sample an atlas (C, A, A) at the covered pixels -> (P, C).

        layout: "grid", the atlas of a portrait, or "uv", that of a synthetic person."""
        places = getattr(self, layout)
        found = F.grid_sample(atlas[None], places[None, None], padding_mode="border", align_corners=False)[0, :, 0].T
        total = found.new_zeros(len(self.pixel), found.shape[1]).index_add_(0, self.owner, found)
        return total / self.count[:, None]

    def canvas(self, values: Tensor) -> Tensor:
        """Map values of covered pixels (..., P, C) -> pictures (..., V, C, H, W), zero off the body."""
        rows, columns = self.size
        flat = values.new_zeros(*values.shape[:-2], self.views * rows * columns, values.shape[-1])
        flat = flat.index_copy(-2, self.pixel, values)
        return flat.unflatten(-2, (self.views, rows, columns)).movedim(-1, -3)

    def covered(self, pictures: Tensor) -> Tensor:
        """Pick from pictures (..., V, C, H, W) of the V views the P pixels that show the body -> (..., P, C)."""
        return pictures.movedim(-3, -1).flatten(-4, -2).index_select(-2, self.pixel)

    def merged(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Map covered pixels (P, C) -> the lifter's texels (N, C), averaged over the views, and how well they are seen
        (N,) in [0, 1]."""
        pictures = self.canvas(torch.cat([values, torch.ones_like(values[:, :1])], 1))
        found = F.grid_sample(pictures, self.places[:, None], "bilinear", "zeros", align_corners=False)[:, :, 0]
        found = found * self.shares[:, None]  # (V, C + 1, N)
        total = found.sum(0).T
        return total[:, :-1] / total[:, -1:].clamp_min(1e-6), (total[:, -1] * 4).clamp(0, 1)

    def to_atlas(self, change: Tensor) -> Tensor:
        """Map a change of the pixels (P, C) -> a smooth atlas (C, A, A) of the change, gaps filled.

        Texels that no view shows take the change of their surroundings; eyes, teeth, mouth and lids take none."""
        lifter = self.lifter
        texels, sure = self.merged(change)
        size = lifter.size
        values = torch.cat([texels, sure[:, None]], 1)
        flat = values.new_zeros(size * size, values.shape[1]).index_copy(0, lifter.texel, values)
        atlas = flat.T.reshape(1, -1, size, size)
        filled = push_pull(atlas[:, :-1], atlas[:, -1:])[0]
        own = lifter.texel[lifter.templated | (lifter.eyelids > 0)]
        return filled * filled.new_ones(size * size).index_fill(0, own, 0.0).view(1, size, size)


def _texel(uv: Tensor) -> Tensor:
    """Map UV coordinates (N, 2) in [0, 1] -> flat indices (N,) into a RIG_ATLAS atlas."""
    cell = (uv * RIG_ATLAS).long().clamp(0, RIG_ATLAS - 1)
    return cell[:, 1] * RIG_ATLAS + cell[:, 0]


def _regions_of_parts(body: HalfBody) -> Tensor:
    """Return (parts, 4) one-hot rows: the region of RIG_REGIONS that each part belongs to."""
    label = [
        1 if n in FACE_PARTS else 2 if n == "scalp" else 3 if n in HAND_PARTS else 0 for n in body.part_names
    ]
    return F.one_hot(torch.tensor(label), len(RIG_REGIONS)).float()
