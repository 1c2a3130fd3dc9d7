"""Train on clips, on any number of devices: `python -m stereotalker_core train MODEL --clips FOLDER ...`.

    accelerate launch --num_processes 8 -m stereotalker_core train renderer --clips data/clips \\
        --preset animate_anyone --stage image --base weights/sd15 --vae weights/vae.safetensors \\
        --image-encoder weights/clip.safetensors --run runs/image --out trained

The clips are checked before anything else; guides or speech tracks are prepared once (RUN/prepared, or --prepared);
then `distributed.fit_distributed` trains, and a second start of the same command continues exactly.
"""

import argparse
import logging
from pathlib import Path

from ..distributed import fit_distributed, start
from ..provenance import made
from .check import NEEDS, check_clips
from .presets import MODELS, Stage, adjusted, load_preset, names
from .rows import prepare_rows
from .tasks import Files, make_task, open_denoiser, open_encoder, open_prior
from .tracks import prepare_tracks

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options, the same for all models."""
    parser.add_argument("--clips", type=Path, required=True, help="folder of clips (see `train clips`)")
    parser.add_argument("--run", type=Path, required=True, help="folder of checkpoints and curves; a new start resumes")
    parser.add_argument("--out", type=Path, required=True, help="folder for the trained files")
    parser.add_argument("--preset", default="nano", help=f"{', '.join(names())}, or a .json file")
    parser.add_argument("--stage", help="the preset's stage, where it has several for this model")
    parser.add_argument("--prepared", type=Path, help="folder of prepared guides or tracks (default: RUN/prepared)")
    for name, text in (
        ("base", "folder with unet.safetensors and reference.safetensors (`convert` writes these and the next two)"),
        ("vae", "autoencoder file"),
        ("image-encoder", "CLIP image encoder file"),
        ("experts", "folder with expert files to start from or to keep"),
        ("encoder", "speech encoder file"),
        ("prior", "language prior: our file, or the folder of any causal language model"),
    ):
        parser.add_argument(f"--{name}", type=Path, help=text)
    parser.add_argument("--fresh", action="store_true", help="new nano networks instead of the shipped ones")
    parser.add_argument("--device", choices=("cpu",), help="cpu, or whatever accelerate finds")
    _add_settings(parser)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """Declare the settings of the stage that may be changed; without them the preset's values hold."""
    for name, kind in (
        ("steps", int), ("lr", float), ("warmup", int), ("seed", int), ("ema", float), ("log_every", int),
        ("save_every", int), ("batch", int), ("frames", int), ("stride", int), ("size", int), ("rank", int),
        ("micro_batches", int), ("prefetch", int), ("keep", int),
    ):  # fmt: skip
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, dest=name)
    parser.add_argument("--precision", choices=("no", "bf16", "fp16"))
    parser.add_argument("--shard", choices=("ddp", "fsdp"))
    people = "share the people among the micro-batches: a process reads only its own"
    parser.add_argument("--by-identity", action=argparse.BooleanOptionalAction, help=people)
    parser.add_argument("--recompute", action=argparse.BooleanOptionalAction, help="gradient checkpointing")


def stage_of(model: str, options: argparse.Namespace) -> Stage:
    """Return the stage of the preset for a model, with the settings that the command line changes."""
    settings = (
        *("steps", "lr", "warmup", "seed", "ema", "log_every", "save_every", "batch", "frames", "stride", "size"),
        *("rank", "micro_batches", "prefetch", "keep", "precision", "shard", "recompute", "by_identity"),
    )
    stage = load_preset(options.preset).stage(model, options.stage)
    return adjusted(stage, **{name: getattr(options, name) for name in settings})


def run(options: argparse.Namespace) -> list[Path]:
    """Check, prepare, train, write -> the trained files. ValueError where options.model is none of presets.MODELS."""
    model = options.model
    if model not in MODELS:
        raise ValueError(f"model {model!r} is not one of {', '.join(MODELS)}")
    stage = stage_of(model, options)
    files = Files(
        options.base, options.vae, options.image_encoder, options.experts, options.encoder, options.prior, options.fresh
    )
    check_clips(options.clips, NEEDS[model])
    accelerator = start(stage.scale, options.device)
    prepared = options.prepared or options.run / "prepared"
    with accelerator.main_process_first():
        prepare(stage, options.clips, prepared, files)
    task = make_task(stage, prepared, files, accelerator.device)
    learning = sum(p.numel() for name, p in task.model.named_parameters() if task.trainable(name))
    logger.info("%s %s: %.2f M parameters learn", model, stage.name, learning / 1e6)
    trained = fit_distributed(
        task.model, task.batch, task.loss, stage.schedule, stage.scale, options.run,
        trainable=task.trainable, accelerator=accelerator,
    )  # fmt: skip
    written: list[Path] = []
    if accelerator.is_main_process:
        info = made(options) | {"seed": str(stage.schedule.seed)}
        written = task.save(trained.cpu(), options.out, info)
        logger.info("wrote %s", ", ".join(map(str, written)))
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return written


def prepare(stage: Stage, clips: Path, out: Path, files: Files) -> Path:
    """Prepare the input of a stage from clips, unless that is done already -> the folder `out`.

    It then holds speech tracks for the models "motion" and "prior", and rendered guides for the others.
    stage: what is trained; clips: folder of the clips; files: weights, of which the speech encoder and the language
        prior compute the tracks."""
    if stage.model in ("motion", "prior"):
        return prepare_tracks(clips, out, stage.model, open_encoder(files.encoder), open_prior(files.prior))
    drawing = stage.model != "mask" and open_denoiser(stage, files)[0].config.guides == "openpose"
    return prepare_rows(clips, out, stage.size, drawing)
