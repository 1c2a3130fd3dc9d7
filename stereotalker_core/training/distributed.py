"""The training loop for many devices: `loop.fit` spread over micro-batches and processes by `accelerate`.

A step is a fixed number of micro-batches; micro-batch k of step s is `batch(s * micro_batches + k)`, computed with its
own random seed. Processes share the micro-batches of a step, so the loss curve does not depend on the number of
processes, and a run may be continued on another number of devices. With one micro-batch, one process and no mixed
precision the updates are those of `loop.fit`.

Launch with `accelerate launch --num_processes N -m stereotalker_core train ...`; without it one process runs.
Checkpoints are plain safetensors of whole tensors: trained weights, their average, and the optimiser's moments."""

import copy
import json
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from ..checkpoint import load_tensors, save_tensors
from ..video.networks.reference import ReferenceNet
from .loop import Batch, Schedule, drop_rows_after, log_row
from .recompute import BLOCKS, blocks_of, recompute

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor

logger = logging.getLogger(__name__)
Loss = Callable[[Any, Batch], tuple[Tensor, dict[str, float]]]  # of the model that is trained, whatever its class
_MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@dataclass(frozen=True)
class Scale:
    """The distribution of a step over processes.

    micro_batches: their number per step, over all processes (gradient accumulation = micro_batches / processes).
    precision: mixed precision, "no", "bf16" or "fp16".
    shard: "ddp" = every process holds the whole model, "fsdp" = each holds a slice of it.
    recompute: gradient checkpointing; prefetch: number of batches that a thread prepares ahead; keep: number of
        checkpoints that are kept.
    by_identity: micro-batch k of every step draws only from every micro_batches-th person, from the k-th on, so that a
        process reads only the data of its own people.

    The result depends on micro_batches and precision, not on shard, recompute or prefetch."""

    micro_batches: int = 1
    precision: str = "no"
    shard: str = "ddp"
    recompute: bool = False
    prefetch: int = 0
    keep: int = 2
    by_identity: bool = False

    def __post_init__(self) -> None:
        for name, low in (("micro_batches", 1), ("prefetch", 0), ("keep", 1)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} must be at least {low}, got {getattr(self, name)}")
        for name, known in (("precision", ("no", "bf16", "fp16")), ("shard", ("ddp", "fsdp"))):
            if getattr(self, name) not in known:
                raise ValueError(f"{name} must be one of {', '.join(known)}, got {getattr(self, name)!r}")
        if self.precision == "fp16" and self.shard == "fsdp":
            raise ValueError("fp16 needs a loss scaler that sharded models do not have; use bf16 with fsdp")


class Objective(nn.Module):
    """The network and its loss in one module: forward(batch) -> (loss (), {term: number}).

    DDP and FSDP act at the beginning and the end of a module's forward pass, so that the loss must be part of it."""

    def __init__(self, model: nn.Module, loss: Loss) -> None:
        super().__init__()
        self.model = model
        self._loss = (loss,)  # in a tuple: networks that a loss holds are no part of what is trained

    def forward(self, batch: Batch) -> tuple[Tensor, dict[str, float]]:
        return self._loss[0](self.model, batch)


def start(scale: Scale, device: str | None = None) -> "Accelerator":
    """Join the processes started by `accelerate launch`. ValueError where the micro-batches do not divide among them.
    """
    from accelerate import Accelerator, DistributedDataParallelKwargs

    # experts may be left out of a step, and the reference network's last layers are never read
    handler = DistributedDataParallelKwargs(find_unused_parameters=True)
    accelerator = Accelerator(cpu=device == "cpu", mixed_precision=scale.precision, kwargs_handlers=[handler])
    if scale.micro_batches % accelerator.num_processes:
        raise ValueError(
            f"{scale.micro_batches} micro-batches cannot be shared by {accelerator.num_processes} processes; "
            f"set micro_batches to a multiple of the processes"
        )
    return accelerator


