"""Two processes (gloo) train as one does with the same global batch: DDP and FSDP, every trainer, resume across."""

import json
import shutil
import socket

import pytest
import torch
import torch.multiprocessing

from stereotalker_core.training.distributed import Scale, checkpoints, fit_distributed
from tests.training import two_processes
from tests.training.tiny_tasks import make, write_data


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(folder of the data, curves of two processes, curves of one)."""
    root = write_data(tmp_path_factory.mktemp("data"))
    two, one = tmp_path_factory.mktemp("two"), tmp_path_factory.mktemp("one")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = torch.multiprocessing.start_processes(
        two_processes.worker, (port, root, two), nprocs=2, join=False, start_method="spawn"
    )
    two_processes.run_all(root, one)
    while not context.join():
        pass
    return root, two, one


def curve(folder) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", [f"{n}_{s.shard}" for n, s in two_processes.plan()])
def test_two_processes_are_one(runs, name):
    _, two, one = runs
    a, b = curve(two / name), curve(one / name)
    assert len(a) == two_processes.SCHEDULE.steps
    assert a == pytest.approx(b, rel=1e-4, abs=1e-6)
    first, second = (torch.load(f / name / "final.pt", weights_only=True) for f in (two, one))
    assert first.keys() == second.keys()
    for key, value in first.items():
        torch.testing.assert_close(value, second[key], atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("name", two_processes.SHARDED)
def test_sharded_models_train_as_whole_ones(runs, name):
    _, two, _ = runs
    assert curve(two / f"{name}_fsdp") == pytest.approx(curve(two / f"{name}_ddp"), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", ["image_fsdp", "experts_fsdp", "motion_ddp"])
def test_a_run_of_two_processes_continues_on_one(runs, name, tmp_path):
    """From the checkpoint of step 2 that two processes wrote, one process makes the same third step."""
    root, two, _ = runs
    shutil.copytree(two / name, tmp_path / "run")
    for path in checkpoints(tmp_path / "run")[1:]:
        path.unlink()
    assert [p.name for p in checkpoints(tmp_path / "run")] == ["checkpoint-00000002.safetensors"]
    trainer, _, shard = name.rpartition("_")
    model, batch, loss, trainable = make(trainer, root)
    scale = Scale(two_processes.MICRO_BATCHES, shard=shard)
    fit_distributed(model, batch, loss, two_processes.SCHEDULE, scale, tmp_path / "run", "cpu", trainable)
    assert curve(tmp_path / "run") == pytest.approx(curve(two / name), rel=1e-4, abs=1e-6)
    final = torch.load(two / name / "final.pt", weights_only=True)
    for key, value in model.state_dict().items():
        torch.testing.assert_close(value, final[key], atol=2e-4, rtol=1e-3)


def test_processes_must_share_the_micro_batches(monkeypatch):
    from stereotalker_core.training import distributed

    class Three:
        num_processes = 3

    monkeypatch.setattr("accelerate.Accelerator", lambda **_: Three())
    with pytest.raises(ValueError, match="4 micro-batches cannot be shared by 3 processes"):
        distributed.start(Scale(4), "cpu")
