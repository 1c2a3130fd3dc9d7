"""All of stage 2, unattended: autoencoder, image stage, joint stage, motion stage; the mask predictor beside them.

    python -m stereotalker_core train stage2 --data data/avatars/train --run runs/stage2 --minutes 90 --out DIR

Every stage is a `train` command of its own, so it can be run, killed and resumed alone; a finished stage (its file
exists) is skipped. Step counts follow from a few measured steps and the stage's share of the minutes; `plan.json` in
the run folder keeps them, so that a resumed run has the schedule it began with.
"""

import argparse
import json
import logging
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

logger = logging.getLogger(__name__)
PROBE = 6  # steps that are timed


@dataclass(frozen=True)
class TimedStage:
    """The description of one stage.

    name: what the stage is called; trainer: its `train` command; share: its fraction of the whole time.
    out: the file or folder that it writes, relative to the run's folder; done: the file whose existence marks it as
        finished.
    options: further words of the command."""

    name: str
    trainer: str
    share: float
    out: str
    done: str
    options: tuple[str, ...] = field(default_factory=tuple)


def stages(run: Path) -> list[TimedStage]:
    """Return the stages in training order; the mask predictor does not depend on the others."""
    vae = ("--vae", str(run / "vae.safetensors"))
    image, joint = ("--unet", str(run / "image_out")), ("--unet", str(run / "joint_out"))
    final = ("--vae", str(run / "joint_out" / "vae.safetensors"))
    return [
        TimedStage("mask", "mask", 0.2, "mask_predictor.safetensors", "mask_predictor.safetensors"),
        TimedStage("autoencoder", "autoencoder", 0.14, "vae.safetensors", "vae.safetensors"),
        TimedStage(
            "image", "renderer", 0.35, "image_out", "image_out/reference.safetensors", ("--stage", "image", *vae),
        ),
        TimedStage("joint", "joint", 0.43, "joint_out", "joint_out/mask_experts.safetensors", (*vae, *image)),
        TimedStage(
            "motion", "renderer", 0.08, "motion_out", "motion_out/reference.safetensors",
            ("--stage", "motion", *final, *joint),
        ),
    ]  # fmt: skip


def command(stage: TimedStage, data: str, run: Path, folder: Path, steps: int, out: Path) -> list[str]:
    """Return the command line of a stage, with its state in `folder`.

    stage: which; data: folder of the training frames; run: folder of all stages; steps: how many; out: the file or
    folder to write."""
    options = ["--data", data, "--run", str(folder), "--steps", str(steps), "--out", str(out), *stage.options]
    return [sys.executable, "-m", "stereotalker_core", "train", stage.trainer, *options]


def steps_for(stage: TimedStage, data: str, run: Path, minutes: float) -> int:
    """Measure a stage in a short run -> the number of steps that fit into its share of the minutes.

    stage: which; data: folder of the training frames; run: folder of all stages; minutes: time for all of them."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        subprocess.run(command(stage, data, run, folder / "run", PROBE, folder / "out.safetensors"), check=True)
        row = json.loads((folder / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    return max(PROBE, round(60 * minutes * stage.share / row["seconds_per_step"]))


def planned_steps(stage: TimedStage, data: str, run: Path, minutes: float) -> int:
    """Return the number of steps of a stage from run/plan.json; `steps_for` measures it at the first call."""
    path = run / "plan.json"
    plan = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if stage.name not in plan:
        plan[stage.name] = steps_for(stage, data, run, minutes)
        path.write_text(json.dumps(plan), encoding="utf-8")
    return plan[stage.name]


def run_all(data: str, run: Path, minutes: float, out: Path) -> None:
    """Train all unfinished stages in `minutes`, with their state in `run`, then collect the six files in `out`."""
    run.mkdir(parents=True, exist_ok=True)
    beside: subprocess.Popen | None = None
    for stage in stages(run):
        if (run / stage.done).exists():
            logger.info("%s is there", stage.name)
            continue
        steps = planned_steps(stage, data, run, minutes)
        line = command(stage, data, run, run / stage.name, steps, run / stage.out)
        logger.info("%s: %d steps", stage.name, steps)
        if stage.name == "mask":
            beside = subprocess.Popen(line)
        else:
            subprocess.run(line, check=True)
    if beside is not None and beside.wait():
        raise subprocess.CalledProcessError(beside.returncode, "mask")
    gather(run, out)


def gather(run: Path, out: Path) -> None:
    """Copy the finished files from the folder of all stages to `out`, under the names that the renderer loads."""
    out.mkdir(parents=True, exist_ok=True)
    sources = {
        "unet": "motion_out/unet",
        "reference": "joint_out/reference",
        "vae": "joint_out/vae",
        "mask_predictor": "mask_predictor",
        "view_experts": "joint_out/view_experts",
        "mask_experts": "joint_out/mask_experts",
    }
    for name, source in sources.items():
        shutil.copyfile(run / f"{source}.safetensors", out / f"{name}.safetensors")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `train stage2`."""
    parser.add_argument("--data", default="data/avatars/train", help="folder of shards")
    parser.add_argument("--run", default="runs/stage2", help="folder of all stages; a second start goes on")
    parser.add_argument("--minutes", type=float, default=90)
    parser.add_argument("--out", required=True, help="folder of the six files")


def run(options: argparse.Namespace) -> None:
    """Run the trainings of the renderer that are not finished (`run_all`); its six files (see `gather`) go into
    `options.out`."""
    run_all(options.data, Path(options.run), options.minutes, Path(options.out))
