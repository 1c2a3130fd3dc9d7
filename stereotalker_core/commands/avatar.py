"""`avatar`: a portrait, or a saved person, and a motion -> a GLB file for Blender, Unreal and other 3D programs."""

import argparse

from ..body.model import HalfBody
from ..motion.files.glb import save_glb
from ..motion.files.io import READERS, load_motion
from ..pipeline import fit_person
from ..records import Identity
from ..video.writing.provenance import NOTICE, SOURCE_TYPE
from ..video.writing.writer import check_output
from .talking.outputs import check_not_input
from .talking.progress import ProgressLine, held_warnings
from .talking.talk import check_person, read_person
from .talking.workshop import saved_person


def add_parsers(commands: argparse._SubParsersAction) -> None:
    """Declare `avatar`."""
    parser = commands.add_parser("avatar", help="portrait + motion -> 3D person (GLB)", description=__doc__)
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--portrait", metavar="P", help="as in talk")
    who.add_argument("--identity", metavar="I.safetensors", help="a person saved by Save Identity")
    parser.add_argument("--out", required=True, metavar="A.glb", help="glTF 2.0 with skeleton and 52 morph targets")
    formats = f"what the person does, as an animation: {', '.join(READERS)}; without it they stand still"
    parser.add_argument("--motion", metavar="M", help=formats)
    parser.add_argument("--mask", metavar="M.png", help="as in talk")
    parser.add_argument("--keypoints", metavar="K.json", help="as in talk")
    parser.add_argument("--person", type=int, metavar="N", help="which of several people, 1 = the largest")
    parser.add_argument("--quiet", action="store_true", help="no progress line, no warnings")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check all options, fit the person or read a saved one, write the avatar -> exit status."""
    out = check_output(args.out, (".glb",))
    check_not_input(args)
    check_person(args)
    motion = load_motion(args.motion) if args.motion else None
    body = HalfBody()
    identity = saved_person(args.identity) if args.identity else _fitted(args, body)
    save_glb(identity, body, out, motion, {"notice": NOTICE, "digital_source_type": SOURCE_TYPE})
    print(out)
    return 0


def _fitted(args: argparse.Namespace, body: HalfBody) -> Identity:
    """Fit the person in the portrait, and show the quality and the warnings of the fit."""
    progress = ProgressLine(enabled=not args.quiet)
    portrait, mask, keypoints, _ = read_person(args)
    progress("fit", 0, 1)
    with held_warnings():
        identity = fit_person(body, portrait, keypoints, mask, person=args.person)
    progress("fit", 1, 1)
    progress.fitted(identity)
    return identity
