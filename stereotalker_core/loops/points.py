"""Compiled loops of `body.fitting.point_model`: points of the posed body, and their derivatives.

Arrays are contiguous, float32 or int64. B bones, J joints, U used vertices of W skinning weights each, N points."""

import math

import numpy as np

from .decorator import compiled

_ZERO, _ONE = np.float32(0), np.float32(1)


@compiled
def chained(local, order, parent, bones, world, heads):
    """Fill world (B, 3, 3) rotations and heads (B, 3) of the posed bones from local rotations (B, 3, 3).

    order: (B,) bones, parents first; parent: (B,); bones: (B, 3) heads at rest."""
    for n in range(len(order)):
        b = order[n]
        p = parent[b]
        for i in range(3):
            heads[b, i] = bones[b, i] if n == 0 else heads[p, i]
            for k in range(3):
                if n == 0:
                    world[b, i, k] = local[b, i, k]
                    continue
                heads[b, i] += world[p, i, k] * (bones[b, k] - bones[p, k])
                world[b, i, k] = _ZERO
                for m in range(3):
                    world[b, i, k] += world[p, i, m] * local[b, m, k]


@compiled
def turn(angles, joints, order, parent, bones, world, heads):
    """Fill world (B, 3, 3) rotations and heads (B, 3) of the posed bones.

    angles: (J, 3) axis-angle; joints: (J,) their bones; order: (B,) bones, parents first; parent: (B,); bones: (B, 3)
    heads at rest."""
    local = np.zeros((len(bones), 3, 3), np.float32)
    for b in range(len(bones)):
        local[b, 0, 0] = local[b, 1, 1] = local[b, 2, 2] = _ONE
    for j in range(len(joints)):
        x, y, z = float(angles[j, 0]), float(angles[j, 1]), float(angles[j, 2])
        square = x * x + y * y + z * z + 1e-12
        angle = math.sqrt(square)
        s, c = math.sin(angle) / angle, (1 - math.cos(angle)) / square
        r = local[joints[j]]
        r[0, 0], r[0, 1], r[0, 2] = 1 - c * (y * y + z * z), c * x * y - s * z, c * x * z + s * y
        r[1, 0], r[1, 1], r[1, 2] = c * x * y + s * z, 1 - c * (x * x + z * z), c * y * z - s * x
        r[2, 0], r[2, 1], r[2, 2] = c * x * z - s * y, c * y * z + s * x, 1 - c * (x * x + y * y)
    chained(local, order, parent, bones, world, heads)


@compiled
def gathered(sources, vertices, bone, share, bones, world, heads, out):
    """Fill out (N, 3) with the points: sums of posed vertices (U, 3) and heads.

    sources: as in `derivatives`; bone, share: (U, W) bones and skinning weights of the vertices; bones: (B, 3) heads at
    rest; world, heads: as in `turn`."""
    first, source, weight = sources
    for n in range(len(out)):
        out[n, 0] = out[n, 1] = out[n, 2] = _ZERO
        for s in range(first[n], first[n + 1]):
            u = source[s]
            if u >= len(vertices):
                for i in range(3):
                    out[n, i] += weight[s] * heads[u - len(vertices), i]
                continue
            for w in range(bone.shape[1]):
                b, part = bone[u, w], share[u, w] * weight[s]
                if part == _ZERO:
                    continue
                x, y, z = vertices[u, 0] - bones[b, 0], vertices[u, 1] - bones[b, 1], vertices[u, 2] - bones[b, 2]
                for i in range(3):
                    out[n, i] += part * (world[b, i, 0] * x + world[b, i, 1] * y + world[b, i, 2] * z + heads[b, i])


@compiled
def moved_heads(order, parent, bone_basis, world, lifted):
    """Fill lifted (B, 3, K) with the derivatives of the posed bones' heads by the shape coefficients.

    bone_basis: (B, 3, K) of the heads at rest; order, parent, world: as in `turn`."""
    count = bone_basis.shape[2]
    for n in range(len(order)):
        b = order[n]
        p = parent[b]
        for i in range(3):
            for k in range(count):
                lifted[b, i, k] = bone_basis[b, i, k] if n == 0 else lifted[p, i, k]
            for m in range(3 if n > 0 else 0):
                turned = world[p, i, m]
                for k in range(count):
                    lifted[b, i, k] += turned * (bone_basis[b, m, k] - bone_basis[p, m, k])


