"""Write the generated parts of README.md: the tree (from the modules' docstrings) and the table of nano models.

`python tools/readme_tables.py` rewrites them, `--check` only tells whether they are up to date.
"""

import ast
import json
import re
import sys
from pathlib import Path

from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
CORE = ROOT / "stereotalker_core"
WIDTH = 118
HEADLINES = ("psnr_fg_0_30", "psnr_fg_60_90", "psnr_face", "mask_moe_gain_db")  # of stage 2
FOLDERS = {
    "nodes": "ComfyUI nodes: translate sockets, call the core once, translate back",
    "stereotalker_core": "the library: no ComfyUI, no global state",
    "stereotalker_core/audio": "recordings and what the networks hear in them",
    "stereotalker_core/body": "the parametric half body, portrait fitting, texture lift",
    "stereotalker_core/camera": "projection and camera paths",
    "stereotalker_core/commands": "one file per group of commands",
    "stereotalker_core/convert": "public weights -> our classes, with a report of every key",
    "stereotalker_core/evaluation": "held-out metrics",
    "stereotalker_core/face": "emotional face motion",
    "stereotalker_core/motion": "stage 1: speech -> motion",
    "stereotalker_core/perception": "people of a photograph: MediaPipe's networks in plain torch",
    "stereotalker_core/synthetic": "procedural talking avatars: training and test data",
    "stereotalker_core/training": "one loop, one small file per model",
    "stereotalker_core/video": "stage 2: motion + identity + cameras -> frames",
    "tools": "build scripts, not needed at run time",
    "benchmarks": "speed and memory of the main job",
}


def main() -> int:
    """Rewrite README.md, or compare with --check; 1 where it is out of date."""
    before = README.read_text(encoding="utf-8")
    after = before
    for name, body in (("tree", tree), ("models", models), ("stage 1", stage_1), ("stage 2", stage_2)):
        after = replace(after, name, body())
    if "--check" in sys.argv[1:]:
        if after != before:
            print("README.md is out of date: run `make readme`")
        return int(after != before)
    README.write_text(after, encoding="utf-8")
    return 0


def replace(text: str, name: str, body: str) -> str:
    """Put body between <!-- name --> and <!-- /name -->."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    head, _, rest = text.partition(start)
    _, _, tail = rest.partition(end)
    return f"{head}{start}\n{body}\n{end}{tail}"


def tree() -> str:
    """One line a file: its name and the first sentence of its docstring."""
    lines = ["```"]
    for folder, meaning in FOLDERS.items():
        files = sorted((ROOT / folder).glob("*.py"))
        files = [f for f in files if f.name != "__init__.py"]
        if not files:
            continue
        lines.append(_cut(f"{folder + '/':<31} {meaning}"))
        lines += [_cut(f"  {f.name:<29} {first_line(f)}") for f in files]
    return "\n".join([*lines, "```"])


def first_line(path: Path) -> str:
    """First line of a module's docstring without its full stop."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.partition("\n")[0].rstrip(".")


def _cut(line: str) -> str:
    """A line that is too long ends at the last clause that fits."""
    if len(line) <= WIDTH:
        return line
    ends = [m.start() for m in re.finditer(r"[:;,.(](?= )|(?<= )\(", line) if 45 < m.start() <= WIDTH]
    return line[: ends[-1]].rstrip() if ends else line[:WIDTH].rsplit(" ", 1)[0]


