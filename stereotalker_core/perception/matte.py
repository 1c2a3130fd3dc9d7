"""Soft mattes at a portrait's own resolution, from the coarse mask of a segmentation network.

Only a band around the coarse edge is changed. Every pixel there is modelled as a mixture of the person and the
background, each a normal distribution of the known colours nearby (after Chuang et al. 2001, "A Bayesian approach to
digital matting", with the mixture integrated over a few values of alpha instead of solved), and uncertain pixels follow
their neighbours along the picture's edges (matting Laplacian, Levin et al. 2008, applied with box filters as in He et
al. 2010). A narrow colour distribution decides with confidence, a wide one does not: a plain backdrop is removed
exactly, while in a cluttered scene the network's mask has more influence."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..loops.available import array, loops_for
from ..pixels.dilation import largest_around
from ..shapes import dims

_NETWORK = 256  # px of the segmentation network's picture
_WORKING = 512  # px of the longer side at which the band is decided
_INSIDE, _OUTSIDE = 2.5, 4.0  # network pixels that a coarse edge may be off towards the person and away from it
_FACE_INSIDE, _FACE_OUTSIDE = 0.02, 0.06  # the same in face heights, where that is more: hair
_SURE = 0.9  # network probability that counts as decided, 1 minus it as well
_NEAR = 3.0  # widths of the band that the known colours come from
_NOISE = 0.012  # standard deviation of a picture's noise, colours in [0, 1]
_ALPHAS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
_USUAL = (0.0, -2.0, -2.5, -2.5, -2.5, -2.0, 0.0)  # log prior of those: most pixels are one or the other
_NOVEL = {0.0: -5.0, 1.0: -3.0}  # log density of colours that are like neither
_LOG_UNIT = 2.7568  # of a normal distribution in three dimensions: 1.5 log(2 pi)
_OPINION = 3.0  # log odds of the network's mask where it is sure
_FAR, _FREE, _REACH = 1.5, 2.0, 16  # log odds against the person a network px from its mask, beyond 2, up to 16
_STRAND = 0.2  # share of a pixel from which on it counts as person in full there: mixtures are as unlikely
_TRUST = 0.03  # weight of a sure pixel against the Laplacian
_REGULAR = 5e-3  # of foreground estimation: weight of the neighbours at even alpha
_SMALL, _ROUNDS_SMALL, _ROUNDS = 32, 10, 2  # px up to which a level is small, rounds there and at the others
_STEPS = 12  # of conjugate gradients
_SMOOTH = 1e-4  # regularisation of the Laplacian, colours in [0, 1] squared


def refine_matte(image: Tensor, mask: Tensor, face_height: float | None = None) -> Tensor:
    """Return the soft alpha (1, H, W) in [0, 1] of the person in image (3, H, W) in [-1, 1].

    image: the portrait.
    mask: (1, H, W) the person's probability from a network of about 256 px, enlarged to the picture.
    face_height: px from the top of the forehead to the chin; None derives the mask's error from its resolution alone.

    ValueError for other shapes."""
    known = dims(image, "3 H W")
    dims(mask, "1 H W", **known)
    rows, columns = image.shape[-2:]
    factor = min(1.0, _WORKING / max(rows, columns))
    size = (max(1, round(rows * factor)), max(1, round(columns * factor)))
    both = torch.cat([image / 2 + 0.5, mask.to(image)])[None]
    small = F.interpolate(both, size, mode="bilinear", antialias=True, align_corners=False) if factor < 1 else both
    colour, coarse = small[:, :3], small[:, 3:].clamp(0, 1)
    unit, face = max(size) / _NETWORK, min((face_height or 0.0) * factor, max(size))
    person = _shrunk(coarse > _SURE, max(_INSIDE * unit, _FACE_INSIDE * face))
    other = _shrunk(coarse < 1 - _SURE, max(_OUTSIDE * unit, _FACE_OUTSIDE * face))
    if not bool(person.any()) or not bool(other.any()):
        return mask.to(image).clamp(0, 1).clone()
    reach = _NEAR * max((_INSIDE + _OUTSIDE) * unit, (_FACE_INSIDE + _FACE_OUTSIDE) * face)
    alpha, trust = _explain(colour, coarse, person, other, reach)
    alpha = _follow_lines(colour, alpha, trust)
    return _enlarged(both[:, :3], alpha, person, other)[0]


def _shrunk(area: Tensor, radius: float) -> Tensor:
    """Erode (1, 1, H, W) bool by about a disc of `radius` px; the picture's border does not erode."""
    lost = (~area).to(torch.uint8)
    for i in range(max(1, round(radius))):  # squares and crosses in turn make about a disc
        across = largest_around(lost, (0, 1))
        lost = largest_around(across if i % 2 else lost, (1, 0))
        lost = lost if i % 2 else torch.maximum(across, lost)
    return lost == 0


