"""The layout of the guide tensor, defined only here: which maps it holds, in which channels, at which scale.

Another map is another row of `MAPS`: networks ask the layout for their number of channels, and decoders, losses and
filters read maps by name. The compiled loop packs the original three maps; with others tensor operations do."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch.nn.functional as F
from torch import Tensor

from ...records import Guides

GUIDE_BLOCK = 4  # the tensor lies at a quarter of the resolution; a pixel of it holds a block of 4 x 4


@dataclass(frozen=True)
class GuideMap:
    """The definition of one map: its name; channels per pixel; read(guides of T frames) -> (T, channels, H, W), about
    -1..1."""

    name: str
    channels: int
    read: Callable[[Guides], Tensor]


MAPS = (
    GuideMap("lift", 3, lambda guides: guides.lift),
    GuideMap("normal", 3, lambda guides: guides.normal),
    GuideMap("visibility", 1, lambda guides: guides.visibility * 2 - 1),
)


@dataclass(frozen=True)
class GuideLayout:
    """The channels of the guide tensor (T, G, H/4, W/4): the 4 x 4 blocks of every map, then the fractions of the
    labels.

    parts: number of the body's parts; labels are 0 = outside and 1 + part index. maps: rows of `MAPS`."""

    parts: int = 18
    maps: tuple[GuideMap, ...] = field(default_factory=lambda: MAPS)

    @classmethod
    def of_channels(cls, channels: int) -> "GuideLayout":
        """Return the layout of a network with `channels` input channels. ValueError where the maps alone need more."""
        parts = channels - cls(0).channels
        if parts < 0:
            raise ValueError(f"{channels} guide channels; the maps alone take {cls(0).channels}")
        return cls(parts)

    @property
    def labels(self) -> slice:
        """Return the channels of the labels' fractions: outside, then every part."""
        start = GUIDE_BLOCK**2 * sum(found.channels for found in self.maps)
        return slice(start, start + 1 + self.parts)

    @property
    def channels(self) -> int:
        """Return the number of all channels: 131 with the maps of the shipped networks and 18 parts."""
        return self.labels.stop

    def channels_of(self, name: str) -> slice:
        """Return the channels of the map `name`. KeyError for an unknown one."""
        start = 0
        for found in self.maps:
            stop = start + GUIDE_BLOCK**2 * found.channels
            if found.name == name:
                return slice(start, stop)
            start = stop
        raise KeyError(f"no guide map {name!r}; there are {', '.join(found.name for found in self.maps)}")

    def map_of(self, guide: Tensor, name: str) -> Tensor:
        """Extract a map (T, channels, H, W) from a guide tensor (T, G, H/4, W/4)."""
        return F.pixel_shuffle(guide[:, self.channels_of(name)], GUIDE_BLOCK)

    def pack(self, guides: Guides) -> Tensor:
        """Pack guides of T frames into the guide tensor (T, G, H/4, W/4) by tensor operations, on any device.

        It is channels-last in memory, as the networks read it."""
        frames, _, rows, columns = guides.part.shape
        high, wide, side = rows // GUIDE_BLOCK, columns // GUIDE_BLOCK, GUIDE_BLOCK
        packed = guides.lift.new_empty(frames, high, wide, self.channels)
        for found in self.maps:
            blocks = found.read(guides).reshape(frames, found.channels, high, side, wide, side)
            place = packed[..., self.channels_of(found.name)].unflatten(3, (found.channels, side, side))
            place.copy_(blocks.permute(0, 2, 4, 1, 3, 5))
        labels = guides.part.reshape(frames, high, side, wide, side).permute(0, 1, 3, 2, 4).flatten(3).long()
        share = packed.new_full((), 1 / GUIDE_BLOCK**2).expand(labels.shape)
        packed[..., self.labels].zero_().scatter_add_(3, labels, share)
        return packed.permute(0, 3, 1, 2)
