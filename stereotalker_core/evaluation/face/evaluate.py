"""Held-out quality of the embedded ProbTalk3D, on voices and sentences not used in training: `evaluate_face`.

The reference is the procedural teacher of `synthetic.emotional_faces`. Distances are millimetres on the body's face, in
place of FLAME's mesh."""

import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...body.model import HalfBody
from ...checkpoint import NANO, load
from ...face.arkit_map import layout_map
from ...face.layout import EMOTIONS, IDENTITIES, INTENSITIES, FaceStyle
from ...face.model import ProbTalk3D
from ...face.sampling import FaceModels, FaceOptions, sample_face
from ...motion.lips import lip_gap_weights
from ...records import SpeechFeatures
from ...synthetic.movement.emotional_faces import look, perform
from ...synthetic.speech.utterance import Utterance
from ..bootstrap import bootstrap
from ..motion.evaluate import audio_of, compare_mouths, held_out
from .face_metrics import N_SAMPLES, FaceRegions, diversity, face_metrics, random_orders

logger = logging.getLogger(__name__)
Metrics = dict[str, dict[str, float]]
TEMPERATURES = (0.1, 0.2, 0.5)


@dataclass(frozen=True)
class FaceMesh:
    """The skin that expressions move, V of the body's vertices.

    ids: (V,) their indices in the body; template: (V, 3) mm at rest; deltas: (52, V, 3) mm, the displacement by each
    expression at 1; regions: which of them are mouth and upper face."""

    ids: Tensor
    template: Tensor
    deltas: Tensor
    regions: FaceRegions

    def vertices(self, expression: Tensor) -> Tensor:
        """Map expression coefficients (..., 52) -> vertices (..., V, 3), mm."""
        return self.template + torch.einsum("...k,kvd->...vd", expression, self.deltas)


def face_mesh(body: HalfBody) -> FaceMesh:
    """Build the face mesh from the body; lips are the vertices of that part, the upper face is above the tip of the
    nose."""
    rest = 1000 * body.rest(torch.zeros(1, body.n_shape)).vertices[0]
    outer = [body.part_index[name] for name in ("face", "lips")]
    skin = _vertices_of(body, outer)
    chosen = body.expression_vertices[torch.isin(body.expression_vertices, skin)]
    slot = {int(v): i for i, v in enumerate(body.expression_vertices)}
    columns = torch.tensor([slot[int(v)] for v in chosen])
    deltas = 1000 * body.expression_deltas.unflatten(1, (-1, 3))[:, columns]
    template = rest[chosen]
    mouth = torch.isin(chosen, _vertices_of(body, [body.part_index["lips"]])).nonzero()[:, 0]
    nose = template[:, 1].argmin()  # the foremost vertex
    upper = (template[:, 2] > template[nose, 2]).nonzero()[:, 0]
    return FaceMesh(chosen, template, deltas, FaceRegions(mouth, upper, template))


def _vertices_of(body: HalfBody, parts: list[int]) -> Tensor:
    return body.triangles[torch.isin(body.triangle_part, torch.tensor(parts))].unique()


@dataclass(frozen=True)
class Item:
    """The test item: a sentence not used in training, the style in which it is performed, and the encoder's features of
    it."""

    utterance: Utterance
    style: FaceStyle
    speech: SpeechFeatures | None = None  # the encoder's output, once computed

    def teacher(self, seed: int = 0, style: FaceStyle | None = None) -> Tensor:
        """Return the teacher's performance (T, 52); style: None for the item's own."""
        return perform(self.utterance, style or self.style, seed)


def draw_items(count: int, data: Path | None, seed: int = 0) -> list[Item]:
    """Return held-out sentences with random identities; emotions and intensities are cycled through.

    count: number of sentences; data: folder of the utterances, None synthesises them; seed: determines the choice."""
    rng = random.Random(11 + seed)
    styles = [FaceStyle(emotion=e, intensity=i) for i in INTENSITIES for e in EMOTIONS]
    items = held_out(count, data, 7 + seed)
    return [
        Item(item.utterance, replace(styles[n % len(styles)], identity=rng.choice(IDENTITIES)))
        for n, item in enumerate(items)
    ]


def performances(models: FaceModels, item: Item, style: FaceStyle | None = None, **options: Any) -> Tensor:
    """Return (N, T, 52) ARKit coefficients sampled for an item; options: fields of `FaceOptions`."""
    audio, drawn = audio_of(item.utterance), FaceOptions(**options)
    return layout_map().arkit(sample_face(models, audio, style or item.style, drawn, speech=item.speech).parameters)


def listen(models: FaceModels, items: Sequence[Item]) -> list[Item]:
    """Return the items with the encoder's features of their sound added, so that many performances need them only once.
    """
    encoder = models.encoder
    if encoder is None:
        raise ValueError("these metrics need the audio encoder beside the model")
    return [replace(item, speech=encoder.encode(audio_of(item.utterance))) for item in items]


