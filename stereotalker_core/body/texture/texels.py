"""The texture atlas of a body: the surface point of every texel, and what is known about it before any picture."""

from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...loops.available import array, loops_for
from ..face_mesh import EYE_CONTOURS
from ..model import HalfBody
from ..rasterize import rasterize
from .fill_hair import polar
from .hand_marks import hand_marks

ATLAS = 1024  # texels a side: enough for a face at 512 px
TEMPLATE = {  # colours in [0, 1] under a bright even light
    "mouth": (0.30, 0.10, 0.10),
    "tongue": (0.60, 0.28, 0.27),
    "teeth.up": (0.86, 0.82, 0.76),
    "teeth.low": (0.80, 0.76, 0.70),
    "lashes": (0.14, 0.11, 0.09),
    "eye.L": (0.86, 0.84, 0.82),
    "eye.R": (0.86, 0.84, 0.82),
}
_TEETH = ("teeth.up", "teeth.low")
_MOUTH, _MOUTH_DEPTH = ("mouth", "tongue", *_TEETH), 0.028  # m in which light falls to 1/e
_SKIN = ("face", "lips", "eyesocket", "hand.L", "hand.R")  # an unseen hand looks like the face, not like the sleeve
# metres that a difference counts for when unseen surface looks for the seen surface most like it
_NECKLINE = 0.36  # m: the height of the lowest one
_BACK = 0.5  # how far a normal is turned to the back where it is the back altogether
_OTHER_SIDE, _OTHER_PART, _OTHER_MATERIAL = 0.05, 0.03, 2.0
# a usual hair line: metres behind and above the eyes, from the forehead over the temple to the nape
_HAIR_LINE = ((-0.02, 0.080), (0.06, 0.050), (0.073, 0.0), (0.11, 0.004), (0.145, -0.036), (0.165, -0.060))
# the same as people wear it: hair goes down behind the ear, too
_CUT_LINE = ((-0.02, 0.080), (0.06, 0.050), (0.073, 0.0), (0.100, -0.010), (0.115, -0.040), (0.165, -0.066))
_TEMPLES = 0.03  # m below the eyes where hair before the ear ends
_EAR_REACH = (0.012, 0.022)  # m from an ear within which a fit may show it on the hair, and up to which that fades
_CHEEKS = (0.012, 0.050)  # m below the eyes
_IRIS_ANGLE, _PUPIL_ANGLE = 0.42, 0.17  # radians from the optical axis of the asset's eyeball
_ARMPIT = 0.06  # m below the shoulder joints
_UNFOLDS = (0.25, 0.45)  # shares of the largest movement of a blink between which skin becomes lid
_LASH_LINE = (0.0012, 0.0040)  # m from the rim of the lids up to which the photograph stays: lashes and liner lie there


def _hairy(body: HalfBody, part: Tensor, hair_line: tuple[tuple[float, float], ...]) -> Tensor:
    """Return (V,) in [0, 1], 1 on vertices of the scalp above a hair line that falls towards the nape.

    part: (V,) index; hair_line: (metres behind the eyes, metres above them) of its corners."""
    behind, above = (body.mean - body.bone_mean[body.bone_index["eye.L"]])[:, 1:].unbind(1)
    line = torch.full_like(above, hair_line[0][1])
    for (start, high), (end, low) in zip(hair_line, hair_line[1:], strict=False):
        line = torch.where(behind >= start, high + (low - high) * ((behind - start) / (end - start)).clamp(0, 1), line)
    return ((above - line) / 0.02 + 0.5).clamp(0, 1) * (part == body.part_index["scalp"])


