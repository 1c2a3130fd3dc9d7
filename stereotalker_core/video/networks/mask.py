"""Mask predictor: guides -> soft regions. It adds the hair and clothes that the fitted body does not have.

A small U-Net at a quarter of the resolution whose head predicts, through a pixel shuffle, a correction of the guide's
own silhouette at full resolution. Stereo-Talker needs it because the human mask of the target frame, which gates the
mask experts and composites the video, is unknown at inference."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...body.regions import FACE_PARTS, HAND_PARTS
from ...records import Guides, Regions
from ...shapes import REGIONS, dims, frames_together, joined
from ..guides.layout import GUIDE_BLOCK, GuideLayout
from ..guides.loops import loops, person, silhouette
from ..guides.maps import guide_tensor


@dataclass(frozen=True)
class MaskConfig:
    """The sizes of the predictor.

    part_regions: the region index of every guide label (0 = outside, 1 + part index); widths: channels of the levels;
    prior: logit that is added to the region which the fitted body shows at a pixel; groups: number of groups of the
    normalisation."""

    part_regions: tuple[int, ...] = ()
    widths: tuple[int, ...] = (48, 64, 96)
    prior: float = 4.0
    groups: int = 8


def _conv(inputs: int, outputs: int, groups: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1), nn.GroupNorm(groups, outputs), nn.SiLU()
    )


class MaskPredictor(nn.Module):
    """The network that predicts from guides how far each pixel is background, body, face and hands; see `predict`."""

    Config = MaskConfig
    part_regions: Tensor

    def __init__(self, config: MaskConfig) -> None:
        super().__init__()
        if not config.part_regions or max(config.part_regions) >= len(REGIONS):
            raise ValueError(f"part_regions must give a region 0..{len(REGIONS) - 1} to every guide label")
        self.config, (a, b, c), g = config, config.widths, config.groups
        regions, patch = len(REGIONS), GUIDE_BLOCK**2
        channels = GuideLayout(len(config.part_regions) - 1).channels + regions * patch
        self.register_buffer("part_regions", torch.tensor(config.part_regions), persistent=False)
        self.stem = nn.Conv2d(channels, a, 1)
        self.down = nn.ModuleList([_conv(a, a, g), _conv(a, b, g, 2), _conv(b, c, g, 2)])
        self.middle = nn.Sequential(_conv(c, c, g), _conv(c, c, g))
        self.up = nn.ModuleList([_conv(c + b, b, g), _conv(b + a, a, g)])
        self.head = nn.Conv2d(a, regions * patch, 3, padding=1)
        for values in self.head.parameters():
            nn.init.zeros_(values)

    @classmethod
    def for_parts(cls, part_names: list[str], **settings: Any) -> "MaskPredictor":
        """Return a new predictor for a body asset's list of parts; settings: other fields of MaskConfig."""
        index = {name: i for i, name in enumerate(REGIONS)}
        named = {**dict.fromkeys(FACE_PARTS, index["face"]), **dict.fromkeys(HAND_PARTS, index["hands"])}
        return cls(MaskConfig((0, *(named.get(name, index["body"]) for name in part_names)), **settings))

    def silhouette(self, part: Tensor) -> Tensor:
        """Map guide labels (T, 1, H, W) -> one-hot regions (T, 4, H, W) of the fitted body."""
        region = self.part_regions[part.long()]
        return (region == torch.arange(len(REGIONS), device=part.device).view(1, -1, 1, 1)).float()

    def _blocked_silhouette(self, part: Tensor) -> Tensor:
        """Return `unshuffled(silhouette(part))` (T, 64, H/4, W/4), without making the silhouette as pictures."""
        region = self.part_regions[unshuffled(part).permute(0, 2, 3, 1).long()]
        named = region[..., None, :] == torch.arange(len(REGIONS), device=part.device)[:, None]
        return named.flatten(3).float().permute(0, 3, 1, 2)

    def forward(self, guide: Tensor, silhouette: Tensor) -> Tensor:
        """Map guide tensor (T, G, H/4, W/4) and body regions (T, 4, H, W) -> logits (T, 4, H, W)."""
        dims(silhouette, "T P H W", P=len(REGIONS), T=len(guide))
        return F.pixel_shuffle(self._blocks(guide, unshuffled(silhouette)), GUIDE_BLOCK)

    def _blocks(self, guide: Tensor, silhouette: Tensor) -> Tensor:
        """Map guide tensor and body regions in blocks (T, 64, H/4, W/4) -> logits in blocks (T, 64, H/4, W/4)."""
        return self._features(guide, silhouette).float() + self.config.prior * silhouette

    def _features(self, guide: Tensor, silhouette: Tensor) -> Tensor:
        """Do what `_blocks` does, without the prior on the fitted body's regions."""
        x = self._stem(guide, silhouette)
        skips = []
        for layer in self.down:
            x = layer(x)
            skips.append(x)
        x = self.middle(x)
        for layer, skip in zip(self.up, reversed(skips[:-1]), strict=True):
            x = layer(torch.cat([F.interpolate(x, size=skip.shape[-2:]), skip], 1))
        return self.head(x)

    def _stem(self, guide: Tensor, silhouette: Tensor) -> Tensor:
        """Return `stem` of guide and silhouette beside each other, without laying them so: the sum of two products."""
        if torch.is_grad_enabled() or self.training:
            return self.stem(torch.cat([guide, silhouette], 1))
        first, second = self.stem.weight.split([guide.shape[1], silhouette.shape[1]], 1)
        return F.conv2d(guide, first, self.stem.bias) + F.conv2d(silhouette.to(guide.dtype), second)

    @torch.no_grad()
    def predict(self, guides: Guides, guide: Tensor | None = None) -> Regions:
        """Return the soft regions at the guides' size; guide: `guide_tensor(guides)`, if already computed."""
        together, found = frames_together(*guides.part.shape[-2:]), []
        for start in range(0, len(guides), together):
            few = slice(start, start + together)
            seen = guide_tensor(guides[few], len(self.config.part_regions) - 1) if guide is None else guide[few]
            found.append(_shares(self._blocks(seen, self._blocked_silhouette(guides.part[few]))))
        return Regions(joined(found))


    @torch.no_grad()
    def person(self, guides: Guides, guide: Tensor) -> Tensor:
        """Return the person's alpha (T, 1, H, W), as `predict` does; guide: `guide_tensor(guides)`.

        With the compiled loops (`guides.loops`), silhouette and probabilities are not made as pictures."""
        if not loops(guides.part.device):
            return self.predict(guides, guide).person
        together, found, regions = frames_together(*guides.part.shape[-2:]), [], len(REGIONS)
        for start in range(0, len(guides), together):
            few = slice(start, start + together)
            part = guides.part[few]
            logits = self._features(guide[few], silhouette(part, self.part_regions, regions))
            found.append(person(logits, part, self.part_regions, regions, self.config.prior))
        return joined(found)


def unshuffled(x: Tensor) -> Tensor:
    """Apply `pixel_unshuffle` by a guide's block, (T, C, H, W) -> (T, 16 C, H/4, W/4), in channels-last memory.

    That is the layout of guide tensors; with mixed layouts, concatenating and adding cost more than the convolutions.
    """
    frames, channels, rows, columns = x.shape
    block = x.view(frames, channels, rows // GUIDE_BLOCK, GUIDE_BLOCK, columns // GUIDE_BLOCK, GUIDE_BLOCK)
    return block.permute(0, 2, 4, 1, 3, 5).flatten(3).permute(0, 3, 1, 2)


def _shares(logits: Tensor) -> Tensor:
    """Map logits in blocks (T, 64, h, w), 16 px each, -> probabilities (T, 4, 4h, 4w) that sum to one over the regions
    of every pixel."""
    regions, side = len(REGIONS), GUIDE_BLOCK
    shares = logits.permute(0, 2, 3, 1).unflatten(3, (regions, side * side)).softmax(3)
    frames, rows, columns = shares.shape[:3]
    block = shares.view(frames, rows, columns, regions, side, side).permute(0, 3, 1, 4, 2, 5)
    return block.reshape(frames, regions, side * rows, side * columns)
