"""A stage of a preset and its files -> a training task: model, batches, loss, what is trained, how it is saved."""

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ... import checkpoint
from ...audio.encoder import SpeechEncoder
from ...body.model import HalfBody
from ...motion.lips import lip_gap_weights
from ...motion.networks.denoiser import MotionDenoiser
from ...motion.networks.prior import LanguagePrior
from ...motion.representation import MotionCodec
from ...video.networks.experts import Experts, MaskExperts, ViewExperts
from ...video.networks.image_encoder import ImageEncoder
from ...video.networks.mask import MaskPredictor
from ...video.networks.public_autoencoder import PublicAutoencoder
from ...video.networks.reference import ReferenceNet
from ...video.networks.unet import StereoTalkerUNet
from ...video.networks.vae import TinyAutoencoder
from ..distributed import Loss
from ..loop import Batch, generator
from ..motion import denoiser as motion
from ..motion.hearing import hearing_loss
from ..motion.motion_data import MotionData
from ..video import mask
from ..video.denoising import DenoisingLoss, LossOptions, PictureBatches
from ..video.stage_two import StageTwo, add_attention_lora, learns
from .presets import Stage
from .rows import ClipRows

logger = logging.getLogger(__name__)
_KINDS = {"view": ViewExperts, "mask": MaskExperts}
_ALIGNED = ("projector", "lora_", "gate")  # parts of the language prior that learn to hear
_CROP = 64  # frames of the prior's sequences


@dataclass(frozen=True)
class Files:
    """The weights a stage starts from; None: for nano networks those that ship with the package, for sd15 an error.

    base: folder with unet and reference; fresh: new nano networks instead.
    vae: TinyAutoencoder or PublicAutoencoder file; image_encoder: ImageEncoder file (`convert` writes them all).
    experts: folder of expert files; encoder, prior: files of speech encoder and language prior."""

    base: Path | None = None
    vae: Path | None = None
    image_encoder: Path | None = None
    experts: Path | None = None
    encoder: Path | None = None
    prior: Path | None = None
    fresh: bool = False


@dataclass(frozen=True)
class Task:
    """The parts of one training, as `fit_distributed` takes them.

    model: the network; batch: index -> {name: tensor}; loss: (model, batch) -> (loss (), {term: number}); trainable:
    whether a parameter of this name is trained; save: (trained model, folder or file, provenance) -> written files."""

    model: nn.Module
    batch: Callable[[int], Batch]
    loss: Loss
    trainable: Callable[[str], bool]
    save: Callable[[Any, Path, dict[str, Any]], list[Path]]


def make_task(stage: Stage, prepared: Path, files: Files, device: str | torch.device = "cpu") -> Task:
    """Make the training task of a stage. ValueError for missing weights.

    stage: what is trained, from a preset; prepared: folder of rows (stage 2) or tracks (stage 1); files: weights to
    start from; device: where frozen networks run."""
    torch.manual_seed(stage.schedule.seed)
    if stage.scale.by_identity and stage.model in ("motion", "prior"):
        raise ValueError(f"stage {stage.name}: people are shared by the models of pictures (renderer, experts, mask)")
    if stage.model == "mask":
        return _mask_task(stage, prepared)
    if stage.model == "motion":
        return _motion_task(stage, prepared, files)
    if stage.model == "prior":
        return _prior_task(stage, prepared, files)
    return _denoiser_task(stage, prepared, files, device)


def _mask_task(stage: Stage, prepared: Path) -> Task:
    data = ClipRows(prepared, HalfBody().part_names)
    model = MaskPredictor.for_parts(data.part_names)
    batches = _by_identity(data, stage, lambda data: mask.MaskBatches(data, stage.batch, stage.schedule.seed))
    return Task(model, batches, mask.loss, lambda name: True, _save_as("mask_predictor"))


def _by_identity(data: ClipRows, stage: Stage, make: Callable[[ClipRows], Callable[[int], Batch]]):
    """Return the function (index of a micro-batch) -> batch.

    data: the rows to draw from; stage: its `Scale.by_identity` tells whether micro-batch k of each step draws only from
        the k-th share of the people, or all draw from everybody; make: called with the rows to draw from, returns a
        function index -> batch."""
    if not stage.scale.by_identity:
        return make(data)
    count = stage.scale.micro_batches
    shares = [make(data.share(k, count)) for k in range(count)]
    return lambda index: shares[index % count](index)