def arm_coordinate(body: HalfBody, points: Tensor) -> Tensor:
    """Map points (N, 3) of the mean body -> (N,) metres from the shoulder along the nearer arm of the A pose."""
    out = torch.zeros_like(points[:, 0])
    for side, own in (("L", points[:, 0] > 0), ("R", points[:, 0] <= 0)):
        shoulder, elbow, wrist = (
            body.bone_mean[body.bone_index[f"{name}.{side}"]] for name in ("upperarm01", "lowerarm01", "wrist")
        )
        upper, fore = elbow - shoulder, wrist - elbow
        bent = (points - elbow) @ (F.normalize(upper, dim=0) + F.normalize(fore, dim=0)) > 0
        first = (points - shoulder) @ F.normalize(upper, dim=0)
        second = upper.norm() + (points - elbow) @ F.normalize(fore, dim=0)
        out = torch.where(own, torch.where(bent, second, first), out)
    return out.clamp_min(0)


@lru_cache(maxsize=1)
def usual_lifter(body: HalfBody, device: str) -> "Lifter":
    """Return the `Lifter` of a body on a device, made once per process; usable inside and outside of inference mode."""
    with torch.inference_mode(False), torch.no_grad():
        return Lifter(body)


class Lifter(nn.Module):
    """The table of the N texels of a (size, size) atlas that show the body, computed once per body.

    texel: (N,) flat index; corners, weight: (N, 3) vertices of the texel's triangle, and barycentric weights; part:
    (N,) index; template: (N, 3) usual colours. Most others are (N,) bool, texels of eyes, hands, scalp and so on."""

    texel: Tensor
    corners: Tensor
    weight: Tensor
    across: Tensor
    part: Tensor
    template: Tensor
    templated: Tensor
    mouth_light: Tensor
    teeth: Tensor
    eyes: Tensor
    hands: Tensor
    head: Tensor
    limbs: Tensor
    dressed: Tensor
    covered: Tensor
    covered_vertices: Tensor
    height: Tensor
    behind: Tensor
    eyelids: Tensor
    unfolded: Tensor
    eye_angle: Tensor
    iris: Tensor
    pupil: Tensor
    along: Tensor
    left: Tensor
    shoulders: Tensor
    outer: Tensor
    around_eyes: Tensor
    above_eyes: Tensor
    aside: Tensor
    hair: Tensor
    hair_place: Tensor
    hand_tint: Tensor
    palm: Tensor
    ears: Tensor
    beside_ears: Tensor
    side_skin: Tensor
    temples: Tensor
    cheeks: Tensor
    vertex_part: Tensor
    likeness_cut: Tensor
    likeness: Tensor

    def __init__(self, body: HalfBody, size: int = ATLAS):
        super().__init__()
        if not 16 <= size <= 4096:
            raise ValueError(f"atlas size must be 16..4096, got {size}")
        self.size, self.lashes = size, body.part_index["lashes"]
        self.face_part = body.part_index["face"]
        self.dressed_parts = tuple(body.part_index[n] for n in ("torso", "hips"))
        points = torch.cat([body.atlas_uv * size, torch.ones_like(body.atlas_uv[:, :1])], 1)[None]
        fragments = rasterize(points, body.uv_triangles, (size, size), cull=False)
        texel = (fragments.triangle[0] >= 0).flatten().nonzero().squeeze(1)
        triangle = fragments.triangle.flatten()[texel]
        corners = body.triangles[triangle]
        weight, part = fragments.barycentric.reshape(-1, 3)[texel], body.triangle_part[triangle]
        point = (body.mean[corners] * weight[..., None]).sum(1)
        template, templated = self._template(body, corners, weight, part)
        eyes, hands, arms, head = (
            torch.isin(part, part.new_tensor([body.part_index[n] for n in names]))
            for names in (("eye.L", "eye.R"), ("hand.L", "hand.R"), ("arm.L", "arm.R"), ("face", "scalp"))
        )
        buffers = {
            "texel": texel,  # (N,) flat index into the atlas
            "corners": corners,  # (N, 3) vertices
            "weight": weight,  # (N, 3) barycentric
            "across": self._across(body)[triangle],  # (N, 2, 3): how it changes to the next texel in x and in y
            "part": part,  # (N,)
            "template": template,  # (N, 3) colour in [0, 1]
            "templated": templated,  # (N,) bool
            "mouth_light": self._mouth_light(body, corners, weight, part),  # (N,) in (0, 1]
            "teeth": torch.isin(part, part.new_tensor([body.part_index[n] for n in _TEETH])),  # (N,) bool
            "eyes": eyes,  # (N,) bool
            "hands": hands,  # (N,) bool
            "head": head,  # (N,) bool: face and scalp
            "limbs": hands | arms,  # (N,) bool: arms and hands
            "dressed": torch.isin(part, part.new_tensor(self.dressed_parts)),  # (N,) bool
            "covered_vertices": (under := self._covered(body)),  # (V,) bool: below every neckline, and the back
            "covered": under[corners].all(1),  # (N,) bool
            "behind": self._behind(body, corners, weight, part),  # (N,) in [0, 1]: of clothes, turned to the back
            "eyelids": self._eyelids(body, corners, weight, part),  # (N,) in [0, 1]
            "unfolded": self._unfolded(body, corners, weight, part),  # (N,) bool: lids, and their rim
            "eye_angle": self._eye_angle,  # (N,) radians from the optical axis, 10 off the eyes
            "iris": self._eye_angle < _IRIS_ANGLE,
            "pupil": self._eye_angle < _PUPIL_ANGLE,
            "outer": self._outer(body, corners, weight),  # (N,) bool
            "around_eyes": self._around_eyes(body, corners, weight, part),  # (N,) bool: bare skin near an eye
            "above_eyes": self._above_eyes(body, corners, weight),  # (N,) bool: between lids and brow
            **self._places(body, point),  # height, along, aside, shoulders and left
            "hair": (hair := self._hair(body, corners, weight, part)),  # (H,) texels of the hairy scalp
            "hair_place": polar(body, point[hair]),  # (H, 2)
            "ears": (ears := self._ears(body)),  # (V,) bool
            "beside_ears": self._beside_ears(body, corners[hair], weight[hair], ears),  # (H,) in [0, 1], of the hair
            **self._sides(body, corners, weight, part, ears),  # skin at the sides of face and neck
            "vertex_part": body.vertex_part,  # (V,) the highest part of the triangles around it
            "likeness_cut": self._likeness(body, _CUT_LINE),  # the same with hair as people wear it
            "likeness": self._likeness(body, _HAIR_LINE),  # (V, features) whose distance in m tells how unlike they are
        }
        buffers["hand_tint"], buffers["palm"] = hand_marks(body, corners, weight, hands)  # (N, 3), (N,)
        for name, value in buffers.items():
            self.register_buffer(name, value, persistent=False)

    @staticmethod
    def _places(body: HalfBody, point: Tensor) -> dict[str, Tensor]:
        """Return the tables (N,) that tell where on the mean body the texels' points (N, 3) lie.

        "height": m; "along": m from the shoulder along the nearer arm; "aside": m from the middle; "shoulders": bool,
        above the armpits, where a hanging arm has no trunk behind it; "left": bool, the person's left half."""
        return {
            "height": point[:, 2],
            "along": arm_coordinate(body, point),
            "aside": point[:, 0].abs(),
            "shoulders": point[:, 2] > body.bone_mean[body.bone_index["upperarm01.L"], 2] - _ARMPIT,
            "left": point[:, 0] > 0,
        }

    def _across(self, body: HalfBody) -> Tensor:
        """Return by how much barycentric weights change from a texel to the next, for each triangle (F, 2, 3)."""
        (x0, x1, x2), (y0, y1, y2) = (body.atlas_uv * self.size)[body.uv_triangles].permute(2, 1, 0)
        area = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
        inverse = torch.where(area.abs() > 1e-6, 1 / area, 0.0)
        right = torch.stack([y1 - y2, y2 - y0, y0 - y1], 1) * inverse[:, None]
        down = torch.stack([x2 - x1, x0 - x2, x1 - x0], 1) * inverse[:, None]
        return torch.stack([right, down], 1)

    def _template(self, body: HalfBody, corners: Tensor, weight: Tensor, part: Tensor) -> tuple[Tensor, Tensor]:
        colour = torch.zeros(len(part), 3, device=part.device)
        templated = torch.zeros_like(part, dtype=torch.bool)
        for name, value in TEMPLATE.items():
            mask = part == body.part_index[name]
            colour[mask] = torch.tensor(value, device=part.device)
            templated |= mask
        point = (body.mean[corners] * weight[..., None]).sum(1)
        self._eye_angle = torch.full_like(weight[:, 0], 10.0)
        for name in ("eye.L", "eye.R"):
            mask = part == body.part_index[name]
            away = F.normalize(point[mask] - body.bone_mean[body.bone_index[name]], dim=1)
            self._eye_angle[mask] = torch.acos((-away[:, 1]).clamp(-1, 1))  # the gaze of the A pose is -y
        return colour, templated

    @staticmethod
    def _mouth_light(body: HalfBody, corners: Tensor, weight: Tensor, part: Tensor) -> Tensor:
        """Return (N,) in [0, 1]: the fraction of the light that reaches a texel through the lips.

        It is 1 outside the mouth, and the less the deeper a texel lies in it. corners, weight, part: as in `Lifter`."""
        point = (body.mean[corners] * weight[..., None]).sum(1)
        front = body.mean[body.vertices_in(*_TEETH), 1].amin()
        inside = torch.isin(part, part.new_tensor([body.part_index[name] for name in _MOUTH]))
        return torch.where(inside, torch.exp(-(point[:, 1] - front).clamp_min(0) / _MOUTH_DEPTH), 1.0)

    @staticmethod
    def _outer(body: HalfBody, corners: Tensor, weight: Tensor) -> Tensor:
        """Return (N,) bool: texels that face away from the middle of the body, and so are never seen next to the trunk.

        corners, weight: as in `Lifter`."""
        away = body.normals(body.mean[None])[0, :, 0] * body.mean[:, 0].sign()
        return (away[corners] * weight).sum(1) > 0

    @staticmethod
    def _blinked(body: HalfBody, corners: Tensor, weight: Tensor) -> Tensor:
        """Return (N,) in [0, 1]: how far a blink moves each texel, relative to the largest movement.

        corners, weight: as in `Lifter`."""
        blink = [body.expression_index[n] for n in ("eyeBlinkLeft", "eyeBlinkRight")]
        delta = body.expression_deltas.view(len(body.expression_names), -1, 3)[blink].norm(dim=2).amax(0)
        moved = torch.zeros(body.n_vertices, device=weight.device).index_copy(0, body.expression_vertices, delta)
        return (moved[corners] * weight).sum(1) / moved.max()

    @staticmethod
    def _unfolded(body: HalfBody, corners: Tensor, weight: Tensor, part: Tensor) -> Tensor:
        """Return (N,) bool: skin of the lids that is folded away while the eye is open.

        Used for fits that are not exact, in which a lid may show the eye. corners, weight, part: as in `Lifter`."""
        skin = torch.isin(part, part.new_tensor([body.part_index[n] for n in ("face", "eyesocket")]))
        return skin & (Lifter._blinked(body, corners, weight) > sum(_UNFOLDS) / 2)

    @staticmethod
    def _eyelids(body: HalfBody, corners: Tensor, weight: Tensor, part: Tensor) -> Tensor:
        """Return (N,) in [0, 1], 1 on skin of the lids that is folded away while the eye is open.

        At an open eye the photograph shows the eye there, not the lid. The rim is left out: the lashes that the
        photograph shows there belong to the lid, open or shut. corners, weight, part: as in `Lifter`."""
        skin = torch.isin(part, part.new_tensor([body.part_index[n] for n in ("face", "scalp", "eyesocket")]))
        share = Lifter._blinked(body, corners, weight)
        share = ((share - _UNFOLDS[0]) / (_UNFOLDS[1] - _UNFOLDS[0])).clamp(0, 1) * skin
        lids = (share > 0).nonzero().squeeze(1)
        point = (body.mean[corners[lids]] * weight[lids][..., None]).sum(1)
        away = torch.cdist(point, Lifter._rims(body)).amin(1)
        share[lids] *= ((away - _LASH_LINE[0]) / (_LASH_LINE[1] - _LASH_LINE[0])).clamp(0, 1)
        return share

    @staticmethod
    def _hair(body: HalfBody, corners: Tensor, weight: Tensor, part: Tensor) -> Tensor:
        """Return the indices (H,) of texels of the scalp on which hair usually grows; corners, weight, part: as in
        `Lifter`."""
        hairy = _hairy(body, body.vertex_part, _CUT_LINE)
        scalp = part == body.part_index["scalp"]
        return (scalp & ((hairy[corners] * weight).sum(1) > 0.5)).nonzero().squeeze(1)

    @staticmethod
    def _ears(body: HalfBody) -> Tensor:
        """Return (V,) bool, true for vertices of the ears."""
        found = F.grid_sample(body.ears_mask[None, None], body.uv[None, None] * 2 - 1, align_corners=False)[0, 0, 0]
        ears = torch.zeros(body.n_vertices, device=found.device)
        return ears.scatter_reduce(0, body.render_vertex, found, "amax") > 0.3

    @staticmethod
    def _beside_ears(body: HalfBody, corners: Tensor, weight: Tensor, ears: Tensor) -> Tensor:
        """Return (H,) in [0, 1]: 1 behind an ear as a camera before the face sees it, falling to 0 around it.

        corners, weight: (H, 3) surface points, as in `Lifter`; ears: (V,) bool, vertices of the ears."""
        ear = body.mean[ears]
        away = torch.cdist(body.mean[:, ::2], ear[:, ::2]).amin(1)
        near = (1 - (away - _EAR_REACH[0]) / (_EAR_REACH[1] - _EAR_REACH[0])).clamp(0, 1)
        middle, last = ear[:, 1].mean(), ear[:, 1].max()  # what lies as far back as the ear may show more of it
        near = near * ((body.mean[:, 1] - middle) / (last - middle)).clamp(0, 1)
        return (near[corners] * weight).sum(1).clamp(0, 1)

    @staticmethod
    def _sides(body: HalfBody, corners: Tensor, weight: Tensor, part: Tensor, ears: Tensor) -> dict[str, Tensor]:
        """Return the tables of the S texels of face, neck and the scalp below its hair, without the ears.

        "side_skin": (S,) indices of these texels.
        "temples": (S,) in [0, 1], 1 above the eyes, 0 where hair before the ear ends.
        "cheeks": (S,) bool, skin of the face between the heights of eyes and mouth, where no hair grows.

        ears: (V,) bool, vertices of the ears; corners, weight, part: as in `Lifter`."""
        head = torch.isin(part, part.new_tensor([body.part_index[n] for n in ("face", "neck", "scalp")]))
        hairy = (_hairy(body, body.vertex_part, _CUT_LINE)[corners] * weight).sum(1) > 0.5
        at = (head & ~hairy & ~ears[corners].any(1)).nonzero().squeeze(1)
        height = (body.mean[corners[at]] * weight[at][..., None]).sum(1)[:, 2]
        below = body.bone_mean[body.bone_index["eye.L"], 2] - height
        face = part[at] == body.part_index["face"]
        cheeks = face & (below > _CHEEKS[0]) & (below < _CHEEKS[1])
        return {"side_skin": at, "temples": (1 - below / _TEMPLES).clamp(0, 1), "cheeks": cheeks}

    @staticmethod
    def _rims(body: HalfBody) -> Tensor:
        """Return (R, 3) points along the rims of all lids of the mean body."""
        mesh = (body.mean[body.mesh_vertices] * body.mesh_weights[..., None]).sum(1)
        between = torch.arange(0, 1, 0.25, device=mesh.device)[:, None, None]
        loops = [mesh[list(contour)] for contour in EYE_CONTOURS.values()]
        return torch.cat([torch.lerp(loop, loop.roll(-1, 0), between).flatten(0, 1) for loop in loops])

    @staticmethod
    def _around_eyes(body: HalfBody, corners: Tensor, weight: Tensor, part: Tensor) -> Tensor:
        """Return (N,) bool: skin of the face below and beside an eye, where no hair grows; it gives the lids their
        colour.

        corners, weight, part: as in `Lifter`."""
        point = (body.mean[corners] * weight[..., None]).sum(1)
        face = part == body.part_index["face"]
        near = torch.zeros_like(face)
        for name in ("eye.L", "eye.R"):
            away = point - body.bone_mean[body.bone_index[name]]
            across = (away[:, 0].square() + away[:, 2].square()).sqrt()
            near |= face & (across > 0.013) & (across < 0.024) & (away[:, 2] < 0.002) & (away[:, 1] < 0)
        return near

    @staticmethod
    def _above_eyes(body: HalfBody, corners: Tensor, weight: Tensor) -> Tensor:
        """Return (N,) bool: skin between lids and brow, which is lit as the lids are; corners, weight: as in `Lifter`.
        """
        point = (body.mean[corners] * weight[..., None]).sum(1)
        near = torch.zeros_like(point[:, 0], dtype=torch.bool)
        for name in ("eye.L", "eye.R"):
            away = point - body.bone_mean[body.bone_index[name]]
            near |= (away[:, 0].abs() < 0.012) & (away[:, 2] > 0.007) & (away[:, 2] < 0.012) & (away[:, 1] < -0.01)
        return near

    def _behind(self, body: HalfBody, corners: Tensor, weight: Tensor, part: Tensor) -> Tensor:
        facing = (body.normals(body.mean[None])[0][corners, 1] * weight).sum(1)
        return (facing / _BACK).clamp(0, 1) * torch.isin(part, part.new_tensor(self.dressed_parts))

    def _covered(self, body: HalfBody) -> Tensor:
        behind = body.normals(body.mean[None])[0, :, 1] > 0
        trunk = torch.isin(body.vertex_part, body.vertex_part.new_tensor(self.dressed_parts))
        return trunk & (behind | (body.mean[:, 2] < _NECKLINE))

    @staticmethod
    def _likeness(body: HalfBody, hair_line: tuple[tuple[float, float], ...]) -> Tensor:
        part = body.vertex_part
        skin, templated = body.vertices_in(*_SKIN), body.vertices_in(*TEMPLATE)
        normal = body.normals(body.mean[None])[0]
        features = [
            body.mean,
            normal * _OTHER_SIDE / 2,
            F.one_hot(part, len(body.part_names)) * _OTHER_PART / 2**0.5,
            skin[:, None] * _OTHER_MATERIAL,
            (part == body.part_index["scalp"])[:, None] * _OTHER_MATERIAL,
            _hairy(body, part, hair_line)[:, None] * _OTHER_MATERIAL,
            templated[:, None] * 10.0,  # teeth lend their colour to nothing
        ]
        return torch.cat([f.to(body.mean.dtype) for f in features], 1)


def vertex_sums(lifter: Lifter, n_vertices: int, texels: Tensor | slice, values: Tensor, weight: Tensor) -> Tensor:
    """Sum values of texels at the vertices of their triangles.

    lifter: the table of the atlas's N texels.
    n_vertices: number V of the body's vertices.
    texels: the texels to sum: indices (n,), or a slice.
    values: (n, 3) of these texels.
    weight: (n,) of these texels.

    Returns (V, 4): weighted sums of the values, and of the weights."""
    corners, share = lifter.corners[texels], lifter.weight[texels]
    if (fast := loops_for(values, weight, share)) is not None:
        out = torch.zeros(n_vertices, 4)
        fast.surfaces.vertex_sums(array(corners), array(share), array(values), array(weight), out.numpy())
        return out
    values = torch.cat([values * weight[:, None], weight[:, None]], 1)
    sums = values.new_zeros(n_vertices, 4)
    for i in range(3):
        sums.index_add_(0, corners[:, i], values * share[:, i : i + 1])
    return sums
