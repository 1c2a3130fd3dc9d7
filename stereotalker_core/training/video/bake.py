"""Train the network of the bake on pictures of the rig (synthetic/data/bake_data.py), from nothing or from a file.

    python -m stereotalker_core train bake --data data/bake --run runs/bake --minutes 30 --out bake.safetensors

Most draws are nothing but noise, as the first step of sampling sees them; the others lie between the truth and noise.
A person counts by the logarithm of the error, as in the mean of decibels over pictures. `--minutes` measures a few
steps and keeps the count it finds; a killed run continues exactly.
"""

import argparse
import json
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ... import checkpoint
from ...body.model import HalfBody
from ...body.texture.rig import FITS, RIG_ATLAS, Rig
from ...synthetic.data.bake_data import read, read_fits, unpacked
from ...video.networks.bake_network import NOISE, BakeConfig, BakeNetwork
from ..loop import Batch, Schedule, fit, generator
from ..provenance import after, cost, made

PARTS = ("view_experts", "mask_experts", "across_views", "reference")  # what --without leaves out
PURE = 0.6  # share of the draws that are nothing but noise
_FLOOR = 1e-3  # squared error below which a person counts no more
_BELOW, _BELOW_WEIGHT = 0.02, 0.1  # m: what lies lower is hardly ever in a picture
_SEEN_WEIGHT = 0.02
_TINT, _CROP = 0.5, 0.2  # shares of people whose colours are changed, and who are cut off below
_PROBE = 6


class BakeBatches:
    """The source of training batches: called with a step, it returns a dictionary of B people, with values at the P
    pixels of the rig.

    Colours are in [-1, 1]; true ones may lie a little above 1.
    "lift": (B, P, 3), the colours that the portrait gives; "visibility": (B, P, 1) in [0, 1], what the portrait showed.
    "truth": (B, P, 3), the true colours; "known": (B, P, 1), 1 where the truth is a finite number, else 0.
    "noise": (B, P, 3), Gaussian; "level": (B,) in 0..1, how much of it the network's input holds (1 = nothing else).
    "fit": (B,), place in FITS.

    rig: tables of the body's rig, whose P pixels show the surface from all sides.
    data: one or more arrays (people, P, CHANNELS) uint8, as from `bake_data.read`.
    shares: how often a person is drawn from each of these arrays, relative to the others.
    batch: B.
    seed: determines, with the step, what is drawn.
    pure: share of the draws whose level is 1.
    fits: (people,) places in FITS for each array of data; None for all "registered"."""

    def __init__(
        self,
        rig: Rig,
        data: Sequence[np.ndarray],
        shares: Sequence[float],
        batch: int = 3,
        seed: int = 0,
        pure: float = PURE,
        fits: Sequence[np.ndarray] | None = None,
    ) -> None:
        self.rig, self.data, self.batch, self.seed, self.pure = rig, list(data), batch, seed, pure
        self.fits = [np.full(len(rows), len(FITS) - 1) for rows in self.data] if fits is None else list(fits)
        self.shares = np.asarray(shares, dtype=float) / sum(shares)

    def __call__(self, step: int) -> Batch:
        rng = generator(self.seed, step)
        rows, fits = [], []
        for _ in range(self.batch):
            source = rng.choice(len(self.data), p=self.shares)
            place = rng.integers(len(self.data[source]))
            rows.append(torch.from_numpy(np.array(self.data[source][place])))
            fits.append(int(self.fits[source][place]))
        example = unpacked(torch.stack(rows))
        lift, visibility, truth = example.lift, example.visibility, example.truth
        known = torch.isfinite(truth[..., :1]).float()
        for i in range(self.batch):
            if rng.random() < 0.5:
                lift[i], visibility[i], truth[i] = (x[i, self.rig.mirror] for x in (lift, visibility, truth))
            if rng.random() < _TINT:
                gain = torch.from_numpy(rng.uniform(0.75, 1.2, 3).astype(np.float32) * rng.uniform(0.8, 1.1))
                lift[i], truth[i] = ((x[i] + 1) * gain - 1 for x in (lift, truth))
            if rng.random() < _CROP:
                lift[i], visibility[i] = _cut(self.rig, lift[i], visibility[i], float(rng.uniform(0.1, 0.5)))
        level = np.where(rng.random(self.batch) < self.pure, 1.0, rng.uniform(0.05, 1.0, self.batch))
        atlas = torch.from_numpy(rng.standard_normal((self.batch, RIG_ATLAS**2, 3), dtype=np.float32))
        return {
            "lift": lift.clamp(-1, 1),
            "visibility": visibility,
            "truth": truth,
            "known": known,
            "noise": atlas[:, self.rig.texel.cpu()] * NOISE,
            "level": torch.from_numpy(level.astype(np.float32)),
            "fit": torch.tensor(fits),
        }


def _cut(rig: Rig, lift: Tensor, visibility: Tensor, height: float) -> tuple[Tensor, Tensor]:
    """Return the lift (P, 3) and visibility (P, 1) of a portrait that ends at a height, with one colour below it.

    rig: tables of the body; lift, visibility: of the whole portrait; height: m above the origin of the body."""
    below = rig.position[:, 2].cpu() < height
    cloth = (rig.region[:, 0].cpu() > 0.5) & (visibility[:, 0] > 0.5) & ~below
    colour = lift[cloth].median(0).values if int(cloth.sum()) > 30 else lift.new_full((3,), -0.5)
    return torch.where(below[:, None], colour, lift), visibility * ~below[:, None]