def fit_distributed(
    model: nn.Module,
    batch: Callable[[int], Batch],
    loss: Loss,
    schedule: Schedule,
    scale: Scale,
    run: str | Path,
    device: str | None = None,
    trainable: Callable[[str], bool] = lambda name: True,
    on_log: Callable[[int, dict[str, float]], None] | None = None,
    accelerator: "Accelerator | None" = None,
) -> nn.Module:
    """Train and return the model with its EMA weights (in place, except for fsdp, which returns a whole copy).

    model: the network.
    batch: index -> dict of tensors.
    loss: (model, batch) -> (scalar, {"name": number}).
    schedule: steps and rates; scale: micro-batches, processes, precision.
    run: folder of checkpoint-*.safetensors and log.jsonl; a second start continues exactly.
    device: "cpu", or None for what `accelerate` finds.
    trainable: which parameter names are trained; others have no gradient, no optimiser state, no place in a checkpoint.
    on_log: called with (step, logged values).
    accelerator: from `start`; None calls it."""
    accelerator = accelerator or start(scale, device)
    fitting = _Fitting(accelerator, model, loss, schedule, scale, Path(run), trainable)
    step = fitting.resume()
    mine = range(accelerator.process_index, scale.micro_batches, accelerator.num_processes)
    indices = (s * scale.micro_batches + k for s in range(step, schedule.steps) for k in mine)
    batches, window = ahead(batch, indices, scale.prefetch), _LoggedSteps()
    while step < schedule.steps:
        window.add(fitting.step(step, batches, len(mine)))
        step += 1
        if step % schedule.log_every == 0 or step == schedule.steps:
            row = window.close(accelerator)
            window = _LoggedSteps()
            if not np.isfinite(row["loss"]):
                raise FloatingPointError(f"loss is {row['loss']} at step {step}; lower the learning rate")
            if accelerator.is_main_process:
                log_row(fitting.run, step, schedule, row)
            if on_log:
                on_log(step, row)
        if step % schedule.save_every == 0 or step == schedule.steps:
            fitting.save(step)
    return fitting.finish()


