"""What lies between and behind the networks of playback, in compiled loops: masks, the end of the guided decoder, the
filter over time of `rendering.steady`.

The same arithmetic as in their twins of tensor operations, in float32, row of pixels by row of pixels: what one
operation writes is still in the processor's cache when the next one reads it. Imported like `compiled`, by `loops`
alone."""

import numpy as np

from ...loops.decorator import machine_code

_ZERO, _HALF, _ONE, _TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
_SIXTEENTH = np.float32(1 / 16)
_ONE_BF16 = np.int16(0x3F80)  # the bits of 1 in bfloat16


@machine_code
def shares(values, lift, slots, row, limits, share):
    """Fill share (2, T - 1, W) with how much neighbours exchange in one row: of the picture and of the alpha.

    values: (S, 4, H, W); lift: (S, 3, H, W).
    slots: (T,) where consecutive frames lie in them.
    limits: (5,) change from which nothing is exchanged and slope, of the picture and of the alpha, and largest share.
    """
    for t in range(len(slots) - 1):
        here, there = slots[t], slots[t + 1]
        for x in range(values.shape[3]):
            change = abs(values[there, 3, row, x] - values[here, 3, row, x]) * _TWO
            for c in range(3):
                change = max(change, abs(lift[there, c, row, x] - lift[here, c, row, x]))
            share[0, t, x] = min(max((limits[0] - change) * limits[1], _ZERO), limits[4])
            share[1, t, x] = min(max((limits[2] - change) * limits[3], _ZERO), limits[4])


@machine_code
def exchange(frames, share, first, stop, moved):
    """Let frames first to stop - 1 of one channel exchange with their neighbours, once.

    frames: (T, W) values of one row, changed in place; share: (T - 1, W); moved: (W,) scratch."""
    moved[:] = _ZERO
    if first > 0:
        for x in range(len(moved)):
            moved[x] = (frames[first, x] - frames[first - 1, x]) * share[first - 1, x]
    for t in range(first, min(stop, len(frames) - 1)):
        for x in range(len(moved)):
            now = (frames[t + 1, x] - frames[t, x]) * share[t, x]
            frames[t, x] = frames[t, x] + now - moved[x]
            moved[x] = now
    if stop == len(frames):
        for x in range(len(moved)):
            frames[stop - 1, x] -= moved[x]


@machine_code
def steady_rows(values, lift, slots, top, bottom, passes, limits, begin, out):
    """Filter rows top to bottom - 1 of consecutive frames over time, as `steady.steady` does.

    values, lift, slots, limits: as in `shares`; passes: number of exchanges.
    begin: first frame of interest; out: (t, 4, H, W), filled with the t frames from there on."""
    count, end, width = len(slots), begin + len(out), values.shape[3]
    frames, share = np.empty((4, count, width), np.float32), np.empty((2, count, width), np.float32)
    moved = np.empty(width, np.float32)
    for row in range(top, bottom):
        shares(values, lift, slots, row, limits, share)
        for c in range(4):
            which = 0 if c < 3 else 1
            for t in range(count):
                frames[c, t] = values[slots[t], c, row]
            for left in range(passes - 1, -1, -1):  # exchanges that follow, each of which looks one frame further
                exchange(frames[c], share[which], max(0, begin - left), min(count, end + left), moved)
            for t in range(begin, end):
                out[t - begin, c, row] = frames[c, t]


@machine_code
def silhouette_frame(label, region, regions, out):
    """Mark the fitted body's region of every pixel, in blocks: what `MaskPredictor.silhouette` shows, as bfloat16.

    label: (1, H, W) 0 = outside, 1 + part index; region: (labels,) the region of each; regions: how many there are.
    out: (H/4, W/4, 16 * regions) int16, filled with the bits of bfloat16's 1 and 0."""
    for y in range(out.shape[0]):
        for x in range(out.shape[1]):
            out[y, x] = 0
            for i in range(4):
                for j in range(4):
                    which = region[int(label[0, 4 * y + i, 4 * x + j])]
                    out[y, x, 16 * which + 4 * i + j] = _ONE_BF16


@machine_code
def person_frame(logits, label, region, regions, prior, alpha):
    """Turn the mask predictor's output into the person's alpha: one minus the background's share.

    logits: (H/4, W/4, 16 * regions) in blocks, without the prior; label, region, regions: as in `silhouette_frame`.
    prior: is added to the logit of the fitted body's region; alpha: (1, H, W), filled in."""
    for y in range(logits.shape[0]):
        for i in range(4):
            for x in range(logits.shape[1]):
                for j in range(4):
                    row, column, place = 4 * y + i, 4 * x + j, 4 * i + j
                    here, others = region[int(label[0, row, column])], _ZERO
                    behind = logits[y, x, place] + (prior if here == 0 else _ZERO)
                    for which in range(1, regions):
                        more = logits[y, x, 16 * which + place] + (prior if here == which else _ZERO)
                        others += np.exp(more - behind)
                    alpha[0, row, column] = _ONE - _ONE / (_ONE + others)


@machine_code
def restore_frame(change, guide, lift_at, seen_at, sharpen, image):
    """Finish the guided decoder's picture: its change of the lift, added to it, and detail restored where it was seen.

    change: (H/4, W/4, 48) in blocks of 4 x 4; guide: (H/4, W/4, G).
    lift_at, seen_at: first channel of lift and visibility in the guide; sharpen: as in `AutoencoderConfig`.
    image: (3, H, W), filled in."""
    rows, columns = image.shape[1], image.shape[2]
    for y in range(change.shape[0]):
        for i in range(4):
            for c in range(3):
                at = 16 * c + 4 * i
                for x in range(change.shape[1]):
                    for j in range(4):
                        image[c, 4 * y + i, 4 * x + j] = change[y, x, at + j] + guide[y, x, lift_at + at + j]
    if sharpen == _ZERO:
        return
    above, here = np.empty(columns, np.float32), np.empty(columns, np.float32)
    mixed = np.empty(columns + 2, np.float32)
    for c in range(3):
        for row in range(rows):
            below = image[c, min(row + 1, rows - 1)]
            for x in range(columns):
                here[x] = image[c, row, x]
            if row == 0:
                above[:] = here
            for x in range(columns):
                mixed[x + 1] = above[x] + below[x] + _TWO * here[x]
            mixed[0], mixed[columns + 1] = mixed[1], mixed[columns]
            y, at = row // 4, seen_at + 4 * (row % 4)
            for x in range(columns):
                soft = (mixed[x] + mixed[x + 2] + _TWO * mixed[x + 1]) * _SIXTEENTH
                seen = guide[y, x // 4, at + x % 4] * _HALF + _HALF
                image[c, row, x] = here[x] + sharpen * seen * (here[x] - soft)
            above[:] = here
