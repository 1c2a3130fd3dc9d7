"""Write the averaged weights of a running `train renderer --stage image` as files, without disturbing it.

python -m stereotalker_core train export --run runs/image --out folder
"""

import argparse
from pathlib import Path

import torch

from ...video.networks.reference import ReferenceNet
from ...video.networks.unet import StereoTalkerUNet
from ..provenance import made
from .stage_two import StageTwo, is_motion, save_stage_two


def averaged(run: str | Path) -> tuple[StageTwo, int]:
    """Read run/state.pt -> the denoiser with its averaged (EMA) weights, and its step."""
    state = torch.load(Path(run) / "state.pt", map_location="cpu", weights_only=True)
    unet = StereoTalkerUNet()
    model = StageTwo(unet, ReferenceNet(unet.config.reference()))
    model.load_state_dict(state["model"])
    learned = [p for name, p in model.named_parameters() if not is_motion(name)]
    with torch.no_grad():
        for parameter, smooth in zip(learned, state["average"], strict=True):
            parameter.copy_(smooth)
    return model, state["step"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `train export`."""
    parser.add_argument("--run", required=True, help="folder of the running training")
    parser.add_argument("--out", required=True, help="folder of unet.safetensors and reference.safetensors")


def run(options: argparse.Namespace) -> None:
    """Write the two files from the current state of the run."""
    model, step = averaged(options.run)
    save_stage_two(model, options.out, **made(options, step=step))
