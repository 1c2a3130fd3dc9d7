"""One table: the renderer with one part switched off at a time, on held-out people.

    python -m stereotalker_core.evaluation.video.ablations --out table.md [--data data/avatars/val] [--people 40]
        [--renderer FOLDER] [--trained PART FOLDER ...]

The parts are switched off in the trained renderer. --trained adds a row for a renderer (folder of six
files) that was trained without this part (`train joint --without`) and is evaluated without it; PART "all": a renderer
with every part, trained with the same budget.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ... import checkpoint
from ...body.model import HalfBody
from ...video.rendering.nano import NanoRenderer
from ..bootstrap import bootstrap
from .render import Ablation, identity_scores, summary

SWITCHES = {
    "all": ("everything", Ablation()),
    "view": ("no view experts", Ablation(view_experts=False)),
    "mask": ("no mask experts", Ablation(mask_experts=False)),
    "predictor": ("the fit's silhouette as mask", Ablation(predicted_mask=False)),
    "lift": ("no lift", Ablation(lift=False)),
    "reference": ("no reference attention", Ablation(reference=False)),
    "motion": ("no temporal layers", Ablation(motion_modules=False)),
    "steps": ("4 steps", Ablation(steps=4)),
}
COLUMNS = ("psnr_fg_0_30", "psnr_fg_30_60", "psnr_fg_60_90", "psnr_face", "ssim_fg", "detail", "silhouette_error")


def table(
    renderer: NanoRenderer | None,
    data: str | Path,
    trained: Sequence[tuple[str, NanoRenderer]] = (),
    people: int | None = None,
) -> str:
    """Measure all switches -> Markdown.

    renderer: measured with each part switched off; None for only the trained ones.
    data: the validation split.
    trained: (part, renderer trained without it), one more row each.
    people: only the first so many; None for all.

    Where ("all", renderer) is among the trained ones, a second table says how much worse the others are, with the 95 %
    interval of the paired differences over the people."""
    body = HalfBody()
    runs = [(name, renderer, ablation) for name, ablation in SWITCHES.values()] if renderer is not None else []
    runs += [(f"{SWITCHES[part][0]}, trained so", other, SWITCHES[part][1]) for part, other in trained]
    found = [identity_scores(used, data, body, False, ablation, people) for _, used, ablation in runs]
    lines = _head(COLUMNS)
    for (name, _, _), scores in zip(runs, found, strict=True):
        values = summary(scores)
        lines.append(_row(name, [f"{values[c]['value']:.3f}" if c in values else "-" for c in COLUMNS]))
    parts = [part for part, _ in trained]
    if "all" in parts:
        own = dict(zip(parts, found[len(found) - len(parts) :], strict=True))
        lines += ["", *_head(COLUMNS)]
        for part in parts:
            if part != "all":
                cells = [difference([s.get(c) for s in own["all"]], [s.get(c) for s in own[part]]) for c in COLUMNS]
                lines.append(_row(f"{SWITCHES[part][0]}: lost", cells))
    return "\n".join(lines)


def difference(whole: Sequence[tuple[float, int] | None], less: Sequence[tuple[float, int] | None]) -> str:
    """Return the mean of whole - less over the people who have both, with its interval, as text.

    whole, less: (value, count) per person, None where it was not measured."""
    pairs = [a[0] - b[0] for a, b in zip(whole, less, strict=True) if a is not None and b is not None]
    if not pairs:
        return "-"
    found = bootstrap(pairs)
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def _head(columns: Sequence[str]) -> list[str]:
    return ["| renderer | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]


def _row(name: str, cells: Sequence[str]) -> str:
    return f"| {name} | " + " | ".join(cells) + " |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line of this module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", default="data/avatars/val")
    parser.add_argument("--renderer", default=str(checkpoint.NANO), help="folder of six files; none: only --trained")
    parser.add_argument("--trained", nargs=2, action="append", default=[], metavar=("PART", "FOLDER"))
    parser.add_argument("--people", type=int, help="only the first so many people")
    parser.add_argument("--out", required=True, help="the markdown file to write")
    options = parser.parse_args(arguments)
    if unknown := [part for part, _ in options.trained if part not in SWITCHES]:
        parser.error(f"--trained knows {', '.join(SWITCHES)}, not {', '.join(unknown)}")
    renderer = None if options.renderer == "none" else NanoRenderer.load(options.renderer)
    trained = [(part, NanoRenderer.load(folder)) for part, folder in options.trained]
    Path(options.out).write_text(table(renderer, options.data, trained, options.people) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
