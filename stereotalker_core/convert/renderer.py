"""Public weights of the renderer as our classes: Stable Diffusion 1.5, AnimateDiff and AnimateAnyone, keys unchanged.

Every loader returns a `Report`, and raises ValueError for a file with an unexplained key before it builds a model."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from ..video.networks.reference import ReferenceConfig, ReferenceNet
from ..video.networks.unet import SD15, StereoTalkerUNet, UNetConfig
from .assemble import fill, load_model, skeleton
from .names import LDM_TEXT, LDM_UNET, LDM_VAE, motion_from_animatediff, renamed, unet_from_ldm
from .report import Report, compare
from .weights import PICKLED, common_dtype, is_ours, read_weights

State = dict[str, Tensor]
HEADS = 8  # of every spatial and temporal attention in this family; the weights do not tell
V1_POSITIONS = 24  # AnimateDiff v1 counts this many frames, all others 32
NO_MOTION = "motion modules, none were given: they do nothing until trained"
NO_POSE = "pose guider, none was given: it does nothing until trained"
_FILES = ("denoising_unet", "reference_unet", "pose_guider", "motion_module")


def load_denoiser(
    path: str | Path,
    motion: str | Path | None = None,
    pose: str | Path | None = None,
    *,
    prediction: str = "v",
    guides: str = "openpose",
    dtype: torch.dtype | None = None,
) -> tuple[StereoTalkerUNet, Report]:
    """Load the denoiser from a Stable Diffusion 1.5 file or folder, denoising_unet.pth, or a file of our own format.

    path: the file or folder of the weights.
    motion: AnimateDiff v1 / v2 / v3 or AnimateAnyone motion modules; without it new ones, which change nothing.
    pose: a pose guider; without it a new one, which changes nothing.
    prediction: "v" (AnimateAnyone) or "epsilon" (AnimateDiff, plain Stable Diffusion).
    guides: what the pose guider reads, "openpose" (skeleton drawings) or "maps" (of the posed body).
    dtype: type of the weights; None keeps the file's."""
    if is_ours(path):
        model = load_model(StereoTalkerUNet, path, dtype=dtype)
        return model, Report("StereoTalkerUNet", str(path), loaded=len(model.state_dict()))
    given, ignored = unet_weights(path)
    if motion is not None:
        given |= motion_weights(motion)
    if pose is not None:
        given |= renamed(read_weights(pose), lambda key: f"pose.{key}")
    base = replace(SD15, prediction=prediction, guides=guides)
    config = unet_config(given, base, str(path))
    given = renamed(given, lambda key: key if key.startswith("pose.") else f"unet.{key}")
    model = skeleton(StereoTalkerUNet, config)

    def fresh(key: str) -> str | None:
        if motion is None and ".motion_modules." in key and not any(".motion_modules." in k for k in given):
            return NO_MOTION
        return NO_POSE if pose is None and key.startswith("pose.") else None

    source = " + ".join(str(p) for p in (path, motion, pose) if p is not None)
    state, report = compare("denoiser", source, given, model.state_dict(), fresh=fresh)
    report.ignored |= ignored
    report.refuse()
    return fill(model, state, dtype or common_dtype(state)), report


def load_reference(path: str | Path, *, dtype: torch.dtype | None = None) -> tuple[ReferenceNet, Report]:
    """Load the reference network -> the network, and the report of its keys.

    path: reference_unet.pth, a Stable Diffusion 1.5 file or folder, or a file of our own format; dtype: of the weights,
        None keeps the file's."""
    if is_ours(path):
        model = load_model(ReferenceNet, path, dtype=dtype)
        return model, Report("ReferenceNet", str(path), loaded=len(model.state_dict()))
    given, ignored = unet_weights(path)
    c = unet_config(given, SD15, str(path))
    config = ReferenceConfig(c.latent_channels, c.widths, c.layers, c.heads, c.attention, c.groups, c.cross_dim)
    model = skeleton(ReferenceNet, config)

    def ignore(key: str) -> str | None:
        return (
            "output head, which no attention reads" if key.startswith(("unet.conv_norm_out", "unet.conv_out")) else None
        )

    given = renamed(given, lambda key: f"unet.{key}")
    state, report = compare("reference network", str(path), given, model.state_dict(), ignore=ignore)
    report.ignored |= ignored
    report.refuse()
    return fill(model, state, dtype or common_dtype(state)), report


def load_animate_anyone(
    folder: str | Path, *, dtype: torch.dtype | None = None
) -> tuple[StereoTalkerUNet, ReferenceNet, list[Report]]:
    """Load the four files of an AnimateAnyone set from one folder, as .pth or .safetensors."""
    unet, reference, pose, motion = animate_anyone_files(folder)
    denoiser, first = load_denoiser(unet, motion, pose, dtype=dtype)
    network, second = load_reference(reference, dtype=dtype)
    if denoiser.config.reference() != network.config:
        raise ValueError(f"{reference} and {unet} are of different sizes; take both from one set")
    return denoiser, network, [first, second]


