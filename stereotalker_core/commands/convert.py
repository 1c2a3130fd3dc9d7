"""`convert`: public weights -> files of this package, with a report of every key; experts for such renderers."""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

from ..checkpoint import save as save_checkpoint
from ..convert import encoders, language, renderer, sets, speech, upcycle
from ..convert.assemble import save_model
from ..convert.report import Report
from ..video.writing.writer import check_output
from .talking.outputs import check_not_input

_DTYPES = {"keep": None, "fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
Work = Callable[[argparse.Namespace], Iterable[Report]]


def add_parsers(commands: argparse._SubParsersAction) -> None:
    """Declare `convert` and its kinds."""
    parser = commands.add_parser("convert", help="public weights, experts, merging", description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="KIND")

    def kind(name: str, text: str, work: Work, out: str) -> argparse.ArgumentParser:
        sub = kinds.add_parser(name, help=text, description=text)
        sub.add_argument("--out", metavar="PATH", help=f"{out}; without it the weights are only checked")
        sub.add_argument("--dtype", choices=_DTYPES, default="keep", help="number format to save (default: the file's)")
        sub.set_defaults(run=run_kind, work=work)
        return sub

    sub = kind("set", "an AnimateAnyone set with vae and image_encoder -> a folder of this package", _set, "folder")
    sub.add_argument("path", help="folder with denoising_unet, reference_unet, pose_guider, motion_module")
    sub = kind("denoiser", "Stable Diffusion 1.5 U-Net, motion modules, pose guider -> one file", _denoiser, "file")
    sub.add_argument("path", help="checkpoint file or diffusers folder")
    sub.add_argument("--motion", metavar="F", help="AnimateDiff or AnimateAnyone motion modules")
    sub.add_argument("--pose", metavar="F", help="pose guider")
    sub.add_argument("--prediction", choices=("v", "epsilon"), default="v", help="what the network predicts")
    sub.add_argument("--guides", choices=("openpose", "maps"), default="openpose", help="what its pose guider saw")
    single = {
        "reference": ("reference network from reference_unet or Stable Diffusion 1.5", renderer.load_reference),
        "autoencoder": ("Stable Diffusion's VAE or TAESD", encoders.load_autoencoder),
        "image-encoder": ("CLIP vision with projection", encoders.load_image_encoder),
    }
    for name, (text, load) in single.items():
        sub = kind(name, text, _single(load), "file")
        sub.add_argument("path", help="file or folder")
    sub = kind("speech", "check a speech encoder: wav2vec 2.0, HuBERT, WavLM, Whisper", _speech, "(not saved)")
    sub.add_argument("path", help="model folder or single file")
    sub = kind("language", "causal language model (folder or .gguf) -> prior with fresh LoRA", _language, "file")
    sub.add_argument("path", help="model folder or .gguf")
    sub = kind("experts", "new view and mask experts, equal to none, for a renderer", _experts, "folder")
    sub.add_argument("path", help="denoiser file")
    sub.add_argument("--rank", type=int, default=upcycle.RANK, help="hidden units an expert (default %(default)s)")
    sub = kind("merge", "a denoiser with its view experts merged at one yaw, as plain weights", _merge, "file")
    sub.add_argument("path", help="denoiser file")
    sub.add_argument("--experts", required=True, metavar="F", help="view experts")
    sub.add_argument("--yaw", type=float, default=0.0, help="camera yaw in degrees (default 0)")
    sub.add_argument("--strength", type=float, default=1.0, help="of the experts (default 1)")


def run_kind(args: argparse.Namespace) -> int:
    """Convert weights, print the reports -> exit status. ValueError for an unexplained key, before anything is written.
    """
    if args.out and args.kind not in ("set", "experts"):
        check_output(args.out, (".safetensors",))
        check_not_input(args, inputs=("path", "pose", "experts"))
    for report in args.work(args):
        print("\n".join(report.lines()))
    print(f"saved to {args.out}" if args.out else "nothing saved; give --out to save")
    return 0


def _set(args: argparse.Namespace) -> list[Report]:
    loaded, reports = sets.load_set(args.path, dtype=_DTYPES[args.dtype])
    if args.out:
        sets.save_set(loaded, args.out, {"source": Path(args.path).name})
    return reports


def _denoiser(args: argparse.Namespace) -> list[Report]:
    settings = {"prediction": args.prediction, "guides": args.guides, "dtype": _DTYPES[args.dtype]}
    model, report = renderer.load_denoiser(args.path, args.motion, args.pose, **settings)
    if args.out:
        save_model(model, args.out, source=Path(args.path).name)
    return [report]


def _single(load: Callable) -> Work:
    def work(args: argparse.Namespace) -> list[Report]:
        model, report = load(args.path, dtype=_DTYPES[args.dtype])
        if args.out:
            save_model(model, args.out, source=Path(args.path).name)
        return [report]

    return work


def _speech(args: argparse.Namespace) -> list[Report]:
    if args.out:
        raise ValueError("speech encoders are used where they are; leave --out away")
    return [speech.load_speech_model(args.path)[1]]


def _language(args: argparse.Namespace) -> list[Report]:
    prior, report = language.load_language_model(args.path)
    if args.out:
        save_checkpoint(prior, args.out, _DTYPES[args.dtype] or torch.float32, source=Path(args.path).name)
    return [report]


def _experts(args: argparse.Namespace) -> list[Report]:
    if not args.out:
        raise ValueError("new experts have nothing to check; give --out FOLDER")
    upcycle.save_experts(args.path, args.out, args.rank)
    return []


def _merge(args: argparse.Namespace) -> list[Report]:
    if not args.out:
        raise ValueError("give --out FILE for the merged denoiser")
    upcycle.save_merged(args.path, args.experts, args.out, args.yaw, args.strength)
    return []
