"""The network that generates what a portrait does not show: a denoising U-Net over all views of the rig together.

All V views of a person are denoised at once. Beside its own projected pixels every pixel reads those behind it and on
the other half of the body, so that cloth can be continued; attention along rows joins the views, because a row is the
same height in all of them (as motion modules join frames); reference attention reads what the portrait showed, wherever
that is. View experts are gated by the camera of the view, mask experts by the region of the body.

The network predicts weights to mix a pixel's own colour with those of its partners, and a colour to add, so that copies
stay as sharp as their source. It predicts the clean texture from a mix (1 - s) truth + s noise, 0 < s <= 1."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...body.texture.rig import BLOCK, FITS, RIG_REGIONS, Rig
from .experts import ExpertConfig, ExpertContext, MaskExperts, ViewExperts

_CANDIDATES = 4  # own, opposite, mirror, opposite of the mirror
_MEANS = 2  # of the person's cloth and skin, candidates for every pixel, too
_CONDITIONS = 4 * _CANDIDATES + 3  # colours and visibility of the candidates, the noisy texture
_STATIC = 6 + len(RIG_REGIONS) + 1  # normal, position, regions, silhouette
# logits in the beginning: the pixel's own colour, and how much more a partner counts that was seen, by region
_OWN_FIRST, _MEANS_LAST = 2.0, -1.0
_COPIED = {"clothes": (4.0, 2.0, 0.0, 1.0), "face": (4.0, -2.0, -1.0, -2.0), "hair": (4.0, -2.0, -1.0, -2.0)}
NOISE = 0.6  # standard deviation of pure noise, colours in [-1, 1]


@dataclass(frozen=True)
class BakeConfig:
    """The sizes of the network.

    widths: channels of the three levels; heads: number of attention heads; rank: hidden units of an expert; kappa:
    sharpness of the view experts' gates; view_experts, mask_experts, across_views, reference: whether the network has
    these parts; fits: whether it is told how a person was fitted, and so how far the portrait's colours can be relied
    on."""

    widths: tuple[int, ...] = (40, 80, 128)
    heads: int = 2
    rank: int = 8
    kappa: float = 2.0
    view_experts: bool = True
    mask_experts: bool = True
    across_views: bool = True
    reference: bool = True
    fits: bool = False


class Seen(NamedTuple):
    """The input of reference attention from the n squares, of V * h * w of all views, that show some of the body.

    bias: (B, 1, 1, n) logarithms of the fractions that the portrait showed of them; place: (n,) their indices."""

    bias: Tensor
    place: Tensor


class BakeNetwork(nn.Module):
    """The network that denoises a person's texture in all views of a rig together; see `forward`."""

    Config = BakeConfig

    def __init__(self, config: BakeConfig | None = None):
        super().__init__()
        self.config = config = config or BakeConfig()
        first, middle, last = config.widths
        self.stem = nn.Linear(_CONDITIONS * BLOCK**2, first)
        self.place = nn.Linear(_STATIC * BLOCK**2, first)
        self.level = nn.Sequential(nn.Linear(16 + 3 * _MEANS, 4 * first), nn.SiLU())
        self.fit = nn.Parameter(torch.zeros(len(FITS), 4 * first)) if config.fits else None
        self.context = ExpertContext()
        layer = {"context": self.context, "config": config}
        self.down = nn.ModuleList(
            [Level("down0", first, first, False, **layer), Level("down1", middle, middle, True, **layer)]
        )
        self.smaller = nn.ModuleList([nn.Conv2d(a, b, 3, 2, 1) for a, b in ((first, middle), (middle, last))])
        self.middle = nn.ModuleList(
            [Level("middle0", last, last, True, **layer), Level("middle1", last, last, True, **layer)]
        )
        self.up = nn.ModuleList(
            [Level("up1", last + middle, middle, True, **layer), Level("up0", middle + first, first, False, **layer)]
        )
        # from what the decoder knows and from the stem, which knows the pixels themselves
        self.out = nn.Sequential(
            nn.LayerNorm(2 * first), nn.Linear(2 * first, 4 * first), nn.SiLU(),
            nn.Linear(4 * first, (_CANDIDATES + _MEANS + 3) * BLOCK**2),
        )  # fmt: skip
        copied = torch.zeros(len(RIG_REGIONS), _CANDIDATES)
        for name, row in _COPIED.items():
            copied[RIG_REGIONS.index(name)] = torch.tensor(row)
        self.first = nn.Parameter(torch.tensor([_OWN_FIRST] + [0.0] * (_CANDIDATES - 1) + [_MEANS_LAST] * _MEANS))
        self.copied = nn.Parameter(copied)
        for values in self.out[-1].parameters():
            nn.init.zeros_(values)
        levels = [m for m in self.modules() if isinstance(m, Level)]
        names, widths = tuple(m.name for m in levels), tuple(m.width for m in levels)
        settings = {"rank": config.rank, "kappa": config.kappa}
        self.view = ViewExperts(ExpertConfig(names, widths, 4, **settings)) if config.view_experts else None
        self.mask = (
            MaskExperts(ExpertConfig(names, widths, len(RIG_REGIONS), **settings)) if config.mask_experts else None
        )

    def forward(
        self,
        rig: Rig,
        lift: Tensor,
        visibility: Tensor,
        noisy: Tensor,
        level: Tensor,
        strengths: tuple[float, float] = (1.0, 1.0),
        fit: Tensor | None = None,
    ) -> Tensor:
        """Predict the clean texture from a noisy one.

        rig: the tables of the body.
        lift: (B, P, 3) the portrait's colours on the body in [-1, 1], filled everywhere.
        visibility: (B, P, 1) in [0, 1] of what the portrait showed.
        noisy: (B, P, 3) the present state of what is invented.
        level: (B,) noise levels s.
        strengths: factors on the output of the view and the mask experts; 0 = off.
        fit: (B,) places in FITS; None for all "registered".

        Returns (B, P, 3), not clamped."""
        candidates = partners(rig, torch.cat([lift, visibility * 2 - 1], -1))  # (B, P, 4, 4)
        shown = torch.lerp(noisy, lift, visibility)
        people, views = len(lift), rig.views
        static = self._static(rig)
        tokens = self.stem(rig.tokens(torch.cat([candidates.flatten(2), shown], -1)))
        tokens = tokens + self.place(rig.tokens(static))
        x = rig.laid_out(tokens)
        means = mean_colours(rig, lift, visibility)  # (B, 2, 3)
        scale = self.level(torch.cat([_waves(level), means.flatten(1)], 1))
        if self.fit is not None:
            scale = scale + (self.fit[-1:] if fit is None else self.fit[fit])
        scale = scale.repeat_interleave(views, 0)
        seen = self._seen(rig, visibility)
        chosen = ((self.view, strengths[0]), (self.mask, strengths[1]))
        experts = tuple((module, s) for module, s in chosen if module is not None and s > 0)
        size = x.shape[-2:]
        grids = [(size[0] >> k, size[1] >> k) for k in range(3)]
        regions = self._shares(rig, rig.region[None], 1).repeat(people, 1, 1, 1)
        with self.context.use(experts, rig.yaw.repeat(people), regions, grids):
            x = self._unet(x, scale, views, seen)
        flat = rig.from_tokens(self.out(torch.cat([rig.collected(x), tokens], -1)))
        copied = (rig.region @ self.copied) * (candidates[..., 3] / 2 + 0.5)
        weights = (flat[..., : _CANDIDATES + _MEANS] + self.first + F.pad(copied, (0, _MEANS))).softmax(-1)
        mixed = (weights[..., :_CANDIDATES, None] * candidates[..., :3]).sum(2)
        return mixed + weights[..., _CANDIDATES:] @ means.to(weights.dtype) + flat[..., _CANDIDATES + _MEANS :]

    @staticmethod
    def _shares(rig: Rig, values: Tensor, factor: int) -> Tensor:
        """Average pixels (B, P, C) over squares of `factor` tokens a side -> (B * V, C, h, w)."""
        squares = rig.tokens(values).unflatten(-1, (BLOCK**2, -1)).mean(-2)
        return F.avg_pool2d(rig.laid_out(squares), factor)

    def _seen(self, rig: Rig, visibility: Tensor) -> Seen:
        """Return what reference attention reads, from the visibility (B, P, 1) of the pixels."""
        shown = self._shares(rig, visibility, 4).unflatten(0, (-1, rig.views)).flatten(1)
        body = self._shares(rig, torch.ones_like(visibility[:1]), 4)
        place = (body.flatten() > 0).nonzero()[:, 0]
        return Seen(shown[:, place].clamp_min(1e-3).log()[:, None, None], place)

    def _unet(self, x: Tensor, scale: Tensor, views: int, seen: Seen) -> Tensor:
        kept = []
        for level, smaller in zip(self.down, self.smaller, strict=True):
            x = level(x, scale, views, None)
            kept.append(x)
            x = smaller(x)
        for level in self.middle:
            x = level(x, scale, views, seen)
        for level in self.up:
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = level(torch.cat([x, kept.pop()], 1), scale, views, None)
        return x

    @staticmethod
    def _static(rig: Rig) -> Tensor:
        """Return the features (P, _STATIC) of the rig's pixels that are the same for every person: place, normal,
        region."""
        place = (rig.position - rig.position.new_tensor([0.0, -0.02, 0.4])) * 2
        return torch.cat([rig.normal, place, rig.region, torch.ones_like(place[:, :1])], 1)