def animate_anyone_files(folder: str | Path) -> list[Path]:
    """Find denoising_unet, reference_unet, pose_guider, motion_module in a folder; FileNotFoundError names a missing
    one."""
    folder, found = Path(folder), []
    for stem in _FILES:
        paths = [folder / f"{stem}{suffix}" for suffix in (".safetensors", *PICKLED)]
        path = next((p for p in paths if p.is_file()), None)
        if path is None:
            raise FileNotFoundError(f"no {stem}.pth or .safetensors in {folder}; a set is {', '.join(_FILES)}")
        found.append(path)
    return found


def unet_weights(path: str | Path) -> tuple[State, dict[str, list[str]]]:
    """Read a U-Net -> ({diffusers' name: tensor}, {reason: [keys that were left out]})."""
    path = Path(path)
    inner = path / "unet"
    given = read_weights(inner if inner.is_dir() else path)
    ignored: dict[str, list[str]] = {}
    if any(key.startswith(LDM_UNET) for key in given):
        for key in given:
            why = outside_unet(key)
            if why:
                ignored.setdefault(why, []).append(key)
        given = {k.removeprefix(LDM_UNET): v for k, v in given.items() if outside_unet(k) is None}
    if any(key.startswith("input_blocks.") for key in given):
        given = unet_from_ldm(given)
    return given, ignored


def outside_unet(key: str) -> str | None:
    """Return what a key outside the U-Net of a single-file checkpoint belongs to; None for a key of the U-Net."""
    if key.startswith(LDM_VAE):
        return "autoencoder, loaded on its own"
    if key.startswith(LDM_TEXT):
        return "text encoder, not used"
    if key.startswith(("model_ema.", "embedding_manager.")):
        return "averaged or auxiliary copy"
    schedule = ("betas", "alphas_", "sqrt_", "log_one_minus_", "posterior_", "logvar", "scale_factor")
    return "noise schedule, computed" if key.startswith(schedule) and "." not in key else None


def motion_weights(path: str | Path) -> State:
    """Return {diffusers' name: tensor}, the motion modules of a file; its other tensors are left out."""
    tensors = motion_from_animatediff(read_weights(path))
    if not any("motion_modules." in key for key in tensors):
        raise ValueError(f"{path} holds no motion modules; give an AnimateDiff or AnimateAnyone motion file")
    return tensors


def unet_config(given: State, base: UNetConfig, source: str) -> UNetConfig:
    """Derive a denoiser's config from the shapes of its weights.

    given: {diffusers' name: tensor}; base: supplies what shapes do not determine; source: named by the ValueError for
    weights that are no U-Net."""
    wanted = ("conv_in.weight", "down_blocks.0.resnets.0.conv1.weight", "time_embedding.linear_1.weight")
    absent = [key for key in wanted if key not in given]
    if absent:
        raise ValueError(
            f"{source} holds no Stable Diffusion U-Net: it lacks {absent[0]}, has {next(iter(given), '-')}"
        )
    levels = _count(given, "down_blocks.{}.resnets.0.conv1.weight")
    widths = tuple(given[f"down_blocks.{i}.resnets.0.conv1.weight"].shape[0] for i in range(levels))
    cross = next((v for k, v in given.items() if k.endswith("attn2.to_k.weight") and "motion" not in k), None)
    places = next((v for k, v in given.items() if k.endswith("pos_embed.pe")), None)
    config = replace(
        base,
        latent_channels=given["conv_in.weight"].shape[1],
        widths=widths,
        layers=_count(given, "down_blocks.0.resnets.{}.conv1.weight"),
        heads=(HEADS,) * levels,
        attention=tuple(f"down_blocks.{i}.attentions.0.norm.weight" in given for i in range(levels)),
        cross_dim=base.cross_dim if cross is None else cross.shape[1],
        motion_heads=(HEADS,) * levels,
    )
    if places is not None:
        mid = any(key.startswith("mid_block.motion_modules.") for key in given)
        length = places.shape[1]
        config = replace(config, motion_length=length, motion_mid=mid, clip_norm=length == V1_POSITIONS and not mid)
    first = given.get("pose.conv_in.weight")
    if first is not None:
        steps = [given[f"pose.blocks.{i}.weight"] for i in range(_count(given, "pose.blocks.{}.weight"))]
        config = replace(
            config,
            guide_channels=first.shape[1],
            guide_kernel=first.shape[2],
            guide_widths=(first.shape[0], *(w.shape[0] for w in steps[1::2])),
        )
    return config


def _count(given: State, pattern: str) -> int:
    n = 0
    while pattern.format(n) in given:
        n += 1
    return n
