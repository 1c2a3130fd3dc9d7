"""`train clips`: make, import, check and prepare folders of clips (see docs/training.md).

python -m stereotalker_core train clips avatars --out data/clips --identities 50 --speech data/speech/train
python -m stereotalker_core train clips beat2 --source beat_english_v2.0.0 --out data/beat2
python -m stereotalker_core train clips video --source talks --out data/talks
python -m stereotalker_core train clips check data/clips --for renderer
python -m stereotalker_core train clips prepare data/clips --out data/prepared --size 512
"""

import argparse
import logging
from pathlib import Path

from .beat2 import import_beat2
from .check import NEEDS, check_clips
from .dwpose import VideoImport, import_videos
from .rows import prepare_rows
from .synthetic_clips import AvatarClips, export_avatars

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the five actions and their options."""
    actions = parser.add_subparsers(dest="action", required=True)
    avatars = actions.add_parser("avatars", help="render avatars as clips")
    avatars.add_argument("--out", type=Path, required=True)
    avatars.add_argument("--speech", type=Path, help="folder of a speech corpus; without it they move silently")
    for name in ("identities", "clips", "frames", "size", "seed"):
        avatars.add_argument(f"--{name}", type=int, default=getattr(AvatarClips, name))
    avatars.add_argument("--yaw", type=float, default=AvatarClips.yaw, help="cameras stand within +- this")
    beat2 = actions.add_parser("beat2", help="import BEAT2 (SMPL-X, ARKit, wav, TextGrid)")
    beat2.add_argument("--seconds", type=float, default=20.0, help="longest clip")
    beat2.add_argument("--names", nargs="*", default=(), help="only these recordings")
    video = actions.add_parser("video", help="import videos with DWPose keypoints beside them")
    for name, kind in (("seconds", float), ("size", int), ("smoothing", float), ("missing", float)):
        video.add_argument(f"--{name}", type=kind, default=getattr(VideoImport, name))
    for importer in (beat2, video):
        importer.add_argument("--source", type=Path, required=True)
        importer.add_argument("--out", type=Path, required=True)
    check = actions.add_parser("check", help="say whether a trainer can use a folder")
    check.add_argument("clips", type=Path)
    check.add_argument("--for", dest="trainer", choices=sorted(NEEDS), default="renderer")
    prepare = actions.add_parser("prepare", help="render the guides of all clips before a training")
    prepare.add_argument("clips", type=Path)
    prepare.add_argument("--out", type=Path, required=True)
    prepare.add_argument("--size", type=int, default=256)
    prepare.add_argument("--drawing", action="store_true", help="also the skeleton drawing (AnimateAnyone weights)")


def run(options: argparse.Namespace) -> int:
    """Run one action -> the number of clips that it wrote or found."""
    if options.action == "avatars":
        wanted = AvatarClips(options.identities, options.clips, options.frames, options.size, options.seed, options.yaw)
        count = len(export_avatars(options.out, wanted, options.speech, _progress))
    elif options.action == "beat2":
        count = len(import_beat2(options.source, options.out, options.seconds, options.names))
    elif options.action == "video":
        wanted = VideoImport(options.seconds, options.size, options.smoothing, options.missing)
        count = sum(len(folders) for folders in import_videos(options.source, options.out, wanted))
    elif options.action == "prepare":
        prepare_rows(options.clips, options.out, options.size, options.drawing, _progress)
        count = len(check_clips(options.clips, NEEDS["renderer"]))
    else:
        count = len(check_clips(options.clips, NEEDS[options.trainer]))
    logger.info("%d clips", count)
    return count


def _progress(done: int, total: int) -> None:
    logger.info("%d of %d", done, total)
