"""Compiled loops of inpainting: the places that a hole's pixels are copied from, and the copying.

Arrays are contiguous, float32, int64 or bool; results are filled into the last arguments unless said otherwise."""

import numpy as np

from .decorator import compiled

_ZERO, _ONE, _HALF = np.float32(0), np.float32(1), np.float32(0.5)


@compiled
def pass_messages(unary, apart, number, rounds, told):
    """Do min-sum belief propagation on a grid, as `inpaint_places._beliefs` does.

    unary: (N, K) costs; apart: (N, K, K); number: (h, w) index of every unknown pixel, -1 for known ones; rounds: of
    four sweeps each. Fills told (4, N, K), zeros at first: what a pixel hears from its neighbour in each direction."""
    rows, columns = number.shape
    labels = unary.shape[1]
    belief, message = np.empty(labels, np.float32), np.empty(labels, np.float32)
    for _ in range(rounds):
        for direction in range(4):
            along, forward = direction < 2, direction % 2 == 0
            lines, places = (columns, rows) if along else (rows, columns)
            for line in range(lines - 1):
                at, to = (line, line + 1) if forward else (lines - 1 - line, lines - 2 - line)
                for place in range(places):
                    here = number[place, at] if along else number[at, place]
                    there = number[place, to] if along else number[to, place]
                    if here < 0 or there < 0:
                        continue
                    for i in range(labels):
                        heard = told[0, here, i] + told[1, here, i] + told[2, here, i] + told[3, here, i]
                        belief[i] = (unary[here, i] + heard) * _HALF - told[direction ^ 1, here, i]
                        message[i] = np.float32(np.inf)
                    one, two = apart[here], apart[there]
                    for i in range(labels):
                        own, a, b = belief[i], one[i], two[i]
                        for j in range(labels):
                            cost = own + a[j] + b[j]
                            message[j] = cost if cost < message[j] else message[j]
                    least = message.min()
                    for i in range(labels):
                        told[direction, there, i] = message[i] - least


@compiled
def try_place(y, x, rows, columns, sources, features, mine, best, cost):
    """Return the better of a place (y, x) and the place found so far (flat index `best`, `cost`), as (index, cost)."""
    if y < 0 or y >= rows or x < 0 or x >= columns:
        return best, cost
    index = y * columns + x
    if index == best or not sources[index]:
        return best, cost
    there, total = features[index], _ZERO
    for k in range(len(mine)):
        off = there[k] - mine[k]
        total += off * off
    return (index, total) if total < cost else (best, cost)


@compiled
def propagate(target, features, sources, rows, columns, step_y, step_x, at, best, cost):
    """Let every target patch try the place beside the one of its neighbour.

    target: (T,) flat indices; features: (h w, F); sources: (h w,) bool, places that may be copied; step_*: to the
    neighbour; at: (h w,) places of all pixels. Changes best (T,) and cost (T,)."""
    for t in range(len(target)):
        y, x = target[t] // columns, target[t] % columns
        near_y, near_x = min(max(y + step_y, 0), rows - 1), min(max(x + step_x, 0), columns - 1)
        there = at[near_y * columns + near_x]
        to_y, to_x = there // columns - (near_y - y), there % columns - (near_x - x)
        best[t], cost[t] = try_place(
            to_y, to_x, rows, columns, sources, features, features[target[t]], best[t], cost[t]
        )


@compiled
def try_near(target, features, sources, rows, columns, steps, best, cost):
    """Let every target patch try a place `steps` (2, T) int64 rows and columns from its best one; others: `propagate`.
    """
    for t in range(len(target)):
        y, x = best[t] // columns + steps[0, t], best[t] % columns + steps[1, t]
        best[t], cost[t] = try_place(y, x, rows, columns, sources, features, features[target[t]], best[t], cost[t])


@compiled
def vote(unknown, picture, at, sure, rows, columns, reach, out):
    """Fill out (U, 3) with the mean vote of all patches that cover each unknown pixel (U,).

    picture: (h w, 3); at: (h w,) the source of every pixel's patch; sure: (h w,) its weight; reach: px from the middle
    of a patch to its edge."""
    last = rows * columns - 1
    for u in range(len(unknown)):
        y, x = unknown[u] // columns, unknown[u] % columns
        red, green, blue, count = _ZERO, _ZERO, _ZERO, _ZERO
        for dy in range(-reach, reach + 1):
            for dx in range(-reach, reach + 1):
                if y + dy < 0 or y + dy >= rows or x + dx < 0 or x + dx >= columns:
                    continue
                patch = (y + dy) * columns + x + dx
                there = min(max(at[patch] - dy * columns - dx, 0), last)
                weight = sure[patch]
                red += picture[there, 0] * weight
                green += picture[there, 1] * weight
                blue += picture[there, 2] * weight
                count += weight
        share = _ONE / max(count, np.float32(1e-9))
        out[u, 0], out[u, 1], out[u, 2] = red * share, green * share, blue * share


@compiled
def copy_detail(detail, hole, places, out):
    """Fill out (3, H, W) in the hole (H, W) bool with detail (3, H, W) copied from places (2, h, w).

    The four nearest places are blended bilinearly, as in `inpaint._copied`."""
    rows, columns = hole.shape
    tall, wide = places.shape[1], places.shape[2]
    down, across = np.float32(rows / tall), np.float32(columns / wide)
    for y in range(rows):
        here_y = (np.float32(y) + _HALF) / down - _HALF
        low_y = np.floor(here_y)
        for x in range(columns):
            if not hole[y, x]:
                continue
            here_x = (np.float32(x) + _HALF) / across - _HALF
            low_x = np.floor(here_x)
            red, green, blue, count = _ZERO, _ZERO, _ZERO, _ZERO
            for j in range(2):
                cell_y = min(max(int(low_y) + j, 0), tall - 1)
                share_y = _ONE - abs(here_y - low_y - np.float32(j))
                for i in range(2):
                    cell_x = min(max(int(low_x) + i, 0), wide - 1)
                    share = share_y * (_ONE - abs(here_x - low_x - np.float32(i)))
                    jump_y = np.rint(np.float32(places[0, cell_y, cell_x] - cell_y) * down)
                    jump_x = np.rint(np.float32(places[1, cell_y, cell_x] - cell_x) * across)
                    from_y = min(max(y + int(jump_y), 0), rows - 1)
                    from_x = min(max(x + int(jump_x), 0), columns - 1)
                    if hole[from_y, from_x]:
                        continue
                    red += share * detail[0, from_y, from_x]
                    green += share * detail[1, from_y, from_x]
                    blue += share * detail[2, from_y, from_x]
                    count += share
            part = _ONE / max(count, np.float32(1e-6))
            out[0, y, x], out[1, y, x], out[2, y, x] = red * part, green * part, blue * part


@compiled
def least(values, out):
    """Fill out (T,) with the index of the least of each row of values (T, S)."""
    count = values.shape[1]
    for t in range(len(values)):
        line = values[t]
        best = line[0]
        for s in range(1, count):
            best = min(best, line[s])
        for s in range(count):
            if line[s] == best:
                out[t] = s
                break
