"""The training loop: AdamW, warm-up + linear decay, EMA, curves as JSON lines, exact resume.

A trainer supplies two functions: `batch(step) -> dict of tensors`, a pure function of the step (draw from
`generator(seed, step)`), and `loss(model, batch) -> (scalar, {"name": number})`. Since no loader has state, an
interrupted run continues with the same curve."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from ..checkpoint import write_atomically
from ..precision import mixed_precision

logger = logging.getLogger(__name__)
Batch = dict[str, Tensor]
M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Schedule:
    """The settings of a training.

    steps: optimiser steps; lr: highest learning rate, with linear `warmup` steps and linear decay over the last
    fraction `decay` of the steps.
    weight_decay, betas: of AdamW; clip: largest gradient norm.
    ema: decay of the moving average of the weights.
    seed: of everything random; amp: mixed precision; log_every, save_every: steps."""

    steps: int
    lr: float = 1e-3
    warmup: int = 100
    decay: float = 0.6
    weight_decay: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.98)
    clip: float = 1.0
    ema: float = 0.997
    seed: int = 0
    amp: bool = True  # bf16 autocast where it is faster
    log_every: int = 50
    save_every: int = 500

    def rate(self, step: int) -> float:
        """Return the learning rate of a step."""
        rise = min(1.0, (step + 1) / max(1, self.warmup))
        fall = min(1.0, (self.steps - step) / max(1.0, self.decay * self.steps))
        return self.lr * rise * max(fall, 0.01)


def generator(seed: int, step: int) -> np.random.Generator:
    """Return the random generator of one step, always the same for the same seed and step."""
    return np.random.default_rng((seed, step))


def fit(
    model: M,
    batch: Callable[[int], Batch],
    loss: Callable[[M, Batch], tuple[Tensor, dict[str, float]]],
    schedule: Schedule,
    run: str | Path,
    device: str | torch.device = "cpu",
    trainable: Callable[[str], bool] = lambda name: True,
    on_log: Callable[[int, dict[str, float]], None] | None = None,
    freeze: bool = True,
) -> M:
    """Train in place and return the model with its EMA weights; batch and loss are described at the top of this file.

    run: folder of state.pt (exact resume) and log.jsonl. trainable: which parameter names are trained. freeze: False
        computes the gradients of the others as well and ignores them, because frozen bf16 convolutions crash on some
        CPUs."""
    run = Path(run)
    run.mkdir(parents=True, exist_ok=True)
    model.to(device).train()
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(trainable(name) or not freeze)
    weights = [p for name, p in model.named_parameters() if trainable(name)]
    decay = schedule.weight_decay
    optimizer = torch.optim.AdamW(weights, schedule.lr, schedule.betas, weight_decay=decay, foreach=True)
    average = [p.detach().clone() for p in weights]
    step = _resume(run, schedule, model, optimizer, average, device)
    since, sums, count = time.perf_counter(), {}, 0
    while step < schedule.steps:
        torch.manual_seed(schedule.seed * 1_000_003 + step)
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step)
        data = {k: v.to(device) for k, v in batch(step).items()}
        with mixed_precision(device, schedule.amp):
            value, parts = loss(model, data)
        model.zero_grad(set_to_none=True)
        value.backward()
        norm = nn.utils.clip_grad_norm_(weights, schedule.clip)
        optimizer.step()
        step += 1
        with torch.no_grad():
            keep = min(schedule.ema, (1 + step) / (10 + step))
            torch._foreach_lerp_(average, [p.detach() for p in weights], 1 - keep)
        for key, number in ({"loss": float(value.detach()), "norm": float(norm)} | parts).items():
            sums[key] = sums.get(key, 0.0) + number
        count += 1
        if step % schedule.log_every == 0 or step == schedule.steps:
            row = {k: v / count for k, v in sums.items()}
            if not np.isfinite(row["loss"]):
                raise FloatingPointError(f"loss is {row['loss']} at step {step}; lower the learning rate")
            row["seconds_per_step"] = (time.perf_counter() - since) / count
            log_row(run, step, schedule, row)
            if on_log:
                on_log(step, row)
            since, sums, count = time.perf_counter(), {}, 0
        if step % schedule.save_every == 0 or step == schedule.steps:
            _save(run, schedule, model, optimizer, average, step)
    with torch.no_grad():
        for parameter, smooth in zip(weights, average, strict=True):
            parameter.copy_(smooth)
    return model.eval()


def log_row(run: Path, step: int, schedule: Schedule, row: dict[str, float]) -> None:
    """Log a row {name: number} of a step with the remaining time, and append it to log.jsonl in the folder `run`."""
    left = row["seconds_per_step"] * (schedule.steps - step)
    text = "  ".join(f"{k} {v:.4g}" for k, v in row.items())
    logger.info("step %d/%d  %s  eta %.0f s", step, schedule.steps, text, left)
    with (run / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, **row}) + "\n")


def _save(run, schedule, model, optimizer, average, step) -> None:
    state = {
        "schedule": asdict(schedule),
        "step": step,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average,
    }
    write_atomically(run / "state.pt", lambda name: torch.save(state, name))


def _resume(run, schedule, model, optimizer, average, device) -> int:
    path = run / "state.pt"
    if not path.is_file():
        return 0
    state = torch.load(path, map_location=device, weights_only=True)
    if state["schedule"] != asdict(schedule):
        raise ValueError(f"{path} was made with another schedule: {state['schedule']}; use another run folder")
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    for smooth, saved in zip(average, state["average"], strict=True):
        smooth.copy_(saved)
    drop_rows_after(run / "log.jsonl", state["step"])
    logger.info("resumed %s at step %d", run, state["step"])
    return state["step"]


def drop_rows_after(log: Path, step: int) -> None:
    """Remove log rows of steps after the resumed one, because those steps are run again."""
    rows = log.read_text(encoding="utf-8").splitlines(keepends=True) if log.is_file() else []
    kept = "".join(row for row in rows if json.loads(row)["step"] <= step)
    write_atomically(log, lambda name: Path(name).write_text(kept, encoding="utf-8"))
