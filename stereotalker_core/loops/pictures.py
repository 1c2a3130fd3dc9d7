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
            for y in range(rows):
                for x in range(columns):
                    old[y, x] = value[c, y, x]
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
def box_mean(values, radius, out):
    """Fill out (C, h, w) with the means of the square around every pixel of values (C, h, w), within the picture.

    Sums are taken anew for every pixel: running sums lose what a matting Laplacian needs."""
    channels, rows, columns = values.shape
    along = np.empty((rows, columns), np.float32)
    wide = np.zeros(columns + 2 * radius, np.float32)
    share = np.empty(columns, np.float32)
    for x in range(columns):
        share[x] = _ONE / np.float32(min(columns, x + radius + 1) - max(0, x - radius))
    for c in range(channels):
        for y in range(rows):
            line = along[y]
            for x in range(columns):
                wide[radius + x], line[x] = values[c, y, x], _ZERO
            for k in range(2 * radius + 1):
                for x in range(columns):
                    line[x] += wide[x + k]
        for y in range(rows):
            first, last = max(0, y - radius), min(rows, y + radius + 1)
            line = out[c, y]
            for x in range(columns):
                line[x] = along[first, x]
            for k in range(first + 1, last):
                other = along[k]
                for x in range(columns):
                    line[x] += other[x]
            part = _ONE / np.float32(last - first)
            for x in range(columns):
                line[x] *= part * share[x]


@compiled
def fit_lines(matte, colour, mean, factors, radius, out):
    """Fill out (4, h, w): level, and slope in three colours, of the line through the matte around every pixel.

    matte: (h, w); colour, mean: (3, h, w), of the picture and around its pixels; factors: (6, h, w) of the colours'
    covariance, as from `matte._factors`."""
    rows, columns = matte.shape
    both = np.empty((4, rows, columns), np.float32)
    for y in range(rows):
        for x in range(columns):
            both[0, y, x] = matte[y, x]
            for c in range(3):
                both[c + 1, y, x] = colour[c, y, x] * matte[y, x]
    box_mean(both, radius, out)
    for y in range(rows):
        for x in range(columns):
            level = out[0, y, x]
            r, g = out[1, y, x] - mean[0, y, x] * level, out[2, y, x] - mean[1, y, x] * level
            b = out[3, y, x] - mean[2, y, x] * level
            l21, l31, l32 = factors[3, y, x], factors[4, y, x], factors[5, y, x]
            g = g - l21 * r
            b = (b - l31 * r - l32 * g) / factors[2, y, x]
            g = g / factors[1, y, x] - l32 * b
            r = r / factors[0, y, x] - l21 * g - l31 * b
            out[0, y, x] = level - r * mean[0, y, x] - g * mean[1, y, x] - b * mean[2, y, x]
            out[1, y, x], out[2, y, x], out[3, y, x] = r, g, b


@compiled
def unmixed(colour, alpha, layers, regular, out):
    """Do one step of foreground estimation, as `matte._unmixed` does.

    colour: (3, h, w); alpha: (h, w); layers: (6, h, w), the person's and the background's colours; regular: weight of
    the neighbours at even alpha. Fills out (6, h, w) with the new layers."""
    rows, columns = alpha.shape
    base = np.float32(regular)
    for y in range(rows):
        above, below = max(y - 1, 0), min(y + 1, rows - 1)
        for x in range(columns):
            before, after = max(x - 1, 0), min(x + 1, columns - 1)
            own = alpha[y, x]
            a, b = base + abs(alpha[above, x] - own), base + abs(alpha[below, x] - own)
            c, d = base + abs(alpha[y, before] - own), base + abs(alpha[y, after] - own)
            count = a + b + c + d
            share, rest = _ONE / count, _ONE - own
            part = _ONE / (count + own * own + rest * rest)
            for k in range(3):
                front = (a * layers[k, above, x] + b * layers[k, below, x]) * share
                front += (c * layers[k, y, before] + d * layers[k, y, after]) * share
                back = (a * layers[k + 3, above, x] + b * layers[k + 3, below, x]) * share
                back += (c * layers[k + 3, y, before] + d * layers[k + 3, y, after]) * share
                off = (colour[k, y, x] - own * front - rest * back) * part
                out[k, y, x] = min(max(front + own * off, -_ONE), _ONE)
                out[k + 3, y, x] = min(max(back + rest * off, -_ONE), _ONE)