class Level(nn.Module):
    """Apply a residual block, attention along rows and to the visible tokens, and a feed-forward with experts.

    name: of the level, by which its experts are found; only those that begin with "middle" attend to visible tokens.
    inputs, width: channels before and after.
    attends: whether rows attend.
    context: the experts in use.
    config: sizes and parts of the network."""

    def __init__(
        self, name: str, inputs: int, width: int, attends: bool, context: ExpertContext, config: BakeConfig
    ):
        super().__init__()
        self.name, self.width, self.context, self.heads = name, width, context, config.heads
        self.norms = nn.ModuleList([nn.GroupNorm(8, inputs), nn.GroupNorm(8, width)])
        self.convs = nn.ModuleList([nn.Conv2d(inputs, width, 3, 1, 1), nn.Conv2d(width, width, 3, 1, 1)])
        self.skip = nn.Conv2d(inputs, width, 1) if inputs != width else nn.Identity()
        self.scale = nn.Linear(4 * config.widths[0], 2 * width)
        nn.init.zeros_(self.scale.weight)
        self.across = Attention(width) if attends and config.across_views else None
        self.reference = Attention(width) if name.startswith("middle") and config.reference else None
        self.feed_norm = nn.LayerNorm(width)
        self.feed = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, level: Tensor, views: int, seen: Seen | None) -> Tensor:
        """Map features x (B * V, C, h, w) -> features of the same shape.

        level: (B * V, D) embedding of the noise level.
        views: V.
        seen: what the portrait showed; None without reference attention."""
        gain, shift = self.scale(level)[:, :, None, None].chunk(2, 1)
        inner = self.convs[0](F.silu(self.norms[0](x)))
        inner = self.norms[1](inner) * (1 + gain) + shift
        x = self.skip(x) + self.convs[1](F.silu(inner))
        rows, columns = x.shape[-2:]
        tokens = x.flatten(2).transpose(1, 2)  # (B * V, h * w, C)
        if self.across is not None:
            lines = tokens.unflatten(1, (rows, columns)).unflatten(0, (-1, views)).transpose(1, 2)
            shape = lines.shape
            joined = self.across(lines.reshape(-1, views * columns, self.width), self.heads, None)
            tokens = tokens + joined.view(shape).transpose(1, 2).reshape(tokens.shape)
        if self.reference is not None and seen is not None:
            all_views = tokens.unflatten(0, (-1, views)).flatten(1, 2)
            found = self.reference(all_views.index_select(1, seen.place), self.heads, seen.bias)
            all_views = all_views.index_add(1, seen.place, found.to(all_views.dtype))
            tokens = all_views.reshape(tokens.shape)
        normed = self.feed_norm(tokens)
        fed, more = self.feed(normed), self.context.delta(self.name, normed)
        tokens = tokens + (fed if more is None else fed + more.to(fed.dtype))
        return tokens.transpose(1, 2).reshape(x.shape)


