"""Train the embedded ProbTalk3D on the synthetic set: prior, then predictor (`train face`).

    python -m stereotalker_core train face --stage 1 --steps 2500
    python -m stereotalker_core train face --stage 2 --steps 3000

--kind vae trains the VAE variant. `train face-epochs` trains on 3DMEAD as the paper does, from scratch, any size.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ...audio.phones import PHONES
from ...checkpoint import NANO, load, load_tensors, save
from ...face.model import ProbTalk3D
from ...face.prior import MotionPrior
from ...face.quantiser import Draw
from ..loop import Schedule, fit, generator
from ..provenance import made
from .face_data import FaceData, MixedFaces, read_sets
from .face_loss import Focus, PredictorWeights, PriorWeights, code_unit, fresh_codes, spread_codes, stage_one, stage_two

NANO_PRIOR = MotionPrior.Config(
    width=128, encoder_layers=2, decoder_layers=2, heads=4, inner=256, codes=256, code_width=16, rows="channel",
    norm="frame", dropout=0.0, noise=1.0,
)  # fmt: skip
SOUND = 45


@dataclass(frozen=True)
class FaceRecipe:
    """The settings of batches and losses of both stages.

    batch: crops per step; lengths: possible lengths of the crops in frames, of which every step draws one.
    one, one_vae, two: weights of the losses of stage 1 (VQ-VAE and VAE) and of stage 2; the paper's own are the
        defaults of `PriorWeights` and `PredictorWeights`.
    temperatures: range of the temperature at which stage 2 samples codes.
    blur: fraction of batches in which the phone probabilities are flattened, as for a voice that the encoder does not
        know.
    warm: fraction of the steps of stage 1 that run without codes, after which the codes are spread over the data.
    renew_every, renew_until: steps between replacements of unused codes, and the fraction of the steps at which these
        end."""

    batch: int = 12
    lengths: tuple[int, ...] = (40, 72, 104)  # frames of a crop; one length per step, at random
    one: PriorWeights = PriorWeights(bottleneck=0.3, expression=2.0, jaw=1.0, velocity=1.0, lips=0.01)
    one_vae: PriorWeights = PriorWeights(bottleneck=3e-4, expression=2.0, jaw=1.0, velocity=1.0, lips=0.01)
    two: PredictorWeights = PredictorWeights(
        latent=0.1, expression=2.0, jaw=1.0, velocity=1.0, lips=0.04, codes=0.1, drawn=0.08
    )
    temperatures: tuple[float, float] = (0.1, 0.5)  # of the codes drawn in stage 2
    blur: float = 0.5  # fraction of batches with flattened phone probabilities, as of unknown voices
    warm: float = 0.4  # fraction of steps of stage 1 without codes, which are then spread over the data
    renew_every: int = 25  # steps between replacements of unused codes
    renew_until: float = 0.8  # fraction of steps after which none are replaced


def draw_batch(data: FaceData | MixedFaces, recipe: FaceRecipe, seed: int, step: int) -> dict[str, Tensor]:
    """Draw the batch of a step, the same for the same seed and step: crops as from `FaceData.crops`.

    data: the set to draw from; recipe: batch size and lengths. Adds "step" and "temperature" (), at which codes are
    sampled."""
    rng = generator(seed, step)
    crops = data.crops(rng, recipe.batch, int(rng.choice(recipe.lengths)))
    if rng.random() < recipe.blur:
        crops["sound"] = flatten_chances(crops["sound"], torch.from_numpy(rng.uniform(0.4, 1.0, recipe.batch)).float())
    return crops | {"step": torch.tensor(step), "temperature": torch.tensor(rng.uniform(*recipe.temperatures))}


def flatten_chances(sound: Tensor, power: Tensor) -> Tensor:
    """Make the phone probabilities of clips less certain, as those of an unsure speech encoder are -> sound (B, T, 45).

    sound: (B, T, 45), 40 phone probabilities, which are raised to the power and renormalised, then prosody, which
        stays; power: (B,), one number per clip, 1 = unchanged, lower = less certain."""
    raised = sound[..., : len(PHONES)].clamp_min(1e-4) ** power[:, None, None]
    return torch.cat([raised / raised.sum(-1, keepdim=True), sound[..., len(PHONES) :]], -1)


class PriorLoss:
    """The loss of stage 1 for `loop.fit`: (prior, batch of `draw_batch`) -> (loss (), {term of `stage_one`: number}).

    Called at certain steps, it also moves unused codes of the prior onto the data.
    recipe: weights of the terms, and these steps; focus: which channels matter; schedule: number of steps in all."""

    def __init__(self, recipe: FaceRecipe, focus: Focus, schedule: Schedule) -> None:
        self.recipe, self.focus, self.schedule = recipe, focus, schedule

    def __call__(self, prior: MotionPrior, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        motion, step = batch["motion"], int(batch["step"])
        vae = prior.config.kind == "vae"
        weights = self.recipe.one_vae if vae else self.recipe.one
        z = prior.encode(motion)
        warm = int(self.recipe.warm * self.schedule.steps)
        if not vae and step == warm:
            spread_codes(prior, z, torch.Generator().manual_seed(step))
        passed = prior.bottleneck(z, Draw(seed=step) if vae else None)
        if not vae and step < warm:
            still = z.square().mean() * 0.01  # a scale to stay near
            value, parts = stage_one(prior.decode(z), replace(passed, loss=still), motion, weights, self.focus)
        else:
            value, parts = stage_one(prior.decode(passed.latent), passed, motion, weights, self.focus)
        rows = {name: float(part.detach()) for name, part in parts.items()}
        due = step % self.recipe.renew_every == 0 and warm < step < self.recipe.renew_until * self.schedule.steps
        if due and not vae:
            fresh_codes(prior, z, passed.indices, torch.Generator().manual_seed(step))
        return value, rows | {"perplexity": float(passed.perplexity)}


class PredictorLoss:
    """The loss of stage 2 for `loop.fit`: (model, batch of `draw_batch`) -> (loss (), {term of `stage_two`: number}).

    The prior in the model is frozen and stays in evaluation mode. recipe: weights of the terms; focus: which channels
    matter."""

    def __init__(self, recipe: FaceRecipe, focus: Focus) -> None:
        self.recipe, self.focus = recipe, focus

    def __call__(self, model: ProbTalk3D, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        model.motion_prior.eval()
        predicted = model.feature_predictor(batch["sound"], batch["style"])
        draw = Draw(float(batch["temperature"]), 1, 100 * int(batch["step"]), model.config.coherence)
        value, parts = stage_two(model.motion_prior, predicted, batch["motion"], self.recipe.two, self.focus, draw=draw)
        return value, {name: float(part.detach()) for name, part in parts.items()}


def train_prior(
    prior: MotionPrior, data: FaceData | MixedFaces, recipe: FaceRecipe, focus: Focus, schedule: Schedule, run: Path
) -> MotionPrior:
    """Train stage 1 -> the trained prior; for a VQ-VAE its config.unit is measured by `code_unit`.

    prior: to train, in place.
    data: draws crops.
    recipe: settings of batches and losses.
    focus: which channels matter.
    schedule: steps and rates of the loop.
    run: folder of the training state and log, from which an interrupted training continues."""
    fit(prior, _batches(data, recipe, schedule), PriorLoss(recipe, focus, schedule), schedule, run)
    if prior.config.kind == "vae":
        return prior
    finished = MotionPrior(replace(prior.config, unit=code_unit(prior)))
    finished.load_state_dict(prior.state_dict())
    return finished.eval()


def train_predictor(
    model: ProbTalk3D, data: FaceData | MixedFaces, recipe: FaceRecipe, focus: Focus, schedule: Schedule, run: Path
) -> ProbTalk3D:
    """Train stage 2 in place; only the predictor is trained. Arguments as in `train_prior`."""
    return fit(
        model, _batches(data, recipe, schedule), PredictorLoss(recipe, focus), schedule, run,
        trainable=lambda name: name.startswith("feature_predictor."),
    )  # fmt: skip


def _batches(data: FaceData | MixedFaces, recipe: FaceRecipe, schedule: Schedule) -> Callable[[int], dict[str, Tensor]]:
    return lambda step: draw_batch(data, recipe, schedule.seed, step)


def read_prior(path: Path) -> MotionPrior:
    """Read the prior from a file of stage 1, or from a whole model's file."""
    _, meta = load_tensors(path)
    return load(ProbTalk3D, path).motion_prior if meta.get("model") == "ProbTalk3D" else load(MotionPrior, path)


