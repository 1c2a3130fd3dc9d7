"""The model of the stage-2 trainings: the denoiser with its reference network and experts, and the choice of parts."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from ... import checkpoint
from ...motion.networks.lora import LoraLinear
from ...video.networks.experts import Experts
from ...video.networks.reference import ReferenceNet
from ...video.networks.unet import Condition, StereoTalkerUNet
from ..loop import Batch

PARTS = ("unet", "reference", "pose", "tokens", "motion", "experts", "lora")
_ATTENTION = re.compile(r"attn[12]\.(to_q|to_k|to_v|to_out\.0)$")


class StageTwo(nn.Module):
    """The U-Net with reference network and experts: everything that a stage-2 training may change.

    attends: False omits reference attention, for an ablation; the reference network is then not run."""

    def __init__(
        self, unet: StereoTalkerUNet, reference: ReferenceNet, experts: Sequence[Experts] = (), attends: bool = True
    ) -> None:
        super().__init__()
        self.unet, self.reference, self.attends = unet, reference, attends
        self.experts = nn.ModuleList(experts)

    def forward(
        self,
        batch: Batch,
        x: Tensor,
        sigma: Tensor,
        clip_length: int | None = None,
        strengths: Sequence[float | None] | None = None,
        drop: bool = False,
    ) -> Tensor:
        """Map noisy latents x (N, C, h, w) at levels sigma (clips,) -> clean latents (N, C, h, w).

        batch: "guide" and "lift" (N, ...), "portrait" latents (I, C, h, w), "yaw" (N,), "regions", and "tokens" where
            the U-Net makes none of its own; see `Condition`.
        clip_length: frames of a clip, None = independent images.
        strengths: one factor per expert module on its output, None for a module that is skipped; None instead of the
            list: 1 for all.
        drop: leave the portrait out. Its network still runs, with weight 0, because sharded processes must run the same
            modules."""
        portrait = batch["portrait"]
        tokens = batch["tokens"] if "tokens" in batch else self.unet.portrait_tokens(portrait)
        cache = self.unet.cache_reference(self.reference(portrait, tokens)) if self.attends else {}
        unused = sum((k.sum() + v.sum()) * 0 for k, v in cache.values()) if drop else 0.0
        given = [1.0] * len(self.experts) if strengths is None else strengths
        pairs = zip(cast("Sequence[Experts]", self.experts), given, strict=True)
        cond = Condition(
            guide=batch["guide"],
            tokens=tokens * 0 if drop else tokens,
            yaw=batch["yaw"],
            lift=batch["lift"],
            reference={} if drop else cache,
            regions=batch["regions"],
            experts=tuple((cast(Experts, module), strength) for module, strength in pairs if strength is not None),
            clip_length=clip_length,
        )
        return self.unet(x, sigma, cond) + unused


def is_motion(name: str) -> bool:
    """Tell whether a parameter of a StageTwo belongs to the motion modules."""
    return "motion_modules" in name


def part_of(name: str) -> str:
    """Return the part of a StageTwo that a parameter belongs to, one of PARTS."""
    if ".lora_" in name:
        return "lora"
    if is_motion(name):
        return "motion"
    for prefix, part in (("unet.pose.", "pose"), ("unet.project.", "tokens"), ("unet.", "unet")):
        if name.startswith(prefix):
            return part
    return name.partition(".")[0]


def learns(parts: Sequence[str], frozen: Sequence[str] = ()) -> Callable[[str], bool]:
    """Return a function that tells by a parameter's name whether it is trained.

    parts: names of PARTS that are trained; frozen: texts; a parameter whose name contains one of them is not trained.
        ValueError for an unknown part."""
    if unknown := [p for p in parts if p not in PARTS]:
        raise ValueError(f"part {unknown[0]!r} is unknown; use {', '.join(PARTS)}")
    return lambda name: part_of(name) in parts and not any(f in name for f in frozen)


def add_attention_lora(unet: StereoTalkerUNet, rank: int) -> int:
    """Add LoRA adapters (alpha = rank) to the spatial attentions of the U-Net, in place -> number of layers."""
    names = [n for n, _ in unet.named_modules() if _ATTENTION.search(n) and "motion_modules" not in n]
    for name in names:
        parent, _, leaf = name.rpartition(".")
        owner = unet.get_submodule(parent)
        setattr(owner, leaf, LoraLinear(owner.get_submodule(leaf), rank, 1.0))
    return len(names)


def load_stage_two(folder: str | Path) -> StageTwo:
    """Read unet.safetensors and reference.safetensors of a folder, without experts."""
    folder = Path(folder)
    unet = checkpoint.load(StereoTalkerUNet, folder / "unet.safetensors")
    return StageTwo(unet, checkpoint.load(ReferenceNet, folder / "reference.safetensors"))


def save_stage_two(model: StageTwo, folder: str | Path, **info: Any) -> None:
    """Write unet.safetensors and reference.safetensors; experts have files of their own."""
    checkpoint.save(model.unet, Path(folder) / "unet.safetensors", **info)
    checkpoint.save(model.reference, Path(folder) / "reference.safetensors", **info)
