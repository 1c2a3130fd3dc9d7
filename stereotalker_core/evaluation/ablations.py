"""One table: the renderer with one part switched off at a time, on held-out people.

    python -m stereotalker_core.evaluation.ablations --out table.md [--data data/avatars/val] [--people 40]
        [--renderer FOLDER] [--trained PART FOLDER ...]

The parts are switched off in the trained renderer. --trained: one more row, of a renderer (folder of six files) that
`training.joint --without` trained without this part, evaluated without it; "all" is one with everything, trained with
the same budget.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from .. import checkpoint
from ..video.render import Renderer
from .render import Ablation, evaluate_render

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
COLUMNS = ("psnr_fg_0_30", "psnr_fg_30_60", "psnr_fg_60_90", "psnr_face", "ssim_fg", "psnr_fg_est")


def table(
    renderer: Renderer | None, data: str | Path, trained: Sequence[tuple[str, Renderer]] = (), people: int | None = None
) -> str:
    """Markdown: a row for every switch of `renderer`, then one for each (part, renderer trained without it)."""
    runs = [(name, renderer, ablation) for name, ablation in SWITCHES.values()] if renderer is not None else []
    runs += [(f"{SWITCHES[part][0]}, trained so", other, SWITCHES[part][1]) for part, other in trained]
    lines = ["| renderer | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, used, ablation in runs:
        found = evaluate_render(used, data, ablation=ablation, people=people)["metrics"]
        cells = (f"{found[c]['value']:.3f}" if c in found else "-" for c in COLUMNS)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="data/avatars/val")
    parser.add_argument("--renderer", default=str(checkpoint.NANO), help="folder of six files; none: only --trained")
    parser.add_argument("--trained", nargs=2, action="append", default=[], metavar=("PART", "FOLDER"))
    parser.add_argument("--people", type=int, help="only the first so many people")
    parser.add_argument("--out", required=True, help="the markdown file to write")
    options = parser.parse_args(arguments)
    if unknown := [part for part, _ in options.trained if part not in SWITCHES]:
        parser.error(f"--trained knows {', '.join(SWITCHES)}, not {', '.join(unknown)}")
    renderer = None if options.renderer == "none" else Renderer.load(options.renderer)
    trained = [(part, Renderer.load(folder)) for part, folder in options.trained]
    Path(options.out).write_text(table(renderer, options.data, trained, options.people) + "\n")


if __name__ == "__main__":
    main()