def _box_mean(values: Tensor, radius: int) -> Tensor:
    """Average (B, C, H, W) over squares of 2 radius + 1 px, at the border over the part inside the picture."""
    if (fast := loops_for(values)) is not None:
        out = torch.empty(values.shape)
        fast.pictures.box_mean(array(values.flatten(0, 1)), radius, out.flatten(0, 1).numpy())
        return out
    for axis in (3, 2):  # shifted sums: several times as fast as a pooling for so few neighbours
        length, total = values.shape[axis], values.clone()
        place = torch.arange(length, device=values.device)
        for k in range(1, min(radius, length - 1) + 1):
            total.narrow(axis, 0, length - k).add_(values.narrow(axis, k, length - k))
            total.narrow(axis, k, length - k).add_(values.narrow(axis, 0, length - k))
        count = 1 + place.clamp(max=radius) + (length - 1 - place).clamp(max=radius)
        values = total.div_(count.view(-1, 1) if axis == 2 else count)
    return values


def _weighted_mean(values: Tensor, weight: Tensor, radius: int) -> Tensor:
    """Average values (1, C, H, W) around every pixel by weight (1, 1, H, W); over larger and larger areas where nothing
    is near."""
    rows, columns = values.shape[-2:]
    both = torch.cat([values * weight, weight], 1)
    total, scale = 0.0, 1.0
    while True:
        near = _box_mean(_box_mean(both, radius), radius)
        total = total + scale * F.interpolate(near, (rows, columns), mode="bilinear", align_corners=False)
        if min(both.shape[-2:]) <= 2 * radius:
            break
        both, scale = F.avg_pool2d(both, 4), scale * 1e-3
    return total[:, :-1] / total[:, -1:].clamp_min(1e-12)


def _normal(colour: Tensor, known: Tensor, reach: float) -> tuple[Tensor, Tensor]:
    """Return the mean (1, 3, H, W) and covariance (1, 6, H, W) of the known colours near every pixel.

    colour: (1, 3, H, W) of the picture; known: (1, 1, H, W) bool, pixels that count; reach: how far, px."""
    rows, columns = colour.shape[-2:]
    cell = max(1, round(reach / 6))
    radius = max(1, round(reach / cell / 2))
    pad = (0, -columns % cell, 0, -rows % cell)
    weight = F.pad(known.to(colour), pad)
    padded = F.pad(colour, pad)
    share = F.avg_pool2d(weight, cell)
    mean = _weighted_mean(F.avg_pool2d(padded * weight, cell) / share.clamp_min(1e-6), share, radius)
    fine = F.interpolate(mean, scale_factor=cell, mode="bilinear", align_corners=False)
    off = _products(padded - fine)
    covariance = _weighted_mean(F.avg_pool2d(off * weight, cell) / share.clamp_min(1e-6), share, radius)
    covariance = F.interpolate(covariance, scale_factor=cell, mode="bilinear", align_corners=False)
    return fine[..., :rows, :columns], covariance[..., :rows, :columns]


def _products(x: Tensor) -> Tensor:
    """Map colours (B, 3, ...) -> their products (B, 6, ...): rr rg rb gg gb bb."""
    r, g, b = x.unbind(1)
    return torch.stack([r * r, r * g, r * b, g * g, g * b, b * b], 1)


