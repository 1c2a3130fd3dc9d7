"""Experts for a renderer trained without any: they start as the identity and are stored in small files of their own."""

from pathlib import Path

from .. import checkpoint
from ..video.networks.experts import Experts, MaskExperts, ViewExperts
from ..video.networks.merge import merge_view_experts
from ..video.networks.unet import StereoTalkerUNet
from .assemble import save_model
from .renderer import load_denoiser

RANK = 32  # of the full profile: 6 views + 4 regions add 8 M parameters to 1.3 G
KINDS = {"view_experts": ViewExperts, "mask_experts": MaskExperts}


def new_experts(unet: StereoTalkerUNet, rank: int = RANK) -> tuple[ViewExperts, MaskExperts]:
    """Make view and mask experts for every spatial feed-forward of a renderer; untrained, they change nothing
    (bitwise).

    unet: the renderer's denoiser; rank: hidden units of each expert."""
    if rank < 1:
        raise ValueError(f"the rank of experts is at least 1, got {rank}")
    return ViewExperts.for_unet(unet, rank), MaskExperts.for_unet(unet, rank)


def save_experts(unet_path: str | Path, folder: str | Path, rank: int = RANK) -> list[Path]:
    """Write new experts for a renderer in fp16 -> the files view_experts.safetensors and mask_experts.safetensors.

    unet_path: its denoiser, file or folder; folder: where they are written; rank: hidden units of each expert.

    ValueError where the folder holds such files: they may be trained ones."""
    files = [Path(folder) / f"{name}.safetensors" for name in KINDS]
    for path in files:
        if path.exists():
            raise ValueError(f"{path} exists, and new experts would replace what it has learnt; choose another folder")
    unet, _ = load_denoiser(unet_path)
    for path, experts in zip(files, new_experts(unet, rank), strict=True):
        checkpoint.save(experts, path, note="untrained: equal to no experts")
    return files


def fits(unet: StereoTalkerUNet, experts: Experts, source: str = "these experts") -> None:
    """Raise ValueError where experts were made for another renderer; source: what the message names."""
    if not experts.fit(unet):
        raise ValueError(
            f"{source} were made for another renderer: their layers or widths differ; make new ones for this one with "
            "`python -m stereotalker_core convert experts` and train them"
        )


def save_merged(
    unet_path: str | Path, experts_path: str | Path, out: str | Path, yaw: float, strength: float = 1.0
) -> None:
    """Save a denoiser with its view experts merged for one camera yaw (degrees), as one file of our format.

    unet_path, experts_path: the files to merge; out: the file to write; strength: factor on the experts' output."""
    unet, _ = load_denoiser(unet_path)
    experts = checkpoint.load(ViewExperts, experts_path)
    fits(unet, experts)
    save_model(merge_view_experts(unet, experts, yaw, strength), out, merged_yaw=yaw, merged_strength=strength)
