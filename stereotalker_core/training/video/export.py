"""Write the averaged weights of a running `training.renderer --stage image` as files, without disturbing it.

    python -m stereotalker_core.training.video.export --run runs/image --out folder
"""

import argparse
import logging
from pathlib import Path

import torch

from ...video.networks.reference import ReferenceNet
from ...video.networks.unet import StereoTalkerUNet
from ..stage2_command import provenance
from .renderer import Denoiser, is_motion, save_denoiser

logger = logging.getLogger(__name__)


def averaged(run: str | Path) -> tuple[Denoiser, int]:
    """The denoiser with the EMA weights of run/state.pt, and the step they are from."""
    state = torch.load(Path(run) / "state.pt", map_location="cpu", weights_only=True)
    unet = StereoTalkerUNet()
    model = Denoiser(unet, ReferenceNet(unet.config.reference()))
    model.load_state_dict(state["model"])
    learned = [p for name, p in model.named_parameters() if not is_motion(name)]
    with torch.no_grad():
        for parameter, smooth in zip(learned, state["average"], strict=True):
            parameter.copy_(smooth)
    return model, state["step"]


def main(arguments: list[str] | None = None) -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--run", required=True)
    parser.add_argument("--out", required=True)
    options = parser.parse_args(arguments)
    model, step = averaged(options.run)
    save_denoiser(model, options.out, **provenance(0, step=step))


if __name__ == "__main__":
    main()
