"""`train NAME`: the table of all trainers; a trainer is a module with `add_arguments(parser)` and `run(options)`."""

import argparse

from .forwarded import add_names, run_words, show

TRAINERS = {
    "audio-encoder": "training.speech.audio_encoder",
    "speech-teacher": "training.speech.speech_teacher",
    "prior": "training.motion.prior",
    "motion-data": "training.motion.motion_data",
    "motion": "training.motion.denoiser",
    "face": "training.face.model",
    "face-epochs": "training.face.face_epochs",
    "autoencoder": "training.video.autoencoder",
    "mask": "training.video.mask",
    "renderer": "training.video.renderer",
    "experts": "training.video.experts",
    "decoder": "training.video.decoder",
    "joint": "training.video.joint",
    "stage2": "training.video.stage2",
    "bake": "training.video.bake",
    "export": "training.video.export",
    "clips": "training.clips.command",
}
SCALE = "training.clips.scale"  # of every `train NAME --clips FOLDER ...`


def add_parsers(commands: argparse._SubParsersAction) -> None:
    """Declare `train`."""
    train = commands.add_parser("train", help="train one nano model", description=__doc__)
    names = train.add_subparsers(dest="name", required=True, metavar="|".join(TRAINERS))
    add_names(names, TRAINERS)
    for parser in names.choices.values():
        parser.set_defaults(run=run_trainer)


def on_clips(name: str, words: list[str]) -> bool:
    """Tell whether a command line trains on folders of clips: --clips is among the words after its name.

    name: of the trainer; "clips" itself, which makes such folders, does not count; words: the rest of the line."""
    return name != "clips" and any(word.partition("=")[0] == "--clips" for word in words)


def run_trainer(args: argparse.Namespace) -> int:
    """Run a trainer of the table; with --clips among its options, the trainer for folders of clips instead."""
    if on_clips(args.name, args.rest):
        run_words(SCALE, f"train {args.name}", args.rest, model=args.name)
        return 0
    show(run_words(args.module, f"train {args.name}", args.rest))
    return 0