def models() -> str:
    """File, size, parameters, training cost and headline metrics from the checkpoints' own metadata."""
    rows, total = [], 0
    for path in sorted((CORE / "checkpoints" / "nano").glob("*.safetensors")):
        with safe_open(path, "pt") as file:
            meta = file.metadata() or {}
            count = sum(_product(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
        total += path.stat().st_size
        known = json.loads(meta.get("metrics", "{}"))
        known.pop("training", None)  # what it was trained on, no figure
        chosen = [name for name in HEADLINES if name in known] or list(known)[:4]
        told = ", ".join(f"{name} {_number(known[name])}" for name in chosen) or "-"
        size = path.stat().st_size / 1e6
        rows.append(f"| {path.name} | {meta.get('model', '?')} | {size:.1f} | {count / 1e6:.2f} | {told} |")
    head = ["| file | model | MB | M parameters | from its metadata |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows, f"| **together** | | **{total / 1e6:.1f}** | | |"])


MEASURED = "time not in the file, see [seconds a step](docs/training.md#what-the-nano-trainers-cost)"
# what is asked of stage 1; Frechet distances are compared with each other
ASKED = {
    "jaw_correlation": ">= 0.85", "mouth_correlation": ">= 0.75", "closure_recall": ">= 0.90",
    "closure_recall_espeak": "", "closure_recall_flite": "", "closure_recall_kokoro": "", "closure_false": "<= 0.05",
    "real_closure_recall": ">= 0.80", "real_lag_ms": "-40 .. 40", "meaning_recall_off": "", "meaning_recall_audio": "",
    "meaning_recall_text": ">= 0.55", "meaning_gain_audio": ">= 0.15", "meaning_gain_text": ">= 0.35",
    "beat_alignment_ratio": "0.9 .. 1.1", "diversity_ratio": "0.8 .. 1.2", "frechet_model": "below the next three",
    "frechet_nearest": "", "frechet_no_audio": "", "frechet_mean": "", "frechet_teacher": "",
    "seam_acceleration_ratio": "<= 1.1", "realtime_factor": ">= 10",
}  # fmt: skip
# the same of stage 2: fg is the person, _est with the fit estimated from the portrait; lift alone: the photo's pixels
ASKED_2 = {
    "psnr_fg_0_30": ">= 28", "psnr_fg_30_60": ">= 26.5", "psnr_fg_60_90": ">= 25.5", "psnr_face": ">= 28.5",
    "ssim_fg_0_30": ">= 0.90", "ssim_fg_30_60": ">= 0.88", "ssim_fg_60_90": ">= 0.85", "detail": ">= 0.85",
    "gain_fg_0_30": ">= 2", "gain_fg_30_60": ">= 2.5", "gain_fg_60_90": ">= 3.2",
    "psnr_fg_est_0_30": "", "psnr_fg_est_30_60": "", "psnr_fg_est_60_90": "",
    "gain_fg_est_0_30": ">= 2", "gain_fg_est_30_60": ">= 2", "gain_fg_est_60_90": ">= 2",
    "mask_iou": ">= 0.97", "region_miou": ">= 0.85", "hair_recall": ">= 0.9", "mask_iou_est": "", "hair_recall_est": "",
    "view_moe_gain_db": "> 0", "mask_moe_gain_db": "> 0", "flicker_ratio": "<= 1.2", "seam_ratio": "<= 1",
    "identity_drift_db": "<= 0.3", "sweep_outlier": "<= 2", "disparity_right": "1",
}  # fmt: skip


def stage_1() -> str:
    """Size, cost and data of the networks of stage 1, and the denoiser's held-out metrics, from their metadata."""
    rows, metrics = [], {}
    for name in ("audio_encoder", "prior", "motion_denoiser"):
        path = CORE / "checkpoints" / "nano" / f"{name}.safetensors"
        with safe_open(path, "pt") as file:
            meta = file.metadata() or {}
            count = sum(_product(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118
        steps = f"{meta['steps']} steps, time not recorded" if "steps" in meta else "not recorded"
        told = [meta.get("cost", steps), meta.get("data", "not recorded, see its command")]
        rows.append(
            f"| {meta['model']} | {count / 1e6:.2f} | {path.stat().st_size / 1e6:.1f} "
            f"| {told[0].replace('time not recorded', MEASURED)} | {told[1]} |"
        )
        metrics = json.loads(meta.get("metrics", "{}"))
    head = ["| network | M parameters | MB | training | data |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows, "", *held_out(metrics, ASKED)])


def stage_2() -> str:
    """The renderer's held-out metrics as last measured: a better fit changes them as well, without new weights."""
    found = json.loads((ROOT / "docs" / "metrics" / "render.json").read_text(encoding="utf-8"))
    return "\n".join(held_out(found["metrics"], ASKED_2))


def held_out(metrics: dict, wanted: dict[str, str]) -> list[str]:
    """Lines of a table: the metrics among those wanted, with their intervals and what is asked."""
    table = ["| held out | value | 95 % interval | asked |", "|---|---|---|---|"]
    for name, asked in wanted.items():
        if name in metrics:
            value, low, high = (f"{metrics[name][key]:.3g}" for key in ("value", "low", "high"))
            table.append(f"| {name} | {value} | {low} .. {high} | {asked} |")
    return table


def _number(value: object) -> str:
    value = value.get("value", "") if isinstance(value, dict) else value
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _product(shape: list[int]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total


if __name__ == "__main__":
    sys.exit(main())