class _Fitting:
    """The state of one training run in this process: model, optimiser, average of the weights.

    Arguments as in `fit_distributed`."""

    def __init__(self, accelerator, model, loss, schedule: Schedule, scale: Scale, run: Path, trainable) -> None:
        self.accelerator, self.schedule, self.scale, self.run = accelerator, schedule, scale, run
        self.sharded = scale.shard == "fsdp" and accelerator.num_processes > 1
        run.mkdir(parents=True, exist_ok=True)
        model.to(accelerator.device).train()
        # oneDNN's convolutions without a weight gradient crash on some CPUs: it is computed and ignored there
        keep_gradients = accelerator.device.type == "cpu"
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(trainable(name) or keep_gradients)
        self.frozen = _fingerprint(p for name, p in model.named_parameters() if not trainable(name))
        self.plain = copy.deepcopy(model).cpu() if self.sharded else model
        if scale.recompute:
            recompute(model)
        self.objective: nn.Module = Objective(model, loss)
        if self.sharded:
            _shard(self.objective, accelerator)
        elif accelerator.num_processes > 1:
            self.objective = accelerator.prepare_model(self.objective)
        named = {name: p for name, p in model.named_parameters() if trainable(name)}
        if not named:
            raise ValueError("no parameter is trainable; choose other parts")
        self.names, self.weights = list(named), list(named.values())
        self.average = [p.detach().clone() for p in self.weights]
        decay, betas = schedule.weight_decay, schedule.betas
        adam = torch.optim.AdamW(self.weights, schedule.lr, betas, weight_decay=decay, foreach=True)
        self.optimizer = accelerator.prepare_optimizer(adam, device_placement=False)

    def step(self, step: int, batches: Iterator[tuple[int, Batch]], share: int) -> list[dict[str, float]]:
        """Take one optimiser step -> {"loss", terms of the loss, "norm" of the gradient: number} of each micro-batch.

        step: its number; batches: yields (index, batch); share: how many of them this process takes."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(step)
        self.objective.zero_grad(set_to_none=True)
        rows = []
        for place in range(share):
            index, data = next(batches)
            torch.manual_seed(self.schedule.seed * 1_000_003 + index)
            data = {k: v.to(self.accelerator.device, non_blocking=True) for k, v in data.items()}
            with self._exchange(place == share - 1):
                with self.accelerator.autocast():
                    value, parts = self.objective(data)
                self.accelerator.backward(value if share == 1 else value / share)
            rows.append({"loss": float(value.detach())} | parts)
        self.accelerator.unscale_gradients(self.optimizer)
        norm = float(_gathered(nn.utils.clip_grad_norm_(self.weights, self.schedule.clip)))
        self.optimizer.step()
        with torch.no_grad():
            keep = min(self.schedule.ema, (2 + step) / (11 + step))
            torch._foreach_lerp_([_local(a) for a in self.average], [_local(p) for p in self.weights], 1 - keep)
        return [row | {"norm": norm} for row in rows]

    def _exchange(self, last: bool) -> AbstractContextManager:
        """Return the context in which gradients are exchanged only after the last micro-batch of a step."""
        if self.sharded:
            cast("FSDPModule", self.objective).set_requires_gradient_sync(last)
            return nullcontext()
        return nullcontext() if last else self.accelerator.no_sync(self.objective)

    def _plan(self) -> dict[str, object]:
        # tuples as lists: what comes back from the file must be equal
        plan = asdict(self.schedule) | {"micro_batches": self.scale.micro_batches, "precision": self.scale.precision}
        plan |= {"by_identity": True} if self.scale.by_identity else {}
        return json.loads(json.dumps(plan))

    def save(self, step: int) -> None:
        """Write checkpoint-STEP.safetensors in the main process, and remove the oldest beyond `keep`."""
        tensors: dict[str, Tensor] = {}
        for name, weight, smooth in zip(self.names, self.weights, self.average, strict=True):
            state = self.optimizer.optimizer.state.get(weight, {})
            values = {"weight": weight, "average": smooth} | {k: state[k] for k in _MOMENTS if k in state}
            for kind, value in values.items():
                whole = _gathered(value.detach())  # every process takes part
                if self.accelerator.is_main_process:
                    tensors[f"{kind}/{name}"] = whole
        if self.accelerator.is_main_process:
            meta = {"plan": self._plan(), "step": step, "frozen": self.frozen, "scaler": self._scaler()}
            save_tensors(tensors, meta, self.run / f"checkpoint-{step:08d}.safetensors")
            for old in checkpoints(self.run)[: -self.scale.keep]:
                old.unlink()
        self.accelerator.wait_for_everyone()

    def _scaler(self) -> dict[str, float]:
        scaler = self.accelerator.scaler
        return scaler.state_dict() if scaler is not None else {}

    def resume(self) -> int:
        """Continue from the newest checkpoint -> its step, 0 without one.

        ValueError where its plan or its frozen weights differ."""
        found = checkpoints(self.run)
        if not found:
            return 0
        tensors, meta = load_tensors(found[-1])
        if json.loads(meta["plan"]) != self._plan():
            raise ValueError(f"{found[-1]} was made with another plan: {meta['plan']}; use another run folder")
        if {key.partition("/")[2] for key in tensors} != set(self.names):
            raise ValueError(f"{found[-1]} trained other parameters; choose the same parts, or another run folder")
        if meta["frozen"] != self.frozen:
            raise ValueError(f"{found[-1]} belongs to other frozen weights; start from the same base model")
        with torch.no_grad():
            for name, weight, smooth in zip(self.names, self.weights, self.average, strict=True):
                _copy_into(weight, tensors[f"weight/{name}"])
                _copy_into(smooth, tensors[f"average/{name}"])
                for kind in _MOMENTS:
                    if f"{kind}/{name}" in tensors:
                        like = weight if kind != "step" else None
                        self.optimizer.optimizer.state[weight][kind] = _placed_as(tensors[f"{kind}/{name}"], like)
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(json.loads(meta["scaler"]))
        step = int(meta["step"])
        if self.accelerator.is_main_process:
            drop_rows_after(self.run / "log.jsonl", step)
        logger.info("resumed %s at step %d", self.run, step)
        return step

    @torch.no_grad()
    def finish(self) -> nn.Module:
        """Return the model with its averaged weights, in evaluation mode."""
        learned = dict(self.plain.named_parameters())
        for name, smooth in zip(self.names, self.average, strict=True):
            learned[name].copy_(_gathered(smooth))
        self.accelerator.wait_for_everyone()
        return self.plain.eval()


class _LoggedSteps:
    """The sums of losses and times since the last line of the log."""

    def __init__(self) -> None:
        self.since, self.steps, self.sums = time.perf_counter(), 0, {}

    def add(self, rows: list[dict[str, float]]) -> None:
        self.steps += 1
        for row in rows:
            for key, value in row.items():
                total, count = self.sums.get(key, (0.0, 0))
                self.sums[key] = (total + value, count + 1)

    def close(self, accelerator: "Accelerator") -> dict[str, float]:
        """Return a line of the log: {name: mean over the steps and all processes}, and "seconds_per_step"."""
        from accelerate.utils import gather_object

        every = gather_object([self.sums]) if accelerator.num_processes > 1 else [self.sums]
        keys = dict.fromkeys(key for sums in every for key in sums)
        parts = {key: [sums[key] for sums in every if key in sums] for key in keys}
        row = {key: sum(t for t, _ in values) / sum(n for _, n in values) for key, values in parts.items()}
        row["seconds_per_step"] = (time.perf_counter() - self.since) / self.steps
        return row


def ahead(batch: Callable[[int], Batch], indices: Iterable[int], count: int) -> Iterator[tuple[int, Batch]]:
    """Yield (index, batch(index)) in order; a thread prepares up to `count` batches ahead."""
    if not count:
        yield from ((index, batch(index)) for index in indices)
        return
    waiting: deque[tuple[int, Future]] = deque()
    with ThreadPoolExecutor(1) as pool:
        for index in indices:
            waiting.append((index, pool.submit(batch, index)))
            if len(waiting) > count:
                first, made = waiting.popleft()
                yield first, made.result()
        while waiting:
            first, made = waiting.popleft()
            yield first, made.result()


def checkpoints(run: str | Path) -> list[Path]:
    """Return the checkpoints of a run folder, oldest first."""
    return sorted(Path(run).glob("checkpoint-*.safetensors"))


def _shard(objective: nn.Module, accelerator: "Accelerator") -> None:
    """Split a network over the processes in place, by FSDP: every block separately, and the rest as one group.

    objective: network and loss; accelerator: knows the processes. Gradients are averaged over these."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(accelerator.device.type, (accelerator.num_processes,))
    for name, layer in objective.named_modules():
        # the reference's keys and values are made outside of the blocks: these layers are called on their own
        if name.endswith(("attn1.to_k", "attn1.to_v")) and "motion_modules" not in name and "reference." not in name:
            fully_shard(layer, mesh=mesh, reshard_after_forward=False)
    # what a reference network hands on leaves its blocks in their middle; its parameters stay in the outermost group
    whole = {id(m) for net in objective.modules() if isinstance(net, ReferenceNet) for m in net.modules()}
    for block in blocks_of(objective, BLOCKS):
        if id(block) not in whole and any(True for _ in block.parameters()):
            fully_shard(block, mesh=mesh)
    fully_shard(objective, mesh=mesh)