def _factors(s: Tensor, least: float) -> Tensor:
    """Factor symmetric matrices (B, 6, ...) as LDL^T -> (B, 6, ...): three pivots of at least `least`, then l21, l31,
    l32.

    The adjugate would be shorter, but loses all precision in float32 where colours lie on a line, as greys do."""
    rr, rg, rb, gg, gb, bb = s.unbind(1)
    first = rr.clamp_min(least)
    l21, l31 = rg / first, rb / first
    second = (gg - rg * l21).clamp_min(least)
    l32 = (gb - rg * l31) / second
    third = (bb - rb * l31 - l32 * l32 * second).clamp_min(least)
    return torch.stack([first, second, third, l21, l31, l32], 1)


def _back_substituted(factors: Tensor, x: Tensor) -> Tensor:
    """Solve for factored matrices (B, 6, ...) and right-hand sides x (B, 3, ...) -> (B, 3, ...)."""
    first, second, third, l21, l31, l32 = factors.unbind(1)
    r, g, b = x.unbind(1)
    g = g - l21 * r
    b = (b - l31 * r - l32 * g) / third
    g = g / second - l32 * b
    return torch.stack([r / first - l21 * g - l31 * b, g, b], 1)


def _far(coarse: Tensor) -> Tensor:
    """Return the log odds (1, 1, H, W) against the person, growing with the distance from the network's mask (1, 1, H,
    W)."""
    rows, columns = coarse.shape[-2:]
    factor = min(1.0, _NETWORK / max(rows, columns))
    size = (max(1, round(rows * factor)), max(1, round(columns * factor)))
    near = (F.interpolate(coarse, size, mode="bilinear", align_corners=False) > 0.5).to(coarse)
    away = torch.zeros_like(near)
    for _ in range(_REACH):
        away = away + 1 - near
        near = largest_around(near, 1)
    away = F.interpolate(away, (rows, columns), mode="bilinear", align_corners=False)
    return _FAR * (away - _FREE).clamp_min(0)


def _explain(
    colour: Tensor,
    coarse: Tensor,
    person: Tensor,
    other: Tensor,
    reach: float,
) -> tuple[Tensor, Tensor]:
    """Estimate the alpha of each pixel (1, 1, H, W), and the confidence in it (1, 1, H, W).

    colour: (1, 3, H, W) of the picture.
    coarse: (1, 1, H, W) the network's mask.
    person, other: (1, 1, H, W) bool, pixels that are certain.
    reach: px in which colours are compared."""
    at = (~(person | other))[0, 0].flatten().nonzero().squeeze(1)
    (front, front_spread), (back, back_spread) = (
        tuple(x.flatten(2)[..., at] for x in _normal(colour, known, reach)) for known in (person, other)
    )
    here, opinion, far = (x.flatten(2)[..., at] for x in (colour, _OPINION * (2 * coarse - 1), _far(coarse)))
    noise = colour.new_tensor([1, 0, 0, 1, 0, 1])[None, :, None] * _NOISE**2
    odds = []
    for alpha, usual in zip(_ALPHAS, _USUAL, strict=True):
        spread = alpha**2 * front_spread + (1 - alpha) ** 2 * back_spread + noise
        factors = _factors(spread, _NOISE**2)
        off = here - alpha * front - (1 - alpha) * back
        fits = -((off * _back_substituted(factors, off)).sum(1) + factors[:, :3].log().sum(1)) / 2 - _LOG_UNIT
        if alpha in _NOVEL:  # an ear-ring, a chair: in a tight distribution's place nothing is impossible
            fits = torch.logaddexp(fits, torch.full_like(fits, _NOVEL[alpha]))
        odds.append(usual + opinion[:, 0] * (alpha - 0.5) - far[:, 0] * min(1.0, alpha / _STRAND) + fits)
    share = torch.stack(odds).softmax(0)
    values = colour.new_tensor(_ALPHAS)[:, None, None]
    mean = (share * values).sum(0)
    doubt = (share * values**2).sum(0) - mean**2  # at most 0.25
    alpha = person.to(colour)
    trust = torch.ones_like(alpha)
    alpha.view(-1)[at], trust.view(-1)[at] = mean[0], _TRUST * (1 - doubt[0] / 0.25).clamp(0.02, 1) ** 2
    return alpha, trust


