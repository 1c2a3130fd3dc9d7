"""`evaluate photos`: how well photographs are rendered, over a folder of them, as a table with intervals.

Every photograph's row is written as soon as it is finished, so that an interrupted run continues where it stopped; rows
of another version of the package, or of other settings, are measured again."""

import hashlib
import json
import multiprocessing
import os
import random
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ..bootstrap import bootstrap
from .identity import cosine
from .rows import Row, Settings, measure
from .sheet import write_sheet, write_worst

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
METRICS = {  # name: what it says, in the table's order
    "landmark_error": "eyes, brows, nose, jaw line at yaw 0, over the eyes' distance",
    "face_lost": "share without a face at yaw 0",
    "eye_opening": "lids, over the photograph's",
    "eye_within": "share of eyes within 20 % of the photograph's",
    "eye_within_10": "share within 10 %",
    "iris_contrast": "white minus iris, over the photograph's",
    "lips_shut": "inner gap over mouth width where the motion is most shut",
    "lips_photo": "the same of the photograph",
    "face_detail": "gradient energy of the face, over the photograph's",
    "side_hair": "unseen hair at +-60 degrees within the colours of the seen hair",
    "hands_photo": "hands in the photograph",
    "hands_seen": "hands in a frame",
    "hands_most": "hands in a frame, at most",
    "ghost_frames": "share of frames with more than two hands",
    "ghost_hands": "share of photographs with such a frame",
    "hand_error": "drawn hands from where the motion puts them, over the head's height",
    "hand_found": "share of the motion's hands found there",
    "below_edge_detail": "gradient energy of continued clothes, over the seen ones'",
    "below_edge_photo": "the same of half bodies' photographs, where portraits end",
    "below_edge_calm": "the same without the strongest tenth of either: edges between two things",
    "hand_tone": "colour distance of hands and cheeks, dE",
    "hand_tone_photo": "the same of the photograph",
    "hand_tone_lit": "colour distance of hands and cheeks under the same light, dE",
    "hand_tone_lit_photo": "the same of the photograph",
    "hand_tone_own": "colour distance of hands and the photograph's hands, or the cheeks where it shows none, dE",
    "matte_iou": "mask against the colour key of a studio backdrop",
    "keyed": "share of head-and-shoulder crops with a trustworthy key",
    "self_psnr": "own pose and camera, inside the matte, dB",
    "self_ssim": "the same as SSIM",
    "identity_0": "dlib cosine to the photograph at yaw 0",
    "identity_20": "at +-20 degrees",
    "identity_30": "at +-30 degrees",
    "identity_40": "at +-40 degrees",
    "identity_strangers": "between different photographs",
    "quality": "what the fit says of itself",
    "fit_seconds": "perception and fit, CPU seconds of one thread",
    "perception_seconds": "perception alone",
}
Progress = Callable[[int, int, Row], None]  # done, total, the finished row
Metrics = dict[str, dict[str, float]]


def find_photos(folder: str | Path, count: int | None = None, seed: int = 0) -> list[Path]:
    """Return the pictures of a folder, sorted by name; count: a random sample of that size.

    ValueError where there are none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; give one that holds photographs")
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        raise ValueError(f"{folder} holds no {', '.join(SUFFIXES)} files")
    if count is None or count >= len(found):
        return found
    if count < 1:
        raise ValueError(f"--count must be at least 1, got {count}")
    return sorted(random.Random(seed).sample(found, count))


def evaluate_photos(
    photos: Sequence[Path],
    settings: Settings,
    workers: int = 1,
    progress: Progress | None = None,
) -> list[Row]:
    """Measure photographs -> for each, in the given order, the row {figure: value} of `rows.measure`.

    photos: the files.
    settings: with `out`, rows, frames and contact sheets are stored there, and finished rows are not measured again.
    workers: number of processes, of one thread each.
    progress: called after each photograph."""
    if workers < 1:
        raise ValueError(f"--workers must be at least 1, got {workers}")
    version = fingerprint(settings)
    rows: dict[Path, Row] = {}
    for path in photos:
        kept = read_row(row_file(settings, path), version, path)
        if kept is not None:
            rows[path] = kept
    todo = [path for path in photos if path not in rows]
    for path, row in _measured(todo, settings, version, min(workers, max(1, len(todo)))):
        rows[path] = row
        if progress:
            progress(len(rows), len(photos), row)
    if settings.out:
        write_worst([rows[path] for path in photos], Path(settings.out))
    return [rows[path] for path in photos]


def _measured(todo: Sequence[Path], settings: Settings, version: str, workers: int) -> Iterator[tuple[Path, Row]]:
    """Measure photographs in `workers` processes; yield (path, row) of each as soon as it is finished.

    todo: the photographs; settings, version: as in `measure_and_keep`."""
    if workers == 1:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for path in todo:
                yield path, measure_and_keep(path, settings, version)
        finally:
            torch.set_num_threads(threads)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, torch.set_num_threads, (1,)) as pool:
        running = {pool.submit(measure_and_keep, path, settings, version): path for path in todo}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        finally:
            pool.shutdown(cancel_futures=True)


def measure_and_keep(path: Path, settings: Settings, version: str) -> Row:
    """Measure one photograph; write its contact sheet, then its row, which marks the photograph as finished.

    settings: what is measured, and where it is stored; version: from `fingerprint`, stored in the row."""
    row = measure(path, settings) | {"version": version, "bytes": path.stat().st_size}
    target = row_file(settings, path)
    if settings.out and target:
        write_sheet(row, Path(settings.out))
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_suffix(f".{os.getpid()}.tmp")
        unfinished.write_text(json.dumps(row, indent=1) + "\n")
        unfinished.replace(target)
    return row


def row_file(settings: Settings, path: Path) -> Path | None:
    """Return the file of a photograph's row; None where the settings store nothing."""
    return Path(settings.out) / "rows" / f"{path.name}.json" if settings.out else None


