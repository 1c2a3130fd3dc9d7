"""The validation split as a user would get it: the same people, frames and cameras, guides from an estimated fit.

    python -m stereotalker_core.evaluation.video.estimated_fit --out data/avatars

reads the configuration of <out>/val and writes <out>/val_est in the same format. The fit gets the portrait, its
keypoints with 2 px of noise and a slightly blurred mask; it is not told shape, shell, pose, camera or focal length. A
single picture does not determine the absolute size and place of a person. Only these two are therefore taken from the
truth, by moving the cameras (`aligned_cameras`), so that pictures can be compared pixel by pixel."""

import argparse
import json
import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ...body.model import HalfBody
from ...body.texture.texels import Lifter
from ...records import Guides
from ...synthetic.data.dataset import CLIP, ClipMaker, DatasetConfig, Shard, _write_identity, baselines, true_frames
from ...synthetic.data.estimate import aligned_cameras, estimated_identity
from ...synthetic.people.portrait import as_photographed
from ...synthetic.people.render import AvatarFrames
from ...synthetic.people.template import Template
from ...video.guides.maps import render_guides

logger = logging.getLogger(__name__)


class EstimatedClips(ClipMaker):
    """The `ClipMaker` of the validation split whose guides come from a fit like a user's instead of the true one."""

    def __init__(self, body: HalfBody, seed: int, config: DatasetConfig, template: Template, lifter: Lifter):
        super().__init__(body, seed, config, template, lifter)
        self.estimate = estimated_identity(body, self.portrait, seed, lifter)
        self.plain = as_photographed(body, self.estimate, lifter, trust_hands=False)  # no finger was located

    def clip(self, clip: int) -> tuple[AvatarFrames, Guides, bool, dict[str, Tensor]]:
        cameras, motion = self.cameras(clip), self.motion()
        frames = true_frames(self, motion, cameras)
        seen = aligned_cameras(self.body, self.identity, self.estimate, cameras)
        guides = render_guides(self.body, self.estimate, motion, seen)
        return frames, guides, True, baselines(self.body, self.plain, motion, seen)


def lift_psnr(rgb: Tensor, lift: Tensor, weight: Tensor) -> Tensor:
    """Return the PSNR (T,) in dB between true frames `rgb` and the projected portrait `lift`, (T, 3, H, W) in [-1, 1]
    each.

    weight: (T, 1, H, W) of the pixels."""
    error = ((rgb - lift).square() * weight).sum((1, 2, 3)) / (3 * weight.sum((1, 2, 3)).clamp_min(1))
    return -10 * torch.log10(error / 4 + 1e-10)


@torch.inference_mode()
def generate(out: str | Path) -> list[Path]:
    """Write the split <out>/val_est beside <out>/val, with the same configuration -> its folders."""
    out, folders = Path(out), []
    shards = sorted(p for p in (out / "val").iterdir() if (p / "config.json").is_file())
    if not shards:
        raise ValueError(f"{out / 'val'} holds no shards; make the validation split first")
    body = HalfBody()
    template, lifter = Template(body), Lifter(body)
    for source in shards:
        config = DatasetConfig(**json.loads((source / "config.json").read_text(encoding="utf-8")))
        seeds = config.seeds(int(source.name))
        shard = Shard(out / "val_est" / source.name, len(seeds), config)
        for place, seed in enumerate(seeds):
            if not shard.is_complete(place):
                _write_identity(shard, place, EstimatedClips(body, seed, config, template, lifter))
            logger.info("%s: identity %d of %d (%d frames)", source.name, place + 1, len(seeds), config.clips * CLIP)
        shard.finish()
        folders.append(shard.folder)
    return folders


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line of this module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--out", default="data/avatars", help="the folder that holds the split val")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    generate(options.out)


if __name__ == "__main__":
    main()