def _motion_task(stage: Stage, prepared: Path, files: Files) -> Task:
    data, seed, reader = MotionData(prepared), stage.schedule.seed, open_prior(files.prior)
    net = MotionDenoiser(MotionDenoiser.Config(prior=reader.track_width))
    net.codec.load_state_dict(motion.fit_codec(data, net.config.codec).state_dict())
    lengths = tuple(n for n in motion.Recipe.lengths if n <= _longest(data))
    if not lengths:
        least = min(motion.Recipe.lengths)
        raise ValueError(f"the longest clip has {_longest(data)} frames, at least {least} are needed; use longer clips")
    recipe = motion.Recipe(batch=stage.batch, lengths=lengths)
    loss = motion.MotionLoss(net.codec, recipe, lip_gap_weights(HalfBody()))
    codec = MotionCodec(net.codec.config)
    codec.load_state_dict(net.codec.state_dict())  # batches are made on the CPU

    def batch(index: int) -> Batch:
        return motion.draw_batch(data, codec, recipe, seed, index, reader)

    return Task(net, batch, loss, lambda name: True, _save_as("motion_denoiser"))


def _prior_task(stage: Stage, prepared: Path, files: Files) -> Task:
    data, seed = MotionData(prepared), stage.schedule.seed
    model, length = open_prior(files.prior), min(_CROP, _longest(data))

    def batch(index: int) -> Batch:
        crops = data.crops(generator(seed, index), stage.batch, length, held=True)
        return {"audio": crops["audio"], "target": crops["text"].float()}

    def trainable(name: str) -> bool:
        return any(part in name for part in _ALIGNED)

    return Task(model, batch, hearing_loss, trainable, _save_as("prior"))


def _longest(data: MotionData) -> int:
    return int((data.starts[1:] - data.starts[:-1]).max())


def _denoiser_task(stage: Stage, prepared: Path, files: Files, device: str | torch.device) -> Task:
    unet, reference = open_denoiser(stage, files)
    if "lora" in stage.parts:
        add_attention_lora(unet, stage.rank)
    modules, fixed = open_experts(stage, unet, files) if "experts" in stage.parts else ([], [])
    config, vae = unet.config, open_latents(stage, files.vae).to(device)
    tokens = None if config.tokens else open_image_encoder(files.image_encoder).to(device)
    model = StageTwo(unet, reference, modules)
    data = ClipRows(prepared, HalfBody().part_names)
    length = stage.frames if stage.in_a_row else None
    drawn = (stage.batch, stage.frames, stage.in_a_row, stage.schedule.seed, config.guides, stage.stride)
    batches = _by_identity(data, stage, lambda data: PictureBatches(data, *drawn))
    same = ("gamma", "drop", "offset", "expert_drop", "flicker", "weighted")
    options = LossOptions(length, **{name: getattr(stage, name) for name in same})
    loss = DenoisingLoss(vae.encode, options, tokens)
    trainable = learns(stage.parts, (*stage.frozen, *fixed))
    return Task(model, batches, loss, trainable, lambda m, out, info: save_learnt(m, stage, out, info))


def open_denoiser(stage: Stage, files: Files) -> tuple[StereoTalkerUNet, ReferenceNet]:
    """Load the denoiser and reference network a stage starts from; files: where they are.

    ValueError where sd15 lacks its weights, or the base is of the other kind of network."""
    if files.fresh:
        if stage.network != "nano":
            raise ValueError("sd15 is not trained from scratch: give the folder that `convert` wrote with --base")
        unet = StereoTalkerUNet()
        return unet, ReferenceNet(unet.config.reference())
    if files.base is None and stage.network != "nano":
        raise ValueError(
            f"stage {stage.name} starts from public weights: write them with `convert` and give the folder with --base"
        )
    folder = files.base or checkpoint.NANO
    unet = checkpoint.load(StereoTalkerUNet, folder / "unet.safetensors")
    if (unet.config.prediction == "residual") != (stage.network == "nano"):
        found = unet.config.prediction
        raise ValueError(f"{folder} holds a denoiser that predicts {found}, stage {stage.name} is for {stage.network}")
    return unet, checkpoint.load(ReferenceNet, folder / "reference.safetensors")


def open_experts(stage: Stage, unet: StereoTalkerUNet, files: Files) -> tuple[list[Experts], list[str]]:
    """Load or make the experts of a stage -> the modules (view before mask), and the beginnings of the names of
    parameters that stay fixed.

    stage: its `experts` are the kinds that are trained; unet: what new experts must fit; files: where given ones are. A
        kind that is trained starts from its file, or without one as new experts, which change nothing; another kind is
        loaded only if there is a file."""
    modules, fixed = [], []
    for kind, cls in _KINDS.items():
        path = files.experts / f"{kind}_experts.safetensors" if files.experts else None
        given = checkpoint.load(cls, path) if path is not None and path.is_file() else None
        if kind in stage.experts:
            modules.append(given or cls.for_unet(unet, stage.rank))
        elif given is not None:
            fixed.append(f"experts.{len(modules)}.")
            modules.append(given)
    return modules, fixed


