"""`synth NAME`: the table of what makes training data, and one portrait for demos."""

import argparse
import json
from pathlib import Path

from ..body.model import HalfBody
from ..image import save_image
from ..video.writing.writer import check_output
from .forwarded import add_names

SIDES = (32, 4096)  # px of a portrait: a smaller one shows no face, a larger one fills the memory
# name -> module with add_arguments(parser) and run(options)
GENERATORS = {
    "avatars": "synthetic.data.dataset",
    "speech": "synthetic.speech.corpus",
    "real-speech": "synthetic.speech.real_speech",
    "faces": "training.face.face_data",
    "bake": "synthetic.data.bake_data",
    "bake-photos": "training.video.bake_photos",
}


def add_parsers(commands: argparse._SubParsersAction) -> None:
    """Declare `synth`."""
    synth = commands.add_parser("synth", help="make synthetic data", description=__doc__)
    kinds = synth.add_subparsers(dest="name", required=True, metavar="|".join((*GENERATORS, "portrait")))
    add_names(kinds, GENERATORS)
    portrait = kinds.add_parser("portrait", help="one avatar's portrait, with its mask and keypoints")
    portrait.add_argument("--seed", type=int, default=0)
    portrait.add_argument("--size", type=int, default=512, help=f"pixels of a side, {SIDES[0]}..{SIDES[1]}")
    portrait.add_argument("--out", default="out/portrait.png", help=".png; mask and keypoints get names beside it")
    portrait.set_defaults(run=run_portrait)


def run_portrait(args: argparse.Namespace) -> int:
    """Write the portrait of the avatar with this seed, and the mask and keypoints a perfect detector would find."""
    write_portrait(Path(args.out), args.seed, args.size, labels=True)
    print(args.out)
    return 0


def write_portrait(out: Path, seed: int, size: int, labels: bool = False) -> None:
    """Write the portrait of an avatar as OUT.png; with `labels` also OUT_mask.png and OUT_keypoints.json.

    out: the path of OUT.png; seed: of the avatar; size: px of a side. ValueError for one out of range, or another
    suffix."""
    from ..synthetic.people.avatar import make_avatar
    from ..synthetic.people.portrait import reference_portrait
    from ..synthetic.people.render import rendered_keypoints

    out = check_output(out, (".png",))
    if not SIDES[0] <= size <= SIDES[1]:
        raise ValueError(f"--size must be {SIDES[0]}..{SIDES[1]} pixels, got {size}")
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