# ------------------------------------------------------------------------------------------------ lips
def mean_lip_scores(item: Item, samples: Tensor, gap: tuple[Tensor, Tensor]) -> dict[str, tuple[float, float]]:
    """Return {metric: (value, weight)} of `lip_scores`, averaged over performances (N, T, 52) of one sentence.

    item: the sentence; gap: the lip gap as a linear function, from `motion.lips.lip_gap_weights`."""
    scores = [lip_scores(item, sampled, gap) for sampled in samples]
    return {name: (sum(s[name][0] for s in scores) / len(scores), scores[0][name][1]) for name in scores[0]}


def lip_scores(item: Item, sampled: Tensor, gap: tuple[Tensor, Tensor]) -> dict[str, tuple[float, float]]:
    """Compare the mouth of one performance (T, 52) with the teacher's -> {metric: (value, weight)} of `compare_mouths`.

    item: the sentence; gap: as in `mean_lip_scores`."""
    return compare_mouths(sampled, item.teacher(), item.utterance, gap)


# ------------------------------------------------------------------------------------------------ emotion
class EmotionClassifier:
    """The softmax regression of the emotion from the mean and standard deviation of coefficients over time; it is
    trained on the teacher alone.

    motions: (T, 52) expressions; labels: index of each one's emotion; steps: optimiser steps. Called with (T, 52)
    expressions, it returns the index of their emotion."""

    def __init__(self, motions: Sequence[Tensor], labels: Sequence[int], steps: int = 300) -> None:
        features = torch.stack([self.describe(m) for m in motions])
        self.mean, self.scale = features.mean(0), features.std(0) + 0.02
        self.linear = torch.nn.Linear(features.shape[1], len(EMOTIONS))
        torch.nn.init.zeros_(self.linear.weight)
        torch.nn.init.zeros_(self.linear.bias)
        x, y = (features - self.mean) / self.scale, torch.tensor(labels)
        optimizer = torch.optim.AdamW(self.linear.parameters(), 0.02, weight_decay=0.05)
        with torch.enable_grad():
            for _ in range(steps):
                loss = torch.nn.functional.cross_entropy(self.linear(x), y)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    @staticmethod
    def describe(motion: Tensor) -> Tensor:
        """Map coefficients (T, 52) -> features (104,): their mean and standard deviation over time."""
        return torch.cat([motion.mean(0), motion.std(0, correction=0)])

    @torch.no_grad()
    def __call__(self, motion: Tensor) -> int:
        return int(self.linear((self.describe(motion) - self.mean) / self.scale).argmax())


def train_classifier(items: Sequence[Item], repeats: int = 6, seed: int = 5) -> EmotionClassifier:
    """Train the classifier on teacher performances of the items' sentences in random styles.

    items: the sentences; repeats: performances per sentence; seed: determines their styles."""
    rng, motions, labels = random.Random(seed), [], []
    for repeat in range(repeats):
        for n, item in enumerate(items):
            emotion = EMOTIONS[(n + repeat) % len(EMOTIONS)]
            style = FaceStyle(rng.choice(IDENTITIES), emotion, rng.choice(INTENSITIES))
            motions.append(item.teacher(100 + repeat, style))
            labels.append(EMOTIONS.index(emotion))
    return EmotionClassifier(motions, labels)


def shown_intensity(motion: Tensor, neutral: Tensor, emotion: str) -> float:
    """Return how strongly a performance (T, 52) shows an emotion beyond a neutral one (T, 52); 1 is as strongly as the
    teacher."""
    direction = look(emotion)
    return float((motion.mean(0) - neutral.mean(0)) @ direction / direction.square().sum())


def intensity_order(models: FaceModels, item: Item, emotions: Sequence[str] = EMOTIONS[1:]) -> float:
    """Return the fraction of the emotions whose sampled performances show low < medium < high intensity."""
    neutral = performances(models, item, replace(item.style, emotion="neutral"), seed=1)[0]
    right = 0
    for emotion in emotions:
        styles = [replace(item.style, emotion=emotion, intensity=i) for i in INTENSITIES]
        shown = [shown_intensity(performances(models, item, s, seed=1)[0], neutral, emotion) for s in styles]
        right += shown[0] < shown[1] < shown[2]
    return right / len(emotions)