def _gathered(x: Tensor) -> Tensor:
    """Gather a sharded tensor (every process must call this); other tensors are returned unchanged."""
    return cast("DTensor", x).full_tensor() if hasattr(x, "full_tensor") else x


def _local(x: Tensor) -> Tensor:
    """Return this process's slice of a sharded tensor; other tensors are returned unchanged."""
    return cast("DTensor", x.detach()).to_local() if hasattr(x, "to_local") else x.detach()


def _placed_as(whole: Tensor, like: Tensor | None) -> Tensor:
    """Return a whole tensor on the device of `like`, and sharded as `like` is; None for `like`: return it unchanged."""
    if like is None:
        return whole
    if not hasattr(like, "device_mesh"):
        return whole.to(like.device)
    from torch.distributed.tensor import distribute_tensor

    placed = cast("DTensor", like)
    return distribute_tensor(whole.to(like.device), placed.device_mesh, placed.placements)


def _copy_into(target: Tensor, whole: Tensor) -> None:
    _local(target).copy_(_local(_placed_as(whole, target)))


def _fingerprint(parameters) -> str:
    """Return a text that tells frozen weights apart: their number and the sum of their magnitudes."""
    parameters = list(parameters)
    total = sum(float(p.detach().double().abs().sum()) for p in parameters)
    return f"{len(parameters)} {total:.6e}"
