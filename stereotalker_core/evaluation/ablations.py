"""One table: the renderer with one part switched off at a time, on held-out people.

    python -m stereotalker_core.evaluation.ablations --out table.md [--data data/avatars/val] [--renderer FOLDER ...]

The parts are switched off in the trained renderer, not trained without. --renderer: more rows, of renderers (folders
of six files) that were trained otherwise; an ablation with an equal budget is one of those.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from .. import checkpoint
from ..video.render import Renderer
from .render import Ablation, evaluate_render

SWITCHES = {
    "all": Ablation(),
    "no view experts": Ablation(view_experts=False),
    "no mask experts": Ablation(mask_experts=False),
    "the fit's silhouette as mask": Ablation(predicted_mask=False),
    "no reference attention": Ablation(reference=False),
    "no temporal layers": Ablation(motion_modules=False),
    "4 steps": Ablation(steps=4),
}
COLUMNS = ("psnr_fg_0_30", "psnr_fg_30_60", "psnr_fg_60_90", "psnr_face", "ssim_fg", "psnr_fg_est")


def table(renderers: Sequence[tuple[str, Renderer]], data: str | Path, quick: bool = False) -> str:
    """Markdown: a row for every switch of the first renderer, then one a further renderer; "-": not measured."""
    runs = [(name, renderers[0][1], ablation) for name, ablation in SWITCHES.items()]
    runs += [(name, renderer, Ablation()) for name, renderer in renderers[1:]]
    lines = ["| renderer | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for name, renderer, ablation in runs:
        found = evaluate_render(renderer, data, quick, ablation)["metrics"]
        cells = (f"{found[c]['value']:.3f}" if c in found else "-" for c in COLUMNS)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line of this module."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="data/avatars/val")
    parser.add_argument("--renderer", nargs="*", default=[str(checkpoint.NANO)], help="folders, the first is switched")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", required=True, help="the markdown file to write")
    options = parser.parse_args(arguments)
    text = table([(Path(f).name, Renderer.load(f)) for f in options.renderer], options.data, options.quick)
    Path(options.out).write_text(text + "\n")


if __name__ == "__main__":
    main()
