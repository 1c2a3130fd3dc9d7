"""The guides: maps of the posed body as each camera sees it, and the tensor that the networks read."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from ...body.fine_mesh import FineMesh, usual_fine_mesh
from ...body.model import HalfBody, Posed, Rest
from ...body.rasterize import Sampled, rasterize_samples
from ...body.shadows import Shadows, factors, shadows_of
from ...body.texture.light import brightness, relit
from ...geometry.projection import project
from ...pixels.inpaint import extend
from ...records import Cameras, Guides, Identity, Motion
from ...shapes import frames_together, joined
from .layout import GUIDE_BLOCK, GuideLayout
from .loops import Surface, loops, pack, packs
from .own_view import nearness, textures

_CHUNK = 4  # at most so many frames are rasterised together: batches do not pay on the CPU, memory does
_EDGE = 0.015  # share of a side up to which a canvas may look beyond the photograph's edge and see the edge go on
_FURTHEST = 1.5  # sides of the photograph to which its background is continued
SAMPLES = 2  # per pixel and axis: jagged edges cost 0.6 to 1 dB, and the networks cannot know where in a pixel they lie


@dataclass(frozen=True)
class Skin:
    """The input of the guides that is the same for all frames of a person's video.

    texture: (1, 4, h, w) colour in [-1, 1] and visibility in [0, 1].
    mesh: the triangles that are drawn.
    uv: (S, 2) in [0, 1], the place in the texture of each of their render vertices (split at texture seams).
    plate: (3, H, W) background behind the person, in [-1, 1].
    light: (4,) of the portrait, see `body.texture.light.shade`; None: the texture is drawn unshaded.
    shadows: of arms, hands and trunk on each other, None where the person throws none.
    surface: mesh, texture, plate and light as arrays for the compiled loop, None where it is not used.
    own_view: (4, h, w) of the texture in the photograph's own pose and view (`Identity.own_view`), None for none."""

    texture: Tensor
    mesh: FineMesh
    uv: Tensor
    plate: Tensor
    light: Tensor | None
    shadows: Shadows | None
    surface: Surface | None
    own_view: Tensor | None


def skin_of(body: HalfBody, identity: Identity, cameras: Cameras, plate: Tensor | None = None) -> Skin:
    """Return the skin of a person for the canvas of these cameras, to draw a video a few frames at a time.

    plate: (3, H, W) behind the person; None: the photograph's background, blurred beyond its edges."""
    mesh = usual_fine_mesh(body, str(identity.atlas.device))
    texture = torch.cat([identity.atlas, identity.visibility])[None]
    parts = (
        texture.contiguous(memory_format=torch.channels_last),  # what is looked up together lies together
        mesh,
        mesh.uv(body.uv_in(identity.atlas_layout)),
        background_plate(identity, cameras) if plate is None else plate,
        identity.light,
    )
    shadows = shadows_of(body, identity) if identity.shadowed else None
    surface = Surface(*parts) if SAMPLES == 2 and loops(identity.atlas.device) else None
    return Skin(*parts, shadows, surface, identity.own_view)