@compiled
def add_arms(part, place, first, joint, b, heads, joints, arms):
    """Add part * (place - head of the joint) to arms (J, 3) for every joint above bone b.

    first: (B + 1,) and joint: CSR lists of the joints above each bone."""
    for a in range(first[b], first[b + 1]):
        j = joint[a]
        head = heads[joints[j]]
        arms[j, 0] += part * (place[0] - head[0])
        arms[j, 1] += part * (place[1] - head[1])
        arms[j, 2] += part * (place[2] - head[2])


@compiled
def add_vertex(u, weight, model, pose, lifted, starts, arms, out):
    """Add the derivatives of a vertex u, times weight, to a point's: out (3, n), and arms (J, 3) of its joints.

    model: (vertices, bone, share, basis, deltas, moving, shell, bones, bone_basis, first, joint, joints); pose: (world,
    heads); lifted: (B, 3, K); starts: first column of shape, expression and shell."""
    vertices, bone, share, basis, deltas, moving, shell, bones, bone_basis, first, joint, joints = model
    world, heads = pose
    turned, place = np.zeros((3, 3), np.float32), np.empty(3, np.float32)
    count = basis.shape[2]
    for w in range(bone.shape[1]):
        b, part = bone[u, w], share[u, w] * weight
        if part == _ZERO:
            continue
        x, y, z = vertices[u, 0] - bones[b, 0], vertices[u, 1] - bones[b, 1], vertices[u, 2] - bones[b, 2]
        for i in range(3):
            place[i] = world[b, i, 0] * x + world[b, i, 1] * y + world[b, i, 2] * z + heads[b, i]
            row = out[i, starts[0] : starts[0] + count]
            for k in range(count):
                row[k] += part * lifted[b, i, k]
            for m in range(3):
                factor = part * world[b, i, m]
                turned[i, m] += factor
                for k in range(count):
                    row[k] -= factor * bone_basis[b, m, k]
        add_arms(part, place, first, joint, b, heads, joints, arms)
    for i in range(3):
        for m in range(3):
            factor = turned[i, m]
            row = out[i, starts[0] : starts[0] + count]
            for k in range(count):
                row[k] += factor * basis[u, m, k]
            row = out[i, starts[2] : starts[2] + shell.shape[2]]
            for k in range(len(row)):
                row[k] += factor * shell[u, m, k]
            if moving[u]:
                row = out[i, starts[1] : starts[1] + deltas.shape[2]]
                for k in range(len(row)):
                    row[k] += factor * deltas[u, m, k]


@compiled
def derivatives(sources, model, pose, lifted, axes, ties, starts, out):
    """Fill out (N, 3, n), zeros at first, with the derivatives of the points in camera axes by the parameters.

    sources: (first (N + 1,), source, weight), CSR lists of used vertices, then bones; model, pose, lifted, starts: as
    in `add_vertex`, and of the translation; axes: (J, 3, 3) whose column k is the axis of a joint's k-th angle; ties:
    (first (3 J + 1,), column, factor), CSR lists of the parameters of each angle."""
    first, source, weight = sources
    used, joints = len(model[0]), model[11]
    arms = np.empty((len(joints), 3), np.float32)
    for n in range(len(out)):
        arms[:] = _ZERO
        for s in range(first[n], first[n + 1]):
            if source[s] < used:
                add_vertex(source[s], weight[s], model, pose, lifted, starts, arms, out[n])
                continue
            b = source[s] - used
            for i in range(3):
                for k in range(lifted.shape[2]):
                    out[n, i, starts[0] + k] += weight[s] * lifted[b, i, k]
            add_arms(weight[s], pose[1][b], model[9], model[10], b, pose[1], joints, arms)
        for j in range(len(joints)):
            x, y, z = arms[j, 0], arms[j, 1], arms[j, 2]
            if x == _ZERO and y == _ZERO and z == _ZERO:
                continue
            for k in range(3):
                a, b, c = axes[j, 0, k], axes[j, 1, k], axes[j, 2, k]
                for t in range(ties[0][3 * j + k], ties[0][3 * j + k + 1]):
                    column, factor = ties[1][t], ties[2][t]
                    out[n, 0, column] += factor * (b * z - c * y)
                    out[n, 1, column] += factor * (c * x - a * z)
                    out[n, 2, column] += factor * (a * y - b * x)
        for column in range(out.shape[2]):  # the camera's axes: right, down, forward
            y = out[n, 1, column]
            out[n, 1, column], out[n, 2, column] = -out[n, 2, column], y
        for i in range(3):
            out[n, i, starts[3] + i] += _ONE