# ------------------------------------------------------------------------------------------------ all
def evaluate_face(
    models: FaceModels,
    quick: bool = False,
    data: Path | None = Path("data/speech"),
    seed: int = 0,
    vae: Path = NANO / "probtalk3d_vae.safetensors",
) -> dict[str, Metrics]:
    """Measure all metrics -> {"metrics": {name: {"value", "low", "high"}}}; 95 % intervals over sentences.

    models: ProbTalk3D and its speech encoder.
    quick: 16 sentences instead of 128, and 16 instead of 64 to train the classifier.
    data: a speech corpus with a `val` split.
    seed: chooses sentences, identities and performances.
    vae: file of the VAE variant for the ablation, used if present."""
    count, rest = (16, 16) if quick else (128, 64)
    items = draw_items(count + rest, data, seed)
    items, others = listen(models, items[:count]), items[count:] or items
    body = HalfBody()
    gap, mesh = lip_gap_weights(body), face_mesh(body)
    rows: dict[str, list[tuple[float, float]]] = {}

    def add(name: str, value: float, weight: float = 1.0) -> None:
        rows.setdefault(name, []).append((value, weight))

    classifier = train_classifier(others)
    for n, item in enumerate(items):
        label = EMOTIONS.index(item.style.emotion)
        add("emotion_accuracy", classifier(performances(models, item, seed=1000 * seed + n)[0]) == label)
        add("emotion_accuracy_teacher", classifier(item.teacher(n)) == label)
        by_temperature = _temperatures(models, item, gap, mesh, 1000 * seed + n)
        for name, (value, weight) in by_temperature.items():
            add(name, value, weight)
    for item in items[: 4 if quick else 24]:
        add("intensity_order", intensity_order(models, item))
    metrics = {name: bootstrap(*zip(*scores, strict=True)) for name, scores in rows.items()}
    variants = ablation_variants(models, vae)
    metrics |= _ablation(variants, items[: 8 if quick else 48], gap, mesh, seed)
    metrics["realtime_factor"] = realtime_factor(models, items)
    for name, row in metrics.items():
        logger.info("%-28s %.3f [%.3f, %.3f]", name, row["value"], row["low"], row["high"])
    return {"metrics": metrics}


def _temperatures(
    models: FaceModels, item: Item, gap: tuple[Tensor, Tensor], mesh: FaceMesh, seed: int
) -> dict[str, tuple[float, float]]:
    """Measure one item at every temperature, over four performances each -> {name: (value, weight)}.

    models: ProbTalk3D and its speech encoder.
    item: the sentence and its style.
    gap: the lip gap as a linear function, from `lip_gap_weights`.
    mesh: turns coefficients into vertices.
    seed: determines the performances.

    The names are those of `lip_scores` and "diversity" (mm) for the default temperature, "closure_recall_T" and
    "diversity_T" for each other temperature T, and "diversity_grows": 1 where diversity rises with temperature, else 0.
    """
    out: dict[str, tuple[float, float]] = {}
    spread = []
    for temperature in TEMPERATURES:
        samples = performances(models, item, temperature=temperature, samples=4, seed=97 * seed)
        spread.append(float(diversity(mesh.vertices(samples), range(4))))
        scores = mean_lip_scores(item, samples, gap)
        if temperature == FaceOptions().temperature:
            out |= scores | {"diversity": (spread[-1], 1.0)}
        else:
            out[f"closure_recall_{temperature}"] = scores["closure_recall"]
            out[f"diversity_{temperature}"] = (spread[-1], 1.0)
    out["diversity_grows"] = (float(spread == sorted(spread) and spread[0] > 0), 1.0)
    return out


def ablation_variants(models: FaceModels, vae: Path) -> dict[str, tuple[FaceModels, dict[str, Any]]]:
    """Return {variant: (models, fields of `FaceOptions`)} to compare.

    "vq": the VQ-VAE with sampled codes; "deterministic": with the nearest codes; "vae": the VAE variant, sampled, where
    its file `vae` exists."""
    variants = {"vq": (models, {}), "deterministic": (models, {"temperature": 0.0})}
    if vae.is_file():
        variants["vae"] = (replace(models, model=load(ProbTalk3D, vae).to(models.model.device)), {})
    return variants


def _ablation(
    variants: dict[str, tuple[FaceModels, dict[str, Any]]],
    items: Sequence[Item],
    gap: tuple[Tensor, Tensor],
    mesh: FaceMesh,
    seed: int,
) -> Metrics:
    """Measure every variant over ten performances per sentence -> {"METRIC_VARIANT": {"value", "low", "high"}}.

    The metrics are those of `face_metrics` in small letters (mm, mm^2), and closure_recall. variants: from
    `ablation_variants`; gap, mesh, seed: as in `_temperatures`."""
    metrics: Metrics = {}
    for name, (used, options) in variants.items():
        rows: dict[str, list[float]] = {}
        recall = []
        for n, (item, order) in enumerate(zip(items, random_orders(len(items)), strict=True)):
            sampled = performances(used, item, samples=N_SAMPLES, seed=1000 * seed + n, **options)
            clip = face_metrics([mesh.vertices(item.teacher())], [mesh.vertices(sampled)], mesh.regions, [order])
            for key, value in clip.items():
                rows.setdefault(key, []).append(value)
            recall.append(mean_lip_scores(item, sampled, gap)["closure_recall"])
        frames = [round(25 * item.utterance.seconds) for item in items]
        for key, values in rows.items():
            weights = None if key in ("FDD", "Diversity") else frames
            metrics[f"{key.lower()}_{name}"] = bootstrap(values, weights)
        metrics[f"closure_recall_{name}"] = bootstrap(*zip(*recall, strict=True))
    return metrics


def realtime_factor(models: FaceModels, items: Sequence[Item]) -> dict[str, float]:
    """Return the seconds of speech processed per second of work, speech encoder included, as {"value", "low",
    "high"}."""
    speed = []
    for item in items[:8]:
        start = time.perf_counter()
        performances(models, replace(item, speech=None))
        speed.append(item.utterance.seconds / (time.perf_counter() - start))
    return bootstrap(speed[1:])  # the first one warms up