def render_guides(
    body: HalfBody,
    identity: Identity,
    motion: Motion,
    cameras: Cameras,
    rest: Rest | None = None,
    skin: Skin | None = None,
) -> Guides:
    """Pose the identity and draw its `Guides`, for all T frames of motion and cameras, at cameras.size.

    body: the half body.
    identity: the person, to whose rest state the motion is added (`Identity.performed`).
    motion, cameras: T frames each.
    rest: `body.rest(identity.shape, identity.shell)`, if already computed.
    skin: texture, background and light, from `skin_of`, if already computed.

    Normals are in camera space with x right, y up, z towards the camera. Outside the body normal, part, depth and
    visibility are 0, and lift is the background plate."""
    if len(motion) != len(cameras):
        raise ValueError(f"motion has {len(motion)} frames, cameras {len(cameras)}; they must agree")
    if rest is None:
        rest = body.rest(identity.shape[None], identity.shell[None])
    motion = identity.performed(motion)
    skin = skin or skin_of(body, identity, cameras)
    rows, columns = cameras.size
    found = Guides(*(skin.plate.new_empty(len(motion), c, rows, columns) for c in (3, 1, 1, 3, 1)), yaw=cameras.yaw)
    together = min(_CHUNK, frames_together(SAMPLES * rows, SAMPLES * columns))
    near = None if skin.own_view is None else nearness(identity, motion, cameras)
    for start in range(0, len(motion), together):
        frames = slice(start, start + together)
        posed = body.pose(rest, motion.rotations[frames], motion.expression[frames])
        normals, shadow = body.normals(posed.vertices), None
        if skin.shadows is not None:
            shadow = factors(body, skin.shadows, posed, normals)
            if near is not None:  # the photograph's own pose has its shadows already
                shadow = torch.lerp(shadow, torch.ones_like(shadow), near[frames, None])
            shadow = skin.mesh.means(shadow)
        drawn = None
        if near is not None and skin.own_view is not None:
            drawn = textures(skin.texture, skin.own_view, near[frames])
        compiled = loops(skin.texture.device) if skin.surface else None
        if skin.surface and compiled:
            skin.surface.draw(compiled, posed, normals, cameras[frames], found[frames], shadow, drawn)
        else:
            _render(posed, normals, cameras[frames], skin, found[frames], shadow, drawn)
    return found


def join_guides(chunks: Sequence[Guides]) -> Guides:
    """Concatenate guides of consecutive frames into one `Guides`."""
    return Guides(*(joined([getattr(chunk, f.name) for chunk in chunks]) for f in fields(Guides)))


def _render(
    posed: Posed,
    normals: Tensor,
    cameras: Cameras,
    skin: Skin,
    into: Guides,
    shadow: Tensor | None,
    drawn: Sequence[Tensor | None] | None,
) -> None:
    """Draw T posed bodies by tensor operations on any device, filling the maps of `into`, as `compiled.draw_frame`
    does.

    normals: (T, V, 3) of their vertices; shadow: (T, W) factors on the brightness of the finer mesh's, None for 1;
        drawn: the texture of each frame, None for the skin's, as a frame's None."""
    scale = cameras.intrinsics.new_tensor([SAMPLES, SAMPLES, 1.0])[:, None]
    vertices, normals = skin.mesh.points(posed.vertices, normals)
    points = project(vertices, cameras.world_to_camera, cameras.intrinsics * scale)
    attributes = _attributes(skin, normals, cameras.world_to_camera[:, :3, :3], shadow)
    for i in range(len(points)):
        mesh, size = skin.mesh, cameras.size
        found = rasterize_samples(points[i], mesh.triangles, attributes[i], mesh.uv_corners, size, SAMPLES)
        own = drawn[i] if drawn else None
        _shade(found, skin if own is None else replace(skin, texture=own), into[i : i + 1])


def _attributes(skin: Skin, normals: Tensor, axes: Tensor, shadow: Tensor | None) -> Tensor:
    """Return what is interpolated on the surface, for all render vertices: (T, S, 5 to 8).

    That is the normal to the right, up and towards the camera; the place in the texture, -1..1; if there is a light,
    how far the normal points to it and upwards; and if there are shadows, their factor.

    normals: (T, W, 3) of the vertices, in world axes; axes: (T, 3, 3), the camera's in rows, as in `Cameras`; shadow:
        (T, W)."""
    seen = normals @ (axes * axes.new_tensor([1.0, -1.0, -1.0])[:, None]).transpose(1, 2)
    if skin.light is not None:
        seen = torch.cat([seen, (normals @ skin.light[:3])[..., None], normals[..., 2:]], -1)
    if shadow is not None:
        seen = torch.cat([seen, shadow[..., None]], -1)
    seen = seen[:, skin.mesh.render_vertex]
    place = (skin.uv * 2 - 1).expand(len(normals), -1, -1)
    return torch.cat([seen[..., :3], place, seen[..., 3:]], -1)


