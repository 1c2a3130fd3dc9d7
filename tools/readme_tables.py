"""Write what is generated in the documents: README's headline numbers, docs/models.md and docs/tree.md.

`python tools/readme_tables.py` rewrites them from the checkpoints' metadata, the last evaluation and the modules'
docstrings; `--check` only tells whether they are up to date.
"""

import ast
import json
import re
import sys
from pathlib import Path

from safetensors import safe_open

ROOT = Path(__file__).resolve().parents[1]
CORE = ROOT / "stereotalker_core"
HEADLINES = ("psnr_fg_0_30", "psnr_fg_60_90", "psnr_face", "mask_moe_gain_db")  # of stage 2
FOLDERS = {
    "nodes": "ComfyUI nodes: translate sockets, call the core once, translate back",
    "tools": "documents, help pages and graphs; not needed at run time",
    "tools/body": "builders of the body's assets",
    "tools/pictures": "painters of the pictures in documents, and of the example people",
    "tools/perception": "converters of the perception networks",
    "benchmarks": "speed and memory of the main job",
}


def main() -> int:
    """Rewrite the documents, or compare them with --check -> exit status, 1 where one is out of date."""
    parts = {
        "README.md": {"headlines": headlines},
        "docs/models.md": {"models": models, "stage 1": stage_1, "stage 2": stage_2},
        "docs/tree.md": {"tree": tree},
    }
    stale = []
    for name, bodies in parts.items():
        path = ROOT / name
        before = after = path.read_text(encoding="utf-8")
        for marker, body in bodies.items():
            after = replace(after, marker, body())
        if after != before:
            stale.append(name)
        if "--check" not in sys.argv[1:]:
            path.write_text(after, encoding="utf-8")
    if "--check" in sys.argv[1:] and stale:
        print(f"{', '.join(stale)} out of date: run `make readme`")
        return 1
    return 0


def replace(text: str, name: str, body: str) -> str:
    """Return the text with `body` between <!-- name --> and <!-- /name -->."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    head, _, rest = text.partition(start)
    _, _, tail = rest.partition(end)
    return f"{head}{start}\n{body}\n{end}{tail}"


def tree() -> str:
    """Return the tables of docs/tree.md, one per folder: name of each file and the first sentence of its docstring."""
    lines = []
    rooms = {str(f.parent.relative_to(ROOT)): first_sentence(f) for f in sorted(CORE.rglob("__init__.py"))}
    for folder, meaning in ({"nodes": FOLDERS["nodes"]} | rooms | FOLDERS).items():
        files = [f for f in sorted((ROOT / folder).glob("*.py")) if f.name != "__init__.py"]
        if files:
            lines += [f"## {folder}/", meaning[0].upper() + meaning[1:] + ".", "", "| file | what |", "|---|---|"]
            lines += [f"| {f.name} | {first_sentence(f)} |" for f in files] + [""]
    return "\n".join(lines).rstrip()


def first_sentence(path: Path) -> str:
    """Return the first sentence of a module's docstring, on one line, without its full stop."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(text.partition("\n\n")[0].split())
    return re.split(r"(?<!et al)\.(?= [A-Z`]|$)", paragraph)[0].replace("|", "\\|")


def models() -> str:
    """Return a table of the networks: file, size, parameters, training cost and headline metrics, from their metadata.
    """
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


MEASURED = "time not in the file, see [seconds a step](training.md#what-the-nano-trainers-cost)"
# what is asked of stage 1; Frechet distances are compared with each other
ASKED = {
    "jaw_correlation": ">= 0.85", "mouth_correlation": ">= 0.75", "closure_recall": ">= 0.90",
    "closure_recall_espeak": "", "closure_recall_flite": "", "closure_recall_kokoro": "", "closure_false": "<= 0.05",
    "real_closure_recall": ">= 0.80", "real_lag_ms": "-40 .. 40", "meaning_recall_off": "", "meaning_recall_audio": "",
    "meaning_recall_text": ">= 0.55", "meaning_gain_audio": ">= 0.15", "meaning_gain_text": ">= 0.35",
    "beat_alignment_ratio": "0.9 .. 1.1", "diversity_ratio": "0.8 .. 1.2", "frechet_model": "below the next three",
    "frechet_nearest": "", "frechet_no_audio": "", "frechet_mean": "", "frechet_teacher": "",
    "seam_acceleration_ratio": "<= 1.1", "realtime_factor": ">= 10",
    "speechless_open_music": "<= 0.05", "speechless_open_beside": "<= 0.05", "speechless_open_room": "<= 0.05",
    "speechless_open_silence": "<= 0.05", "speechless_open_pauses": "<= 0.05", "rest_share": "0.15 .. 0.40",
    "head_yaw_range": ">= 14", "arm_jerk_frames": "0", "arm_jerk_frames_text": "0", "energy_effect": ">= 1.8",
    "real_closure_reverb": ">= 0.80", "real_closure_telephone": ">= 0.80", "real_closure_music10": ">= 0.80",
    "real_closure_recall_librivox": "", "real_closure_recall_cards": "", "meaning_real_audio": ">= 0.40",
    "meaning_real_text": ">= 0.75", "spotted_false": "",
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


# README: what a user feels first; the tables of docs/models.md have the rest
HEADLINES_OF_README = {
    "real_closure_recall": ("motion", "lips that close on p, b, m in real recordings", ".0%"),
    "meaning_recall_text": ("motion", "gestures that mean the word, with a transcript", ".0%"),
    "realtime_factor": ("motion", "speech to motion, times real time on one core", ".0f"),
    "psnr_face": ("render", "face of held-out synthetic people, true fits, dB", ".1f"),
    "psnr_fg_0_30": ("render", "person at yaw 0 to 30, true fits, dB", ".1f"),
    "psnr_fg_est_0_30": ("render", "the same with the fit estimated from the portrait, dB", ".1f"),
    "mask_iou": ("render", "mask of the person, IoU", ".3f"),
    "flicker_ratio": ("render", "flicker, over the true video's", ".2f"),
}


def headlines() -> str:
    """Return the eight headline numbers of both stages as last evaluated."""
    known = {name: measured(name) for name in ("motion", "render")}
    lines = ["| held out | value | 95 % interval |", "|---|---|---|"]
    for name, (source, told, spec) in HEADLINES_OF_README.items():
        if name in known[source]:
            value, low, high = (format(known[source][name][key], spec) for key in ("value", "low", "high"))
            lines.append(f"| {told} | {value} | {low} .. {high} |")
    return "\n".join(lines)


def stage_1() -> str:
    """Return the size, cost and data of the networks of stage 1 from their metadata, and their metrics as last
    evaluated."""
    rows = []
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
    metrics = measured("motion")  # of the networks together: another encoder changes them, too
    head = ["| network | M parameters | MB | training | data |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows, "", *held_out(metrics, ASKED)])


def stage_2() -> str:
    """Return the renderer's held-out metrics as last measured; they also change with the fit, without new weights."""
    return "\n".join(held_out(measured("render"), ASKED_2))


def measured(stage: str) -> dict:
    """Return the last evaluation of a stage, "motion" or "render": {name: {"value", "low", "high"}}."""
    return json.loads((ROOT / "docs" / "metrics" / f"{stage}.json").read_text(encoding="utf-8"))["metrics"]


def held_out(metrics: dict, wanted: dict[str, str]) -> list[str]:
    """Return the lines of a table: metrics with their intervals and the required values.

    wanted: {metric: required value as text}."""
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