def _follow_lines(colour: Tensor, alpha: Tensor, trust: Tensor) -> Tensor:
    """Smooth alpha along the picture's edges: minimise the matting Laplacian's energy plus trust times squared change.

    colour: (1, 3, H, W) of the picture; alpha: (1, 1, H, W) to smooth; trust: (1, 1, H, W), how sure alpha is. Solved
    by conjugate gradients."""
    radius = 1 if max(colour.shape[-2:]) < _WORKING / 2 else 2
    mean = _box_mean(colour, radius)
    spread = _box_mean(_products(colour), radius) - _products(mean)
    factors = _factors(spread + colour.new_tensor([1, 0, 0, 1, 0, 1])[None, :, None, None] * _SMOOTH, _SMOOTH)

    fast = loops_for(colour, alpha)
    known = () if fast is None else tuple(array(x[0]) for x in (colour, mean, factors))

    def energy(p: Tensor) -> Tensor:
        if fast is not None:
            lines = torch.empty(1, 4, *p.shape[-2:])
            fast.pictures.fit_lines(array(p[0, 0]), *known, radius, lines[0].numpy())
        else:
            both = _box_mean(torch.cat([p, colour * p], 1), radius)
            slope = _back_substituted(factors, both[:, 1:] - mean * both[:, :1])
            lines = torch.cat([both[:, :1] - (slope * mean).sum(1, keepdim=True), slope], 1)
        both = _box_mean(lines, radius)
        return p - both[:, :1] - (both[:, 1:] * colour).sum(1, keepdim=True) + trust * p

    solution = alpha
    residual = trust * alpha - energy(alpha)
    scale = 1 / (trust + 0.3)
    step = scale * residual
    length = (residual * step).sum()
    for _ in range(_STEPS):
        change = energy(step)
        size = length / (step * change).sum().clamp_min(1e-20)
        solution = solution + size * step
        residual = residual - size * change
        ready = scale * residual
        longer = (residual * ready).sum()
        step, length = ready + longer / length.clamp_min(1e-20) * step, longer
    return solution.clamp(0, 1)


def _enlarged(colour: Tensor, alpha: Tensor, person: Tensor, other: Tensor) -> Tensor:
    """Enlarge alpha from the working size to the picture's own, along its edges; certain pixels keep the network's
    value.

    colour: (1, 3, H, W) of the picture; alpha: (1, 1, h, w); person, other: (1, 1, h, w) bool, pixels that are
    certain."""
    size = colour.shape[-2:]
    small = torch.cat([alpha, person.to(alpha), other.to(alpha)], 1)
    grown = F.interpolate(small, size, mode="bilinear", align_corners=False)
    fine = grown[:, :1]
    if size != alpha.shape[-2:]:
        from kornia.filters import guided_blur

        fine = guided_blur(colour, fine, 9, 1e-4, border_type="replicate", subsample=2)
    fine = ((fine - 0.5) * 1.08 + 0.5).clamp(0, 1)
    return torch.where(grown[:, 1:2] > 0.99, 1.0, torch.where(grown[:, 2:] > 0.99, 0.0, fine))


