"""`evaluate`: held-out quality of the nano models as a table and as JSON."""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path

from ..audio.load import load_audio
from ..checkpoint import NANO, load
from ..motion.sampling import MotionModels
from ..pipeline import Models
from ..video.render import load_nano as load_renderer
from ..video.writer import check_output
from .demo import SPEECH

STAGES = ("motion", "face", "render")
Metrics = dict[str, dict[str, float]]


def add_parsers(commands: argparse._SubParsersAction) -> None:
    """Declare `evaluate`."""
    parser = commands.add_parser("evaluate", help="held-out metrics", description=__doc__)
    parser.add_argument("stage", choices=(*STAGES, "all"))
    parser.add_argument("--quick", action="store_true", help="fewer people and sentences, wider intervals")
    parser.add_argument("--json", metavar="F", help='write {"metrics": {name: {"value", "low", "high"}}}')
    parser.add_argument("--speech", default="data/speech", metavar="D", help="corpus with a val split, if there is one")
    parser.add_argument("--avatars", default="data/avatars", metavar="D", help="avatars with a val split")
    parser.add_argument("--plots", metavar="D", help="write pictures into this folder")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="motion, face: other sentences")
    parser.add_argument("--denoiser", metavar="F", help="motion: another motion denoiser than the embedded one")
    parser.add_argument("--face-model", metavar="F", help="face: another ProbTalk3D file than the embedded one")
    parser.add_argument("--face-vae", metavar="F", help="face: another VAE variant for the ablation")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate one stage or both, print the table, write the JSON."""
    if args.json:
        check_output(args.json, (".json",))
    started = time.perf_counter()
    metrics, skipped = evaluate(args)
    print(table(metrics))
    for name, reason in skipped.items():
        print(f"not measured: {name} ({reason})")
    if args.json:
        spent = time.perf_counter() - started
        report = {"metrics": metrics, "skipped": skipped, "quick": args.quick, "wall_seconds": spent}
        Path(args.json).parent.mkdir(parents=True, exist_ok=True)
        Path(args.json).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def evaluate(args: argparse.Namespace) -> tuple[Metrics, dict[str, str]]:
    """All metrics of the chosen stages, and why some could not be measured.

    "all" leaves out what needs speech where nothing on the machine can speak; a stage asked for by name fails then.
    """
    from ..evaluation.motion import NoSpeechError
    from ..evaluation.pictures import write_pictures
    from ..evaluation.render import evaluate_render
    from ..evaluation.speed import evaluate_speed, expert_cost
    from ..evaluation.temporal import evaluate_temporal

    metrics: Metrics = {}
    skipped: dict[str, str] = {}
    try:
        metrics, skipped = of_speech(args)
    except NoSpeechError as error:
        if args.stage != "all":
            raise
        skipped = {"motion, face": str(error)}
    if args.stage in ("render", "all"):
        renderer = load_renderer()
        found = evaluate_render(renderer, Path(args.avatars) / "val", args.quick)
        metrics, skipped = metrics | found["metrics"], skipped | found["skipped"]
        metrics |= evaluate_temporal(renderer, args.quick) | expert_cost(renderer)
        if args.plots:
            write_pictures(renderer, Path(args.avatars) / "val", args.plots)
    if args.stage == "all":
        metrics |= evaluate_speed(Models.load_nano(), load_audio(SPEECH), args.quick)
    return metrics, skipped


def of_speech(args: argparse.Namespace) -> tuple[Metrics, dict[str, str]]:
    """Metrics of stage 1 and of the faces, where they are asked for; NoSpeechError where nothing can speak."""
    from ..evaluation.motion import evaluate_motion
    from ..motion.denoiser import MotionDenoiser

    metrics: Metrics = {}
    skipped: dict[str, str] = {}
    if args.stage in ("motion", "all"):
        plots = Path(args.plots) if args.plots else None
        models = MotionModels.load_nano()
        if args.denoiser:
            models = replace(models, denoiser=load(MotionDenoiser, args.denoiser))
        found = evaluate_motion(models, args.quick, Path(args.speech), out=plots, seed=args.seed)
        metrics, skipped = found["metrics"], found["skipped"]
        for engine, voices in found["voices"].items():
            print(f"unseen voices of {engine}: " + ", ".join(f"{name} ({count})" for name, count in voices.items()))
    if args.stage in ("face", "all"):
        prefix = "face_" if args.stage == "all" else ""  # some names are those of stage 1
        metrics |= {prefix + name: row for name, row in run_face(args).items()}
    return metrics, skipped


def run_face(args: argparse.Namespace) -> Metrics:
    """Metrics of the embedded ProbTalk3D, and its pictures where they are asked for."""
    from ..evaluation.face import draw_items, evaluate_face
    from ..face.model import ProbTalk3D
    from ..face.sampling import FaceModels

    models = FaceModels.load_nano()
    if args.face_model:
        models = replace(models, model=load(ProbTalk3D, args.face_model))
    if args.plots:
        from ..evaluation.face_plots import write_plots

        write_plots(models, draw_items(8, Path(args.speech)), Path(args.plots))
    vae = Path(args.face_vae or NANO / "probtalk3d_vae.safetensors")
    return evaluate_face(models, args.quick, Path(args.speech), args.seed, vae)["metrics"]


def table(metrics: Metrics) -> str:
    """A markdown table, one row a metric with its 95 % interval."""
    rows = [f"| {name} | {m['value']:.3f} | {m['low']:.3f} .. {m['high']:.3f} |" for name, m in metrics.items()]
    return "\n".join(["| metric | value | 95 % interval |", "|---|---|---|", *rows])