def loss_of(rig: Rig, precision: str = "fp32"):
    """Return the function (network, batch of `BakeBatches`) -> (loss (), {"psnr", "psnr_pure": dB}).

    "psnr" is of all people of the batch, "psnr_pure" of those for whom the network's input was noise alone.
    rig: tables of the body; precision: "fp32" or "bf16"."""
    weight = torch.where(rig.position[:, 2] < _BELOW, _BELOW_WEIGHT, 1.0) * ~rig.inner

    def loss(model: BakeNetwork, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        level = batch["level"][:, None, None]
        noisy = torch.lerp(batch["truth"], batch["noise"], level)
        with _autocast(rig.yaw.device, precision):
            found = model(rig, batch["lift"], batch["visibility"], noisy, batch["level"], fit=batch["fit"])
        squared = (found.float() - batch["truth"]).square().mean(-1)
        counts = ((1 - batch["visibility"][..., 0]).clamp_min(_SEEN_WEIGHT)) * weight
        mean = (squared * counts).sum(1) / counts.sum(1)
        decibels = -10 * torch.log10(mean.detach() / 4)
        pure = batch["level"] == 1
        parts = {"psnr": float(decibels.mean())}
        parts["psnr_pure"] = float(decibels[pure].mean()) if bool(pure.any()) else parts["psnr"]
        return (mean + _FLOOR).log().mean(), parts

    return loss


def _autocast(device: torch.device, precision: str) -> AbstractContextManager:
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()


def planned_steps(model: BakeNetwork, batches: BakeBatches, loss, run: Path, minutes: float) -> int:
    """Return the number of training steps that fit into a time; it is measured once and stored in the folder `run`.

    model, batches, loss: what is trained, run for a few steps to measure them; run: folder of the training state;
        minutes: the time."""
    path = run / "plan.json"
    if not path.is_file():
        device = next(model.parameters()).device
        started = time.perf_counter()
        for step in range(_PROBE):
            if step == 1:
                started = time.perf_counter()
            loss(model, {k: v.to(device) for k, v in batches(step).items()})[0].backward()
        spent = (time.perf_counter() - started) / (_PROBE - 1)
        model.zero_grad(set_to_none=True)
        run.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"steps": max(_PROBE, round(60 * minutes / spent))}), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))["steps"]


def started(path: str | Path) -> BakeNetwork:
    """Load a network to go on training; one that was not told how people were fitted is told from now on."""
    model = checkpoint.load(BakeNetwork, path)
    if model.config.fits:
        return model
    told = BakeNetwork(replace(model.config, fits=True))
    told.load_state_dict(model.state_dict(), strict=False)
    return told


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `train bake`."""
    parser.add_argument("--data", nargs="+", default=["data/bake"], help="folders of `synth bake`")
    parser.add_argument("--photos", help="folder of `synth bake-photos`, mixed in")
    parser.add_argument("--photo-share", type=float, default=0.25, help="of the draws")
    parser.add_argument("--run", default="runs/bake")
    parser.add_argument("--out", required=True, help="bake.safetensors")
    parser.add_argument("--steps", type=int, help="instead of --minutes")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--batch", type=int, default=3)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    pure = f"share of the draws that are noise alone, {PURE:g} by default; 1 trains the first step of a bake only"
    parser.add_argument("--pure", type=float, default=PURE, metavar="X", help=pure)
    parser.add_argument("--start", help="a bake.safetensors to go on from")
    parser.add_argument("--without", choices=PARTS, help="an ablation")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="bf16", choices=("bf16", "fp32"))


def run(options: argparse.Namespace) -> None:
    """Train the network of the bake and write its file."""
    torch.manual_seed(options.seed)
    rig = Rig(HalfBody())
    data, fits = [read(folder) for folder in options.data], [read_fits(folder) for folder in options.data]
    people = sum(map(len, data))
    shares = [len(rows) / people for rows in data]
    if options.photos:
        photographs = read(options.photos)
        data, shares = [*data, photographs], [share * (1 - options.photo_share) for share in shares]
        shares.append(options.photo_share)
        fits.append(np.full(len(photographs), FITS.index("registered")))
    batches = BakeBatches(rig, data, shares, options.batch, options.seed, options.pure, fits)
    left_out: dict[str, Any] = {options.without: False} if options.without else {}
    model = started(options.start) if options.start else BakeNetwork(BakeConfig(fits=True, **left_out))
    model, loss = model.to(options.device), loss_of(rig.to(options.device), options.precision)
    folder = Path(options.run)
    steps = options.steps or planned_steps(model, batches, loss, folder, options.minutes)
    schedule = Schedule(
        steps, options.lr, min(100, steps // 10), ema=0.99, seed=options.seed, log_every=25, save_every=100, amp=False
    )
    model = fit(model, batches, loss, schedule, folder, options.device)
    more = f" and {len(data[-1])} examples from photographs" if options.photos else ""
    start = Path(options.start) if options.start else None
    told = after(start, command=options.line, cost=cost(folder), data=f"{people} people{more}")
    checkpoint.save(model, options.out, **(made(options) | told))