def foreground_colours(image: Tensor, alpha: Tensor) -> Tensor:
    """Estimate the person's own colours (3, H, W) in [-1, 1], without the background's share in soft pixels.

    image: (3, H, W) in [-1, 1]; alpha: (1, H, W) in [0, 1].

    Where alpha is 0 the person's nearest colours are continued, so that resampling the edge mixes in no background.
    Multi-level foreground estimation (Germer et al. 2020, "Fast multi-level foreground estimation"), from the coarsest
    level to the finest. ValueError for other shapes."""
    known = dims(image, "3 H W")
    dims(alpha, "1 H W", **known)
    sizes = [tuple(image.shape[-2:])]
    while max(sizes[-1]) > 1:
        sizes.append(tuple((side + 1) // 2 for side in sizes[-1]))
    opacity = alpha.to(image).clamp(0, 1)
    layers = [torch.cat([image, opacity])[None]]
    for size in sizes[1:]:
        layers.append(F.interpolate(layers[-1], size, mode="area"))
    front = back = layers[-1][:, :3]
    for level in reversed(layers[1:]):
        size = level.shape[-2:]
        front, back = (F.interpolate(x, size, mode="nearest-exact") for x in (front, back))
        for _ in range(_ROUNDS_SMALL if max(size) <= _SMALL else _ROUNDS):
            front, back = _unmixed(level[:, :3], level[:, 3:], front, back)
    grown = F.interpolate(torch.cat([front, back], 1), sizes[0], mode="nearest-exact")[0]
    soft = ((opacity > 0) & (opacity < 1)).to(torch.uint8)
    near = (largest_around(soft, _ROUNDS + 1)[0] > 0).nonzero()  # elsewhere the picture says it, or nobody looks
    front = _unmixed_near(near, image, opacity, grown)
    return torch.where(opacity == 1, image, front).clamp(-1, 1)


def _unmixed_near(near: Tensor, image: Tensor, alpha: Tensor, layers: Tensor) -> Tensor:
    """Return the person's layer (3, H, W) after _ROUNDS of `_unmixed` at the pixels near (N, 2) alone.

    near: row and column; image: (3, H, W) in [-1, 1]; alpha: (1, H, W) in [0, 1]; layers: (6, H, W), the person's and
    the background's so far."""
    rows, columns = image.shape[-2:]
    y, x = near.unbind(1)
    here = y * columns + x
    beside = [
        (y + dy).clamp(0, rows - 1) * columns + (x + dx).clamp(0, columns - 1)
        for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1))
    ]
    layers, opacity = layers.flatten(1).T.contiguous(), alpha.flatten()
    colour, alpha = image.flatten(1).T[here], opacity[here, None]
    weights = [_REGULAR + (opacity[there, None] - alpha).abs() for there in beside]
    count = sum(weights[1:], weights[0])
    for _ in range(_ROUNDS):
        mean = sum(w * layers[there] for w, there in zip(weights, beside, strict=True)) / count
        layers = layers.index_copy(0, here, torch.cat(_explaining(colour, alpha, mean, count), 1))
    return layers[:, :3].T.reshape(image.shape)


def _unmixed(colour: Tensor, alpha: Tensor, front: Tensor, back: Tensor) -> tuple[Tensor, Tensor]:
    """Do one Jacobi step: average each layer over its four neighbours, then adjust both to reproduce the colour.

    colour: (1, 3, H, W) of the picture; alpha: (1, 1, H, W); front, back: (1, 3, H, W), the person's and the
    background's colours so far. Returns the last two."""
    if (fast := loops_for(colour, alpha, front, back)) is not None:
        out = torch.empty(1, 6, *colour.shape[-2:])
        layers = array(torch.cat([front, back], 1)[0])
        fast.pictures.unmixed(array(colour[0]), array(alpha[0, 0]), layers, _REGULAR, out[0].numpy())
        return out[:, :3], out[:, 3:]
    padded = F.pad(torch.cat([front, back, alpha], 1), (1, 1, 1, 1), mode="replicate")
    total, count = 0.0, 0.0
    rows, columns = colour.shape[-2:]
    for y, x in ((0, 1), (2, 1), (1, 0), (1, 2)):
        near = padded[..., y : y + rows, x : x + columns]
        weight = _REGULAR + (near[:, 6:] - alpha).abs()
        total, count = total + weight * near[:, :6], count + weight
    return _explaining(colour, alpha, total / count, count)


def _explaining(colour: Tensor, alpha: Tensor, mean: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Adjust the neighbours' mean colours (n, 6, ...) to reproduce a colour (n, 3, ...) -> both layers (n, 3, ...).

    alpha: (n, 1, ...) share of the first layer; mean: three channels of each layer; count: the neighbours' weight,
    relative to 1 for the colour."""
    front, back = mean[:, :3], mean[:, 3:]
    off = (colour - alpha * front - (1 - alpha) * back) / (count + alpha**2 + (1 - alpha) ** 2)
    return (front + alpha * off).clamp(-1, 1), (back + (1 - alpha) * off).clamp(-1, 1)
