"""`join`: parts that `talk --frames`, `--shard` or a cluster wrote -> the whole clip, without encoding it again."""

import argparse
from pathlib import Path

from ..video.writing.containers import STREAMED
from ..video.writing.join import join_parts
from ..video.writing.writer import check_output

EXAMPLES = """examples:
  join part1.mp4 part2.mp4 part3.mp4 --out hello.mp4
  join hello.part-*.mp4 --out hello.mp4
"""


def add_parsers(commands: argparse._SubParsersAction) -> None:
    """Declare `join`."""
    join = commands.add_parser(
        "join", help="parts of a clip -> the clip", description=__doc__, epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    join.add_argument(
        "parts", nargs="+", metavar="PART", help="in any order; they must follow each other without a gap"
    )
    join.add_argument("--out", required=True, metavar="V", help="of the same kind as the parts")
    join.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check the parts, join them, print what was written."""
    out = check_output(args.out, STREAMED)
    for path in map(Path, args.parts):
        if not path.is_file():
            raise FileNotFoundError(f"no file at {path}")
        if path.suffix.lower() != out.suffix.lower():
            raise ValueError(
                f"{path} and {out} are different kinds of file; parts are joined without encoding them again"
            )
        if path.resolve() == out.resolve() or (out.exists() and out.samefile(path)):
            raise ValueError(f"--out {out} is one of the parts; choose another name")
    whole = join_parts(args.parts, out)
    print(out)
    if not whole.whole:
        print(f"frames {whole.first}:{whole.stop} of {whole.count}: a longer part, not the whole clip")
    return 0
