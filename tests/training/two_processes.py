"""What each of two processes does in test_processes.py: every trainer by DDP, three by FSDP, curves written to disk."""

import os

from stereotalker_core.training.distributed import Scale, fit_distributed, start
from stereotalker_core.training.loop import Schedule
from tests.training.tiny_tasks import NAMES, make

SCHEDULE = Schedule(steps=3, lr=2e-3, warmup=1, log_every=1, save_every=2, amp=False)
SHARDED = ("image", "experts", "motion")
MICRO_BATCHES = 4


def plan() -> list[tuple[str, Scale]]:
    """All runs: trainer and scale."""
    runs = [(name, Scale(MICRO_BATCHES, shard="ddp")) for name in NAMES]
    return runs + [(name, Scale(MICRO_BATCHES, shard="fsdp", recompute=name == "image")) for name in SHARDED]


def run_all(root, out) -> None:
    """Run the plan in this process (of one or of two)."""
    accelerator = start(Scale(MICRO_BATCHES), "cpu")
    for name, scale in plan():
        model, batch, loss, trainable = make(name, root)
        folder = out / f"{name}_{scale.shard}"
        model = fit_distributed(
            model, batch, loss, SCHEDULE, scale, folder, trainable=trainable, accelerator=accelerator
        )
        if accelerator.is_main_process:
            import torch

            torch.save(model.state_dict(), folder / "final.pt")


def worker(rank: int, port: int, root, out) -> None:
    """Entry of a spawned process."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE="2", LOCAL_WORLD_SIZE="2", MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port), OMP_NUM_THREADS="1",
    )  # fmt: skip
    run_all(root, out)
    import torch.distributed

    torch.distributed.destroy_process_group()
