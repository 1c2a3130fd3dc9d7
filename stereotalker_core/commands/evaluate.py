"""`evaluate`: held-out quality of the nano models, and how photographs come out, as a table and as JSON."""

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..audio.load import load_audio
from ..checkpoint import NANO, load
from ..motion.generation.sampling import MotionModels
from ..options import option_of
from ..pipeline import Models, View
from ..synthetic.example import SPEECH
from ..video.rendering.bake import BakeOptions
from ..video.rendering.nano import load_nano as load_renderer
from ..video.writing.writer import check_output
from .talking import flags

STAGES = ("motion", "face", "render")
PHOTOS, BAKE = "photos", "bake"
Metrics = dict[str, dict[str, float]]


def add_parsers(commands: argparse._SubParsersAction) -> None:
    """Declare `evaluate`."""
    parser = commands.add_parser("evaluate", help="held-out metrics", description=__doc__)
    parser.add_argument("stage", choices=(*STAGES, "all", PHOTOS, BAKE))
    parser.add_argument("folder", nargs="?", metavar="FOLDER", help="photos: where the photographs are")
    parser.add_argument("--quick", action="store_true", help="fewer people, sentences, frames; wider intervals")
    parser.add_argument("--json", metavar="F", help='write {"metrics": {name: {"value", "low", "high"}}}')
    parser.add_argument(
        "--speech",
        metavar="D",
        help="corpus with a val split, if there is one (data/speech); photos: the recording that everybody speaks",
    )
    parser.add_argument("--avatars", default="data/avatars", metavar="D", help="avatars with a val split")
    mode = "render: how frames are drawn; what experts bring can be told from diffusion alone"
    parser.add_argument("--mode", choices=("play", "diffusion"), default="diffusion", help=mode)
    parser.add_argument("--plots", metavar="D", help="write pictures into this folder")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="motion, face: other sentences; photos: another draw"
    )
    parser.add_argument("--denoiser", metavar="F", help="motion: another motion denoiser than the embedded one")
    parser.add_argument("--face-model", metavar="F", help="face: another ProbTalk3D file than the embedded one")
    parser.add_argument("--face-vae", metavar="F", help="face: another VAE variant for the ablation")
    bake = parser.add_argument_group(BAKE, "pixels that the portrait never showed, of held-out synthetic people")
    bake.add_argument("--bake-model", metavar="F", help="a file of `train bake`; default: the embedded one")
    bake.add_argument("--bake-steps", metavar="N,N", help="numbers of denoising steps to compare")
    flags.number(bake, "--bake-strength", BakeOptions, "strength", help=f"0..1, default {BakeOptions.strength:g}")
    bake.add_argument("--no-networks", action="store_true", help="do not draw with the networks of every frame")
    rig = "a folder of `synth bake` with another seed than the training's: measure on pixels of the rig, no frames"
    bake.add_argument("--rig", metavar="D", help=rig)
    beside = "with --rig: other files of `train bake`, compared with --bake-model person by person"
    bake.add_argument("--beside", metavar="F", nargs="+", default=[], help=beside)
    photos = parser.add_argument_group(PHOTOS, "every photograph of FOLDER, fitted, drawn and compared with itself")
    photos.add_argument("--out", metavar="D", help="keep rows, frames, sheets here; bake: rows; a second run goes on")
    photos.add_argument("--count", type=int, metavar="N", help="so many of them, drawn by --seed; bake: people")
    photos.add_argument("--size", type=int, default=512, metavar="N", help="pixels of a side")
    photos.add_argument("--workers", type=int, default=1, metavar="N", help="processes of one thread each")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Evaluate the chosen stages, print the table, write the JSON."""
    if args.json:
        check_output(args.json, (".json",))
    for name in ("count", "workers"):
        if (given := getattr(args, name)) is not None and given < 1:
            raise ValueError(f"--{name} must be 1 or more, got {given}")
    if args.stage == PHOTOS:
        return run_photos(args)
    if args.stage == BAKE:
        return run_bake(args)
    if args.folder:
        raise ValueError(f"a folder goes with `evaluate photos`, not with `evaluate {args.stage}`")
    args.speech = args.speech or "data/speech"
    started = time.perf_counter()
    metrics, skipped = evaluate(args)
    print(table(metrics))
    for name, reason in skipped.items():
        print(f"not measured: {name} ({reason})")
    if args.json:
        spent = time.perf_counter() - started
        report = {"metrics": metrics, "skipped": skipped, "quick": args.quick, "wall_seconds": spent}
        _write_report(args.json, report)
    return 0


def run_photos(args: argparse.Namespace) -> int:
    """Measure how the photographs of a folder come out, print the table, write the JSON -> exit status. ValueError
    without a folder."""
    from ..evaluation.photos import evaluate as photos
    from ..evaluation.photos.rows import Settings
    from ..evaluation.photos.sheet import caption

    if not args.folder:
        raise ValueError("evaluate photos needs the FOLDER of the photographs")
    speech = args.speech or str(SPEECH)
    if not Path(speech).is_file():
        raise ValueError(f"{speech} is no recording; give --speech FILE")
    View(framing="portrait", size=args.size)  # checks the size before anything is loaded
    found = photos.find_photos(args.folder, args.count, args.seed)
    started = time.perf_counter()

    def tell(done: int, total: int, row: dict) -> None:
        line = caption(row) if row["refused"] is None else f"{row['file']}: refused, {row['refused']}"
        print(f"[{done}/{total}] {line}", file=sys.stderr, flush=True)

    try:
        rows = photos.evaluate_photos(found, Settings(args.size, speech, args.quick, args.out), args.workers, tell)
    except KeyboardInterrupt:
        if not args.out:
            raise
        print(f"\nstopped: finished photographs are kept in {args.out}; the same command goes on", file=sys.stderr)
        return 130
    result = photos.report(rows) | {"size": args.size, "quick": args.quick}
    result["wall_seconds"] = time.perf_counter() - started
    text = photos.table(result)
    print(text)
    if args.out:
        (Path(args.out) / "table.md").write_text(text + "\n", encoding="utf-8")
    if args.json:
        _write_report(args.json, result)
    return 0


def run_bake(args: argparse.Namespace) -> int:
    """Measure the baked texture where portraits showed nothing, print the table, write the JSON."""
    from ..evaluation.video.bake import PEOPLE, QUICK_PEOPLE, evaluate_bake
    from ..evaluation.video.bake_rig import evaluate_rig
    from ..video.rendering.bake import load_bake

    steps = _steps_of(args.bake_steps)
    started = time.perf_counter()
    if args.rig:
        networks = {Path(file or "bake").stem: load_bake(file) for file in (args.bake_model, *args.beside)}
        metrics = evaluate_rig(networks, args.rig, args.count, steps[0], args.bake_strength, args.seed)
    else:
        metrics = evaluate_bake(
            load_bake(args.bake_model),
            None if args.no_networks else load_renderer(),
            args.count or (QUICK_PEOPLE if args.quick else PEOPLE),
            steps,
            args.seed,
            Path(args.out) / "bake.jsonl" if args.out else None,
            args.bake_strength,
        )
    print(table(metrics))
    if args.json:
        report = {"metrics": metrics, "quick": args.quick, "wall_seconds": time.perf_counter() - started}
        _write_report(args.json, report)
    return 0


def _steps_of(text: str | None) -> tuple[int, ...]:
    """Parse --bake-steps: "4,1" -> (4, 1); the default of a bake without it. ValueError for anything else."""
    if not text:
        return (BakeOptions.steps,)
    told = option_of(BakeOptions, "steps")
    try:
        steps = tuple(int(word) for word in text.split(","))
    except ValueError:
        raise ValueError(f"--bake-steps takes numbers like 4,1, got {text!r}") from None
    for count in steps:
        if (fault := told.fault("--bake-steps", count)) is not None:
            raise ValueError(fault)
    return steps


def _write_report(path: str | Path, report: dict[str, Any]) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def evaluate(args: argparse.Namespace) -> tuple[Metrics, dict[str, str]]:
    """Evaluate the chosen stages -> ({metric: {"value", "low", "high"}}, {skipped stage or metric: reason}).

    "all" skips what needs speech where no speech engine is installed; a stage requested by name fails then."""
    from ..evaluation.motion.evaluate import NoSpeechError
    from ..evaluation.video.pictures import write_pictures
    from ..evaluation.video.render import Ablation, evaluate_render
    from ..evaluation.video.speed import evaluate_speed, expert_cost
    from ..evaluation.video.temporal import evaluate_temporal

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
        found = evaluate_render(renderer, Path(args.avatars) / "val", args.quick, Ablation(mode=args.mode))
        metrics, skipped = metrics | found["metrics"], skipped | found["skipped"]
        metrics |= evaluate_temporal(renderer, args.quick, args.mode) | expert_cost(renderer)
        if args.plots:
            write_pictures(renderer, Path(args.avatars) / "val", args.plots)
    if args.stage == "all":
        metrics |= evaluate_speed(Models.load_nano(), load_audio(SPEECH), args.quick)
    return metrics, skipped


def of_speech(args: argparse.Namespace) -> tuple[Metrics, dict[str, str]]:
    """Evaluate stage 1 and the faces, if they are requested; returns what `evaluate` returns.

    NoSpeechError where no speech engine is installed."""
    from ..evaluation.motion.evaluate import evaluate_motion
    from ..motion.networks.denoiser import MotionDenoiser

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
    """Measure the embedded ProbTalk3D, and draw its plots if they are requested -> {metric: {"value", "low",
    "high"}}."""
    from ..evaluation.face.evaluate import draw_items, evaluate_face
    from ..face.model import ProbTalk3D
    from ..face.sampling import FaceModels

    models = FaceModels.load_nano()
    if args.face_model:
        models = replace(models, model=load(ProbTalk3D, args.face_model))
    if args.plots:
        from ..evaluation.face.face_plots import write_plots

        write_plots(models, draw_items(8, Path(args.speech)), Path(args.plots))
    vae = Path(args.face_vae or NANO / "probtalk3d_vae.safetensors")
    return evaluate_face(models, args.quick, Path(args.speech), args.seed, vae)["metrics"]


def table(metrics: Metrics) -> str:
    """Return a Markdown table, one row per metric {"value", "low", "high"} with its 95 % interval."""
    rows = [f"| {name} | {m['value']:.3f} | {m['low']:.3f} .. {m['high']:.3f} |" for name, m in metrics.items()]
    return "\n".join(["| metric | value | 95 % interval |", "|---|---|---|", *rows])