def with_prior(prior: MotionPrior, layers: int = 4, coherence: float = 8.0) -> ProbTalk3D:
    """Return a new model of the embedded size around a trained prior.

    prior: the trained one; layers: number of the predictor's layers; coherence: frames over which sampling noise stays
    similar."""
    config = ProbTalk3D.Config(
        prior=prior.config, hubert=None, audio=SOUND, layers=layers, basis="arkit",
        coherence=coherence, window=104,
    )  # fmt: skip
    model = ProbTalk3D(config)
    model.motion_prior.load_state_dict(prior.state_dict())
    return model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `train face`."""
    parser.add_argument("--stage", type=int, choices=(1, 2), required=True)
    parser.add_argument("--kind", choices=("vq", "vae"), default="vq")
    parser.add_argument("--data", type=Path, default=Path("data/faces"))
    parser.add_argument("--sets", default="train", help='folders of --data with their shares: "train:3,other:1"')
    parser.add_argument("--run", type=Path, default=None, help="runs/face_KIND_STAGE by default")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--lr", type=float, default=1.5e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--prior", type=Path, default=None, help="stage 2: stage 1's file, or a whole model's")
    parser.add_argument("--start", type=Path, default=None, help="stage 2: a whole model to go on from, prior included")
    parser.add_argument("--shut", type=float, default=4.0, help="how much more the lips count where they are shut")
    parser.add_argument("--out", type=Path, default=None)


def run(options: argparse.Namespace) -> None:
    """Train one of the two stages and write its file. ValueError where the prior is of the other kind."""
    from ...body.model import HalfBody
    from ...motion.lips import lip_gap_weights

    data, kind = read_sets(options.data, options.sets), options.kind
    focus = Focus(lip_gap_weights(HalfBody()), shut=options.shut)
    folder = options.run or Path(f"runs/face_{kind}_{options.stage}")
    schedule = Schedule(options.steps, lr=options.lr, seed=options.seed, amp=False, ema=0.99, save_every=100)
    torch.manual_seed(options.seed)
    if options.stage == 1:
        out = options.out or folder / "prior.safetensors"
        model = train_prior(MotionPrior(replace(NANO_PRIOR, kind=kind)), data, FaceRecipe(), focus, schedule, folder)
    else:
        out = options.out or NANO / ("probtalk3d.safetensors" if kind == "vq" else "probtalk3d_vae.safetensors")
        if options.start:
            model = load(ProbTalk3D, options.start)
        else:
            model = with_prior(read_prior(options.prior or Path(f"runs/face_{kind}_1/prior.safetensors")))
        if model.motion_prior.config.kind != kind:
            raise ValueError(f"the prior is of kind {model.motion_prior.config.kind!r}; add --kind")
        model = train_predictor(model, data, FaceRecipe(), focus, schedule, folder)
    info = made(options)
    if options.stage == 2 and options.start:
        before = load_tensors(options.start)[1].get("command", "?")
        info["command"] = f"{before} && {options.line}"  # the whole way here
    save(model, out, **info)