def _shade(found: Sampled, skin: Skin, into: Guides) -> None:
    """Fill the maps of one frame with texture, light and normals at its samples, and their mean over every pixel.

    Every quantity is a plane of its own: operations on rows of three numbers take several times as long."""
    right, up, back, u, v, *light, near = found.values  # all of them over depth
    depth = torch.where(found.hit, 1 / near, 0)
    grid = depth.new_empty(*depth.shape, 2)
    for axis, place in enumerate((u, v)):
        torch.mul(place, depth, out=grid[..., axis])
    grid = grid.view(1, 1, -1, 2)
    colour = F.grid_sample(skin.texture, grid, padding_mode="border", align_corners=False)[0].view(4, *depth.shape)
    unit = (right * right + up * up + back * back).clamp_min_(1e-24).rsqrt_()
    shading = None
    if skin.light is not None:
        shading = brightness(light[0] * unit, light[1] * unit, skin.light[3])
    if skin.shadows is not None:
        shadow = light[-1] * depth
        shading = shadow if shading is None else shading * shadow
    if shading is not None:
        colour[:3] = relit(colour[:3], shading).clamp_(-1, 1)
    share = found.hit.to(depth.dtype) / SAMPLES**2
    colour, unit = colour.mul_(share).sum(1), unit * share
    part = (skin.mesh.triangle_part + 1).to(torch.uint8).index_select(0, found.triangle.flatten()).view(depth.shape)
    part, depth = _most(part * found.hit, depth)
    inside = part > 0
    normal = (found.values[:3] * unit).sum(1)
    normal = normal * ((normal * normal).sum(0).clamp_min(1e-24).rsqrt() * inside)
    lift = colour[:3] + (1 - share.sum(0)) * skin.plate.flatten(1).index_select(1, found.pixel)
    into.lift.copy_(skin.plate)
    for whole in (into.normal, into.part, into.depth, into.visibility):
        whole.zero_()
    values = (normal, part[None], depth[None], lift, colour[3:] * inside)
    for whole, planes in zip((into.normal, into.part, into.depth, into.lift, into.visibility), values, strict=True):
        whole[0].flatten(1).index_copy_(1, found.pixel, planes.to(whole.dtype))