class Attention(nn.Module):
    """The self-attention over tokens (B, N, C); its output is zero at the start of training."""

    def __init__(self, width: int):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.inputs, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, tokens: Tensor, heads: int, bias: Tensor | None) -> Tensor:
        """Map tokens (B, N, C) -> (B, N, C); bias: (B, 1, 1, N), added to the logits of all queries."""
        q, k, v = (
            x.unflatten(2, (heads, -1)).transpose(1, 2) for x in self.inputs(self.norm(tokens)).chunk(3, -1)
        )
        # written out: few tokens at a time, and the fused kernel's gradient is five times as slow on a CPU
        logits = q * q.shape[-1] ** -0.5 @ k.transpose(2, 3)
        found = (logits if bias is None else logits + bias).softmax(-1).to(v.dtype) @ v
        return self.output(found.transpose(1, 2).flatten(2))


def partners(rig: Rig, values: Tensor) -> Tensor:
    """Map values (B, P, 4) of the rig's pixels -> those of each pixel and its partners (B, P, 4, 4).

    The partners: the pixel itself, the one behind it, the one on the other half, the one behind that. The fourth value,
    a visibility in [-1, 1], is -1 where there is no such pixel, whose colours are then the pixel's own."""
    found = [values]
    for index, there in (
        (rig.opposite, rig.opposite_there),
        (rig.mirror, rig.mirror_there),
        (rig.opposite[rig.mirror], rig.mirror_there * rig.opposite_there[rig.mirror]),
    ):
        missing = torch.cat([values[..., :3], -torch.ones_like(values[..., 3:])], -1)
        found.append(torch.where(there[:, None] > 0, values.index_select(1, index), missing))
    return torch.stack(found, 2)


def mean_colours(rig: Rig, lift: Tensor, visibility: Tensor) -> Tensor:
    """Return the mean colours (B, 2, 3) of the person's cloth and skin (`Rig.speakers`), weighted by visibility; the
    plain means where nothing is visible.

    rig: the tables of the body; lift: (B, P, 3) colours of its pixels; visibility: (B, P, 1) in [0, 1]."""
    weight = rig.speakers * (visibility + 1e-4)  # (B, P, 2)
    return (weight.transpose(1, 2) @ lift) / weight.sum(1)[..., None]


def _waves(level: Tensor) -> Tensor:
    """Map noise levels (B,) -> Fourier features (B, 16), their sines and cosines at rising frequencies."""
    angle = level[:, None] * math.pi * 2.0 ** torch.arange(8, device=level.device)
    return torch.cat([angle.sin(), angle.cos()], 1)
