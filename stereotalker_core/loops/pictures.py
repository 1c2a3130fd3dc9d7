"""Compiled loops over the pixels of pictures: local means, push-pull, membranes, distances, mattes.

Arrays are float32 and contiguous unless said otherwise; results are filled into the last arguments."""

import numpy as np

from .decorator import compiled

_ZERO, _ONE, _HALF, _QUARTER = np.float32(0), np.float32(1), np.float32(0.5), np.float32(0.25)
_LEAST = np.float32(1e-6)


@compiled
def chess_distance(known, away):
    """Fill away (h, w) with the distance in steps of a king to the nearest true pixel of known (h, w) bool.

    It is h + w where there is none."""
    rows, columns = known.shape
    far = np.float32(rows + columns)
    for y in range(rows):
        for x in range(columns):
            best = _ZERO if known[y, x] else far
            if y > 0:
                for k in range(max(0, x - 1), min(columns, x + 2)):
                    best = min(best, away[y - 1, k] + _ONE)
            if x > 0:
                best = min(best, away[y, x - 1] + _ONE)
            away[y, x] = best
    for y in range(rows - 1, -1, -1):
        for x in range(columns - 1, -1, -1):
            best = away[y, x]
            if y < rows - 1:
                for k in range(max(0, x - 1), min(columns, x + 2)):
                    best = min(best, away[y + 1, k] + _ONE)
            if x < columns - 1:
                best = min(best, away[y, x + 1] + _ONE)
            away[y, x] = best


@compiled
def mean_around(values, radius, out):
    """Fill out (C, h, w) with the mean of the square around every pixel of values (C, h, w), edges replicated."""
    channels, rows, columns = values.shape
    share = 1.0 / (2 * radius + 1)
    along = np.empty((rows, columns), np.float32)
    total = np.empty(columns, np.float64)
    for c in range(channels):
        for y in range(rows):
            line = values[c, y]
            sums = float(line[0]) * (radius + 1)
            for k in range(1, radius + 1):
                sums += line[min(k, columns - 1)]
            for x in range(columns):
                along[y, x] = sums * share
                sums += float(line[min(x + radius + 1, columns - 1)]) - float(line[max(x - radius, 0)])
        for x in range(columns):
            total[x] = float(along[0, x]) * (radius + 1)
        for k in range(1, radius + 1):
            line = along[min(k, rows - 1)]
            for x in range(columns):
                total[x] += line[x]
        for y in range(rows):
            new, old, row = along[min(y + radius + 1, rows - 1)], along[max(y - radius, 0)], out[c, y]
            for x in range(columns):
                row[x] = total[x] * share
                total[x] += float(new[x]) - float(old[x])


@compiled
def pushed(values, weight, half, half_weight):
    """Average values (C, h, w) by weight (h, w) over cells of 2 x 2 pixels -> half (C, h', w'), half_weight (h', w').

    Beyond an odd edge the weight is 0; sizes are rounded up."""
    channels, rows, columns = values.shape
    for j in range(half.shape[1]):
        for i in range(half.shape[2]):
            y1, x1 = min(2 * j + 2, rows), min(2 * i + 2, columns)
            sums = _ZERO
            for y in range(2 * j, y1):
                for x in range(2 * i, x1):
                    sums += weight[y, x]
            half_weight[j, i] = min(_ONE, sums)
            part = _ONE / max(sums, np.float32(4e-6))
            for c in range(channels):
                total = _ZERO
                for y in range(2 * j, y1):
                    for x in range(2 * i, x1):
                        total += values[c, y, x] * weight[y, x]
                half[c, j, i] = total * part


@compiled
def pulled(coarse, values, weight, out):
    """Fill out (C, h, w): values (C, h, w) where weight (h, w) is 1, coarse (C, h', w') enlarged where it is 0."""
    channels, rows, columns = values.shape
    last = coarse.shape[2] - 1
    wide = np.empty(coarse.shape[2], np.float32)
    for c in range(channels):
        for y in range(rows):
            j = y // 2
            k = min(j + 1, coarse.shape[1] - 1) if y % 2 else max(j - 1, 0)
            near, far = coarse[c, j], coarse[c, k]
            for i in range(last + 1):
                wide[i] = near[i] * (_ONE - _QUARTER) + far[i] * _QUARTER
            for x in range(columns):
                i = x // 2
                k = min(i + 1, last) if x % 2 else max(i - 1, 0)
                low = wide[i] * (_ONE - _QUARTER) + wide[k] * _QUARTER
                out[c, y, x] = low + weight[y, x] * (values[c, y, x] - low)


@compiled
def relax(value, ask, right, below, scale, sweeps):
    """Do Jacobi steps of a membrane in place on value (C, h, w).

    ask: (C, h, w) the wanted differences, summed; right: (h, w - 1) and below: (h - 1, w) weights of the links; scale:
    (h, w), 1 over the sum of a pixel's weights, 0 where its value is fixed; sweeps: how many steps."""
    channels, rows, columns = value.shape
    old = np.empty((rows, columns), np.float32)
    for c in range(channels):
        for _ in range(sweeps):
            old[:] = value[c]
            for y in range(rows):
                for x in range(columns):
                    if scale[y, x] == _ZERO:
                        continue
                    near = ask[c, y, x]
                    if x + 1 < columns:
                        near += old[y, x + 1] * right[y, x]
                    if x > 0:
                        near += old[y, x - 1] * right[y, x - 1]
                    if y + 1 < rows:
                        near += old[y + 1, x] * below[y, x]
                    if y > 0:
                        near += old[y - 1, x] * below[y - 1, x]
                    value[c, y, x] = near * scale[y, x]


@compiled
def box_sums(values, radius, out):
    """Fill out (h, w, C) with the sums of the square around every pixel of values (h, w, C), within the picture."""
    rows, columns, channels = values.shape
    along = np.empty((rows, columns, channels), np.float32)
    total = np.empty(channels, np.float64)
    for y in range(rows):
        total[:] = 0.0
        for x in range(min(radius, columns)):
            for c in range(channels):
                total[c] += values[y, x, c]
        for x in range(columns):
            for c in range(channels):
                if x + radius < columns:
                    total[c] += values[y, x + radius, c]
                if x - radius - 1 >= 0:
                    total[c] -= values[y, x - radius - 1, c]
                along[y, x, c] = total[c]
    flat = along.reshape(rows, columns * channels)
    sums = np.zeros(columns * channels, np.float64)
    for y in range(min(radius, rows)):
        for k in range(len(sums)):
            sums[k] += flat[y, k]
    for y in range(rows):
        if y + radius < rows:
            for k in range(len(sums)):
                sums[k] += flat[y + radius, k]
        if y - radius - 1 >= 0:
            for k in range(len(sums)):
                sums[k] -= flat[y - radius - 1, k]
        row = out[y].reshape(columns * channels)
        for k in range(len(sums)):
            row[k] = sums[k]