def _most(label: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:
    """Reduce labels and depths (S, P) of all samples of P pixels to the most frequent label, and its depth, (P,) each.

    For SAMPLES = 2: a label that two samples share wins over single ones; between two pairs, the upper left one."""
    if SAMPLES == 1:
        return label[0], depth[0]
    first = (label[0] == label[1]) | (label[0] == label[2]) | (label[0] == label[3])
    second = (label[1] == label[2]) | (label[1] == label[3])
    third = label[2] == label[3]
    one, other = (
        torch.where(first, x[0], torch.where(second, x[1], torch.where(third, x[2], x[0]))) for x in (label, depth)
    )
    return one, other


def background_plate(identity: Identity, cameras: Cameras, continued: bool = False) -> Tensor:
    """Return identity.background as seen behind the person on the canvas: (3, H, W) in [-1, 1], static over the clip.

    identity: the person.
    cameras: what the canvas shows.
    continued: inpaint beyond the photograph's edges, which takes a second; otherwise they are blurred.

    A similarity transform maps the portrait's view of the pivot (the point on the body's axis that the cameras look at)
    to the canvas. It has no parallax, so that a moving camera needs nothing that the portrait did not show."""
    camera, intrinsics = cameras.world_to_camera[cameras.yaw.abs().argmin()], cameras.intrinsics
    pivot = _pivot(camera)
    here = project(pivot[None, None], camera[None], intrinsics)[0, 0]
    there = project(pivot[None, None], identity.world_to_camera[None], identity.intrinsics)[0, 0]
    scale = (intrinsics[0, 0] / here[2]) / (identity.intrinsics[0, 0] / there[2])  # canvas pixels per portrait pixel
    image = identity.background[None]
    rows, columns = cameras.size
    y = (torch.arange(rows, device=image.device) + 0.5 - here[1]) / scale + there[1]
    x = (torch.arange(columns, device=image.device) + 0.5 - here[0]) / scale + there[0]
    height, width = image.shape[-2:]
    x, y = x / width, y / height  # 0..1 inside
    if float(scale) < 0.75:  # several portrait pixels a canvas pixel: average them first
        small = (max(1, round(height * float(scale))), max(1, round(width * float(scale))))
        image = F.interpolate(image, small, mode="bilinear", antialias=True, align_corners=False)
    if continued:
        image, x, y = _continued(image, x, y)
    grid = torch.stack(torch.meshgrid(y, x, indexing="ij")[::-1], -1)[None] * 2 - 1
    sharp = F.grid_sample(image, grid, padding_mode="border", align_corners=False)[0]
    soft = F.adaptive_avg_pool2d(image, (8, 8))
    blurred = F.grid_sample(soft, grid, mode="bilinear", padding_mode="border", align_corners=False)[0]
    outside = (grid[0].abs() - 1).clamp_min(0).amax(-1)  # 0 inside, 1 half a picture away
    return torch.lerp(sharp, blurred, (outside * 8).clamp(0, 1))


def _continued(image: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Continue a picture beyond its edges, as far as it is looked up -> the picture, and x and y as fractions of its
    sides.

    image: (1, 3, h, w); x, y: columns and rows to look up, ascending, as fractions of this picture's sides."""
    height, width = image.shape[-2:]
    margins = [-float(x[0]), -float(y[0]), float(x[-1]) - 1, float(y[-1]) - 1]  # left, top, right, bottom
    if max(margins) < _EDGE:
        return image, x, y
    sides = (width, height, width, height)
    left, top, right, bottom = (
        math.ceil(min(max(m, 0.0), _FURTHEST) * side) for m, side in zip(margins, sides, strict=True)
    )
    wide = extend(image[0], (left, top, right, bottom))[None]
    return wide, (x * width + left) / wide.shape[-1], (y * height + top) / wide.shape[-2]


def _pivot(camera: Tensor) -> Tensor:
    """Return the pivot (3,) of a camera (4, 4): the point of its optical axis nearest to the body's axis (0, -0.02, z).
    """
    rotation = camera[:3, :3]
    eye, forward = -(rotation.T @ camera[:3, 3]), rotation[2]
    axis = eye.new_tensor([0.0, -0.02])
    along = ((axis - eye[:2]) * forward[:2]).sum() / (forward[:2] ** 2).sum().clamp_min(1e-6)
    return eye + along * forward


def guide_tensor(guides: Guides, n_parts: int = 18) -> Tensor:
    """Pack guides of T frames into the guide tensor (T, G, H/4, W/4) of `GuideLayout`; 131 channels with 18 parts.

    The maps are rearranged by `pixel_unshuffle` with factor 4; then follows the fraction of every 4x4 block that each
    part label covers (0 = outside, 1 + part index)."""
    rows, columns = guides.part.shape[-2:]
    if rows % GUIDE_BLOCK or columns % GUIDE_BLOCK:
        raise ValueError(f"guides must have sides divisible by {GUIDE_BLOCK}, got {rows}x{columns}")
    together, compiled, layout = frames_together(rows, columns), loops(guides.part.device), GuideLayout(n_parts)
    if compiled and packs(layout):
        return pack(compiled, guides, layout)
    return joined([layout.pack(guides[i : i + together]) for i in range(0, max(1, len(guides)), together)])