def open_latents(stage: Stage, path: Path | None) -> TinyAutoencoder | PublicAutoencoder:
    """Load the autoencoder of a stage: a TinyAutoencoder file, or a public one as `convert` wrote it."""
    if path is None and stage.network != "nano":
        raise ValueError(f"stage {stage.name} needs the autoencoder of its weights: give the file with --vae")
    path = path or checkpoint.NANO / "vae.safetensors"
    kind = checkpoint.load_tensors(path)[1].get("model")
    if kind == "PublicAutoencoder":
        return checkpoint.load(PublicAutoencoder, path).requires_grad_(False)
    return checkpoint.load(TinyAutoencoder, path).requires_grad_(False)


def open_image_encoder(path: Path | None) -> ImageEncoder:
    """Load the CLIP image encoder that `convert` wrote. ValueError without one."""
    if path is None:
        raise ValueError("this denoiser takes image embeddings: give the image encoder's file with --image-encoder")
    return checkpoint.load(ImageEncoder, path).requires_grad_(False)


def open_prior(path: Path | None) -> LanguagePrior:
    """Load a prior: our file, the folder of a causal language model, or the shipped one for None."""
    if path is not None and path.is_dir():
        return LanguagePrior.from_folder(path)
    return checkpoint.load(LanguagePrior, path or checkpoint.NANO / "prior.safetensors")


def open_encoder(path: Path | None) -> SpeechEncoder:
    """Load the speech encoder of a file, or the shipped one for None."""
    return checkpoint.load(SpeechEncoder, path or checkpoint.NANO / "audio_encoder.safetensors")


def _save_as(name: str) -> Callable[[nn.Module, Path, dict[str, Any]], list[Path]]:
    def save(model: nn.Module, out: Path, info: dict[str, Any]) -> list[Path]:
        path = out / f"{name}.safetensors"
        checkpoint.save(model, path, **info)
        return [path]

    return save


def save_learnt(model: StageTwo, stage: Stage, out: Path, info: dict[str, Any]) -> list[Path]:
    """Save the parts that a stage has trained -> the written files.

    These are unet and reference, files of experts, and LoRA adapters in peft's layout.
    model: the trained denoiser; stage: says which parts were trained; out: folder of the files; info: provenance for
        their metadata."""
    written = []
    plain, adapters = split_lora(model.unet)
    if adapters:
        written.append(out / "lora.safetensors")
        meta = {"model": "AttentionLora", "config": {"rank": stage.rank, "alpha": stage.rank}}
        checkpoint.save_tensors({k: v.half() for k, v in adapters.items()}, meta | info, written[-1])
    if set(stage.parts) & {"unet", "pose", "tokens", "motion"}:
        bare = plain if not adapters else _without_lora(model.unet, plain)
        for name, module in (("unet", bare), ("reference", model.reference)):
            written.append(out / f"{name}.safetensors")
            checkpoint.save(module, written[-1], **info)
    elif "reference" in stage.parts:
        written.append(out / "reference.safetensors")
        checkpoint.save(model.reference, written[-1], **info)
    for module in model.experts if "experts" in stage.parts else ():
        kind = "view" if isinstance(module, ViewExperts) else "mask"
        if kind in stage.experts:
            written.append(out / f"{kind}_experts.safetensors")
            checkpoint.save(module, written[-1], **info)
    return written


def split_lora(unet: StereoTalkerUNet) -> tuple[Any, dict[str, Tensor]]:
    """Split a U-Net's state dict into LoRA adapters and the rest -> (rest, {name as in peft: adapter}).

    A U-Net without adapters is returned itself, with an empty dictionary."""
    state = unet.state_dict()
    adapters = {k: v for k, v in state.items() if ".lora_" in k}
    if not adapters:
        return unet, {}
    return {k.replace(".base_layer.", "."): v for k, v in state.items() if ".lora_" not in k}, adapters


def _without_lora(unet: StereoTalkerUNet, state: dict[str, Tensor]) -> StereoTalkerUNet:
    fresh = StereoTalkerUNet(copy.copy(unet.config))
    fresh.load_state_dict(state)
    return fresh
