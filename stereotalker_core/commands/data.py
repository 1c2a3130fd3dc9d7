"""`synth` makes training data and demo inputs; `train` runs one trainer. Both hand the rest of the line on."""

import argparse
import json
from importlib import import_module
from pathlib import Path

from ..body.model import HalfBody
from ..image import save_image
from ..synthetic.speech.utterance import EngineMissing
from ..video.writing.writer import check_output

# name -> module with main(arguments); the module's own --help tells its options
GENERATORS = {
    "avatars": "synthetic.data.dataset",
    "speech": "synthetic.speech.corpus",
    "faces": "training.face.face_data",
    "bake": "synthetic.data.bake_data",
    "bake-photos": "training.video.bake_photos",
}
TRAINERS = {
    "audio-encoder": "training.speech.audio_encoder",
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
    "bake": "training.video.bake",
    "export": "training.video.export",
    "clips": "training.clips.command",
}


def add_parsers(commands: argparse._SubParsersAction) -> None:
    """Declare `synth` and `train`."""
    synth = commands.add_parser("synth", help="make synthetic data", description=__doc__)
    kinds = synth.add_subparsers(dest="kind", required=True, metavar="|".join((*GENERATORS, "portrait")))
    for name, module in GENERATORS.items():
        _forward(kinds.add_parser(name, add_help=False, help=f"training data: {name}"), module)
    portrait = kinds.add_parser("portrait", help="one avatar's portrait, with its mask and keypoints")
    portrait.add_argument("--seed", type=int, default=0)
    portrait.add_argument("--size", type=int, default=512, help="pixels of a side")
    portrait.add_argument("--out", default="out/portrait.png", help=".png; mask and keypoints get names beside it")
    portrait.set_defaults(run=run_portrait)
    train = commands.add_parser("train", help="train one nano model", description=__doc__)
    models = train.add_subparsers(dest="model", required=True, metavar="|".join(TRAINERS))
    for name, module in TRAINERS.items():
        _forward(models.add_parser(name, add_help=False, help=f"see `train {name} --help`"), module)


def _forward(parser: argparse.ArgumentParser, module: str) -> None:
    parser.set_defaults(run=run_module, module=module, rest=[])


def split_forwarded(words: list[str]) -> tuple[list[str], list[str]]:
    """["train", "prior", "--steps", "5"] -> (["train", "prior"], ["--steps", "5"]); other lines stay whole."""
    for i, pair in enumerate(zip(words, words[1:], strict=False)):
        if pair in {("train", name) for name in TRAINERS} | {("synth", name) for name in GENERATORS}:
            return words[: i + 2], words[i + 2 :]
    return words, []


def run_module(args: argparse.Namespace) -> int:
    """Import the module and call its main with the rest of the line; `train MODEL --clips ...` is the scale trainer."""
    module, rest = args.module, args.rest
    if args.command == "train" and "--clips" in rest:
        module, rest = "training.clips.scale", [args.model, *rest]
    try:
        found = import_module(f"..{module}", __package__).main(rest)
    except EngineMissing as error:
        raise ValueError(str(error)) from error
    if isinstance(found, dict):
        for name, value in found.items():
            print(f"{name:<24} {value:.3f}" if isinstance(value, float) else f"{name:<24} {value}")
    return 0


def run_portrait(args: argparse.Namespace) -> int:
    """Write the portrait of the avatar with this seed, and the mask and keypoints a perfect detector would find."""
    write_portrait(Path(args.out), args.seed, args.size, labels=True)
    print(args.out)
    return 0


def write_portrait(out: Path, seed: int, size: int, labels: bool = False) -> None:
    """OUT.png of the avatar with this seed; labels: OUT_mask.png and OUT_keypoints.json beside it."""
    from ..synthetic.people.avatar import make_avatar
    from ..synthetic.people.portrait import reference_portrait
    from ..synthetic.people.render import rendered_keypoints

    out = check_output(out, (".png",))
    body = HalfBody()
    portrait = reference_portrait(body, make_avatar(body, seed), seed, size)
    save_image(portrait.image, out)
    if not labels:
        return
    save_image(portrait.mask.expand(3, -1, -1) * 2 - 1, out.with_name(f"{out.stem}_mask.png"))
    names = [body.keypoint_names[i] for i in rendered_keypoints(body)]
    found = zip(names, portrait.keypoints.tolist(), portrait.visible.tolist(), strict=True)
    points = {name: [round(x, 2), round(y, 2)] for name, (x, y), seen in found if seen}
    out.with_name(f"{out.stem}_keypoints.json").write_text(json.dumps(points, indent=1) + "\n", encoding="utf-8")