def read_row(file: Path | None, version: str, path: Path) -> Row | None:
    """Return the row {figure: value} in a file if it belongs to this version and photograph, else None.

    version: from `fingerprint`; path: the photograph."""
    if file is None or not file.is_file():
        return None
    row = json.loads(file.read_text(encoding="utf-8"))
    return row if row.get("version") == version and row.get("bytes") == path.stat().st_size else None


def fingerprint(settings: Settings) -> str:
    """Return a digest that changes with the package's code, its weights, and the settings that affect a figure."""
    digest = hashlib.sha256()
    core = Path(__file__).parents[2]
    for file in sorted(path for path in core.rglob("*") if path.suffix in (".py", ".safetensors")):
        digest.update(str(file.relative_to(core)).encode() + hashlib.sha256(file.read_bytes()).digest())
    chosen = asdict(settings) | {"out": None, "speech": hashlib.sha256(Path(settings.speech).read_bytes()).hexdigest()}
    digest.update(json.dumps(chosen, sort_keys=True).encode())
    return digest.hexdigest()[:16]


def summary(rows: Sequence[Row]) -> Metrics:
    """Average the rows -> {name: {"value", "low", "high", "count"}}, with 95 % intervals over photographs; a row
    without a figure is left out of that figure's mean."""
    rows = _with_strangers(rows)
    metrics = {"refused": bootstrap([float(row["refused"] is not None) for row in rows]) | {"count": len(rows)}}
    for name in METRICS:
        values = [float(row[name]) for row in rows if row.get(name) is not None]
        if values:
            metrics[name] = bootstrap(values) | {"count": len(values)}
    return metrics


def _with_strangers(rows: Sequence[Row]) -> list[Row]:
    """Return the rows, with "identity_strangers" where there is an embedding: the mean cosine with all other
    photographs."""
    known = [row for row in rows if "embedding" in row]
    if len(known) < 2:
        return list(rows)
    out = [row for row in rows if "embedding" not in row]
    for row in known:
        others = [cosine(row["embedding"], other["embedding"]) for other in known if other is not row]
        out.append(row | {"identity_strangers": sum(others) / len(others)})
    return out


def report(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the result of an evaluation as plain values for JSON.

    {"metrics": `summary` of all rows, "kinds": {kind of photograph: its summary}, "refused": {file: reason},
    "unjudged": [files in which the judge found no face], "rows": all rows without their embeddings}."""
    kinds = {"half_body": [], "portrait": []}
    for row in rows:
        if row["refused"] is None:
            kinds["half_body" if row["half_body"] else "portrait"].append(row)
    return {
        "metrics": summary(rows),
        "kinds": {kind: summary(own) for kind, own in kinds.items() if own and len(own) < len(rows)},
        "refused": {row["file"]: row["refused"] for row in rows if row["refused"] is not None},
        "unjudged": [row["file"] for row in rows if row.get("unjudged")],
        "rows": [{name: value for name, value in row.items() if name != "embedding"} for row in rows],
    }


def table(found: dict[str, Any]) -> str:
    """Return the result of `report` as a Markdown table: one row per figure, one column for all photographs and one per
    kind, cells "value (low .. high)"."""
    columns = {"all": found["metrics"]} | found["kinds"]
    counts = [f"{name} ({metrics['refused']['count']})" for name, metrics in columns.items()]
    lines = [f"| figure | {' | '.join(counts)} | what |", "|---" * (len(columns) + 2) + "|"]
    for name, what in ({"refused": "share that was refused"} | METRICS).items():
        cells = [_cell(metrics.get(name)) for metrics in columns.values()]
        if any(cell != "-" for cell in cells):
            lines.append(f"| {name} | {' | '.join(cells)} | {what} |")
    lines += [f"refused: {file}: {why}" for file, why in found["refused"].items()]
    if found["unjudged"]:
        lines.append(f"drawn, but the judge sees nobody in the photograph: {', '.join(found['unjudged'])}")
    return "\n".join(lines)


def _cell(metric: dict[str, float] | None) -> str:
    return "-" if metric is None else f"{metric['value']:.3f} ({metric['low']:.3f} .. {metric['high']:.3f})"
