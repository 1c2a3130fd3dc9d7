"""`evaluate`: held-out quality of the nano models as a table and as JSON."""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from ..pipeline import Models
from ..video.writer import check_output

STAGES = ("motion", "render")


def add_parsers(commands: argparse._SubParsersAction) -> None:
    """Declare `evaluate`."""
    parser = commands.add_parser("evaluate", help="held-out metrics", description=__doc__)
    parser.add_argument("stage", choices=(*STAGES, "all"))
    parser.add_argument("--quick", action="store_true", help="fewer people and sentences, wider intervals")
    parser.add_argument("--json", metavar="F", help='write {"metrics": {name: {"value", "low", "high"}}}')
    parser.add_argument("--speech", default="data/speech", metavar="D", help="corpus with a val split, if there is one")
    parser.add_argument("--avatars", default="data/avatars", metavar="D", help="avatars with a val split")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate one stage or both, print the table, write the JSON."""
    if args.json:
        check_output(args.json, (".json",))
    stages = STAGES if args.stage == "all" else (args.stage,)
    models, started = Models.load_nano(), time.perf_counter()
    metrics: dict[str, dict[str, float]] = {}
    if "motion" in stages:
        from ..evaluation.motion import evaluate_motion

        metrics |= evaluate_motion(models.motion, args.quick, Path(args.speech))["metrics"]
    if "render" in stages:
        from ..evaluation.render import evaluate_render

        metrics |= evaluate_render(models, args.quick, Path(args.avatars))["metrics"]
    print(table(metrics))
    if args.json:
        report = {"metrics": metrics, "quick": args.quick, "wall_seconds": time.perf_counter() - started}
        Path(args.json).parent.mkdir(parents=True, exist_ok=True)
        Path(args.json).write_text(json.dumps(report, indent=2) + "\n")
    return 0


def table(metrics: dict[str, dict[str, Any]]) -> str:
    """A markdown table, one row a metric with its 95 % interval."""
    rows = [f"| {name} | {m['value']:.3f} | {m['low']:.3f} .. {m['high']:.3f} |" for name, m in metrics.items()]
    return "\n".join(["| metric | value | 95 % interval |", "|---|---|---|", *rows])
