"""Train the motion denoiser: `python -m stereotalker_core train motion --run runs/motion --steps 4000`.

Needs the arrays that `train motion-data` writes. Stopped and started again, it continues exactly where it was.
"""

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ...checkpoint import NANO, load, save
from ...geometry.skeleton import ARM_JOINTS, MOTION_JOINTS
from ...motion.arkit import ARKIT_INDEX
from ...motion.conditioning import MotionCondition
from ...motion.lips import lip_gap, lip_gap_weights
from ...motion.networks.denoiser import MotionDenoiser, closure_error, loss_weight, motion_errors
from ...motion.networks.prior import LanguagePrior
from ...motion.representation import MotionCodec
from ..loop import Schedule, fit, generator
from ..provenance import after, cost, made
from .motion_data import MixedMotion, MotionData, confuse_phones

AnyData = MotionData | MixedMotion
SIGMAS = (0.02, 400.0)  # noise levels that are trained
SLOWEST = 0.05  # change per frame, in deviations of a channel, below which slower channels are not told apart


@dataclass(frozen=True)
class Recipe:
    """The settings of batches and losses for the motion denoiser.

    batch: sequences per step; lengths: possible lengths in frames, of which every step draws one.
    mouth_weight, jaw_weight, arm_weight, gesture_weight: factors on the errors of channels relative to 1: jaw, lips and
        tongue; jawOpen and mouthClose; the arms; the arms during a meaning gesture.
    velocity_weight, closure_weight: factors of the terms "velocity" and "closure", see `MotionLoss`.
    drop_audio, drop_prior: probability that the sound, or the language prior, is withheld.
    drop_states: probability that the prior gives the classes of meaning without the states.
    faintest: smallest random factor on the probabilities of these classes.
    read_share: probability that the prior comes from the transcript and not from the sound.
    seed_chance: probability that the first frames are given.
    sigma: mean and standard deviation of the logarithm of the noise level.
    oracle: True where the phones are true labels, which are then blurred and confused on purpose."""

    batch: int = 16
    lengths: tuple[int, ...] = (48, 80, 100)  # frames of a crop; one length per step, at random
    mouth_weight: float = 8.0  # of the jaw, lip and tongue channels, relative to 1
    jaw_weight: float = 30.0  # of jawOpen and mouthClose
    arm_weight: float = 2.0  # of the arms
    velocity_weight: float = 0.5  # of the frame-to-frame changes, each relative to its usual size
    closure_weight: float = 2.0
    drop_audio: float = 0.1
    drop_prior: float = 0.15
    drop_states: float = 0.5  # probability to give only the classes of meaning, without the states
    faintest: float = 0.3  # smallest random factor on the classes' probabilities: synonyms are less certain
    read_share: float = 0.5  # probability that the prior comes from the transcript, not the sound
    gesture_weight: float = 5.0  # of the arms during a meaning gesture, relative to 1
    seed_chance: float = 0.6  # probability that seed frames are given at the start
    # mean and deviation of log sigma; a posture is the same in a hundred frames and many channels at once, so noise
    # hides it from some 100 on alone: what is not trained there is not varied
    sigma: tuple[float, float] = (1.3, 2.0)
    oracle: bool = False  # the phones are true labels, which are blurred and confused on purpose


def draw_batch(
    data: AnyData, codec: MotionCodec, recipe: Recipe, seed: int, step: int, prior: LanguagePrior | None = None
) -> dict[str, Tensor]:
    """Draw the training batch of one step: B sequences of T frames; the same for the same seed and step.

    data: the recordings to draw crops from (`MotionData`).
    codec: turns rotations and expression into the normalised motion of width D.
    recipe: B, the choices of T, and how often inputs are withheld.
    seed, step: determine the batch.
    prior: the language prior, whose `track` appends the classes of meaning to the states; None: states alone.

    Returns {"audio": (B, T, F) channels of the sound; "clean", "noise": (B, T, D); "mask": (B, T, 1), 1 = this frame is
    given to the network; "prior": (B, T, P) states, zero where withheld; "gesture": (B, T), 1 during a meaning gesture;
    "closed": (B, T), 1 on p, b or m; "style": (B, 10); "keep_audio": (B, 1, 1), 0 = the sound is withheld; "sigma":
    (B,) noise levels}."""
    rng = generator(seed, step)
    frames = int(rng.choice(recipe.lengths))
    crops = data.crops(rng, recipe.batch, frames)
    if recipe.oracle:
        crops["audio"][..., :40] = confuse_phones(crops["audio"][..., :40], rng)
    # what the prior says comes of the transcript in some sequences, of the sound in the others, of nothing in some
    size = (recipe.batch, 1, 1)
    rotations, expression = crops["motion"][..., :147].unflatten(-1, (49, 3)), crops["motion"][..., 147:]
    read = torch.from_numpy(rng.random(size) < recipe.read_share).float()
    keep_prior = torch.from_numpy(rng.random(size) >= recipe.drop_prior).float()
    states = torch.lerp(crops["heard"], crops["text"], read)
    told = states
    if prior is not None:
        told = torch.where(read > 0, prior.track(crops["text"], True), prior.track(crops["heard"])).detach()
    width = states.shape[-1]
    # some sequences get only the classes, and their probabilities less sure than in training
    keep_states = torch.from_numpy(rng.random(size) >= recipe.drop_states).float()
    faint = torch.from_numpy(rng.uniform(recipe.faintest, 1, size)).float()
    if told.shape[-1] > width:
        told = torch.cat([told[..., :width] * keep_states, told[..., width:] * faint], -1)
    # the first frames of some sequences are given, as they are when windows follow one another
    clean = codec.encode(rotations, expression)
    given = _given_frames(rng, recipe, frames)
    mask = (torch.arange(frames)[None, :, None] < torch.from_numpy(given)[:, None, None]).float()
    return {
        "audio": crops["audio"],
        "style": crops["style"],
        "clean": clean,
        "mask": mask,
        "prior": keep_prior * told,
        "gesture": (crops["gesture"] > 0).float(),
        "keep_audio": torch.from_numpy(rng.random(size) >= recipe.drop_audio).float(),
        "closed": crops["closed"],
        "sigma": torch.from_numpy(np.exp(rng.normal(*recipe.sigma, recipe.batch))).float().clamp(*SIGMAS),
        "noise": torch.from_numpy(rng.standard_normal(clean.shape, dtype=np.float32)),
    }


def _given_frames(rng: np.random.Generator, recipe: Recipe, frames: int, usual: int = 12) -> np.ndarray:
    """Draw for each sequence of a batch how many of its first frames the network is given -> (B,) numbers.

    The number is 0, `usual`, or random, as in the last window of a recording.
    rng: random generator; recipe: its `batch` is B, its `seed_chance` the probability of a number above 0; frames:
        length of the sequences; usual: the most frequent number above 0."""
    kind = rng.random(recipe.batch)
    some = np.where(rng.random(recipe.batch) < 0.7, usual, rng.integers(1, frames - 8, recipe.batch))
    return np.where(kind < recipe.seed_chance, some, 0)


class MotionLoss:
    """The loss of the motion denoiser: called with (denoiser, batch of `draw_batch`), it returns the loss () and its
    terms {"x0", "velocity", "closure": number}.

    "x0" is the error of the motion, weighted by region; "velocity" that of its changes from frame to frame; "closure"
    that of the lip gap on p, b and m.
    codec: tells channels apart; recipe: weights; gap: from `motion.lips.lip_gap_weights`."""

    def __init__(self, codec: MotionCodec, recipe: Recipe, gap: tuple[Tensor, Tensor]):
        self.recipe, self.gap = recipe, gap
        weight = torch.ones(codec.width)
        weight[codec.mouth_channels()] = recipe.mouth_weight
        start = codec.slices()["expression"].start
        for name in ("jawOpen", "mouthClose"):
            weight[start + ARKIT_INDEX[name]] = recipe.jaw_weight
        self.arms = torch.zeros(codec.width)
        for joint in (j for side in "LR" for j in ARM_JOINTS[side]):
            self.arms[6 * MOTION_JOINTS.index(joint) : 6 * MOTION_JOINTS.index(joint) + 6] = 1
        weight[self.arms > 0] = recipe.arm_weight
        self.weight = weight / weight.mean()

    def __call__(self, net: MotionDenoiser, batch: dict[str, Tensor]) -> tuple[Tensor, dict[str, float]]:
        clean, mask, sigma = batch["clean"], batch["mask"], batch["sigma"]
        cond = MotionCondition(batch["audio"], batch["style"], clean, mask, batch["prior"], batch["keep_audio"])
        denoised = net(clean + sigma[:, None, None] * batch["noise"], sigma, cond).float()
        position, velocity = motion_errors(net.codec, denoised, clean)
        level = loss_weight(sigma)[:, None]
        more = (self.recipe.gesture_weight - 1) * batch["gesture"][..., None] * self.arms.to(clean)
        weight = self.weight.to(clean) * (1 + more)  # (B, T, D)
        new = 1 - mask[..., 0]  # given frames are put back by the sampler: nothing to learn there
        mean = (level * new * (position * weight).mean(-1)).mean()
        usual = clean.diff(dim=1).square().mean((0, 1)).clamp_min(SLOWEST**2)  # slow channels show small jitter too
        speed = (level * new[:, 1:] * (velocity / usual * weight[:, 1:]).mean(-1)).mean()
        neutral, change = (t.to(clean) for t in self.gap)
        ours, theirs = (lip_gap(net.codec.expression(x), (neutral, change)) for x in (denoised, clean))
        heard = batch["closed"] * new * batch["keep_audio"][..., 0]
        shut = closure_error(ours, theirs, heard).sum() / heard.sum().clamp_min(1)
        value = mean + self.recipe.velocity_weight * speed + self.recipe.closure_weight * shut
        return value, {"x0": float(mean.detach()), "velocity": float(speed.detach()), "closure": float(shut.detach())}


def fit_codec(data: MotionData, config: MotionCodec.Config, frames: int = 60_000) -> MotionCodec:
    """Return a codec that is fitted to data: mean, deviation and finger basis of about `frames` evenly spaced frames.

    data: the recordings; config: sizes of the codec; frames: how many."""
    motion = data.tracks["motion"]
    rows = torch.from_numpy(motion[:: max(1, len(motion) // frames)].astype(np.float32))
    return MotionCodec(config).fit(rows[:, :147].unflatten(-1, (49, 3)), rows[:, 147:])


def train(
    net: MotionDenoiser, data: AnyData, recipe: Recipe, schedule: Schedule, run: Path, device: str = "cpu",
    prior: LanguagePrior | None = None,
) -> MotionDenoiser:  # fmt: skip
    """Train the denoiser in place -> the denoiser; its codec must be fitted already.

    net: the denoiser.
    data, recipe, prior: as in `draw_batch`.
    schedule: steps, learning rate and seed (`loop.Schedule`).
    run: folder of the training state and log, from which an interrupted training continues.
    device: where the network is trained."""
    from ...body.model import HalfBody

    loss = MotionLoss(net.codec, recipe, lip_gap_weights(HalfBody()))
    codec = MotionCodec(net.codec.config)
    codec.load_state_dict(net.codec.state_dict())  # batches are made on the CPU
    seed = schedule.seed
    return fit(net, lambda step: draw_batch(data, codec, recipe, seed, step, prior), loss, schedule, run, device)


def with_prior_width(net: MotionDenoiser, prior: int) -> MotionDenoiser:
    """Return the network with more input channels for the prior, which have no effect until they are trained.

    net: the network; prior: new number of channels."""
    if net.config.prior == prior:
        return net
    new = MotionDenoiser(replace(net.config, prior=prior))
    state = net.state_dict()
    columns = torch.zeros(len(state["prior_in.weight"]), prior)
    columns[:, : net.config.prior] = state["prior_in.weight"]
    new.load_state_dict(state | {"prior_in.weight": columns})
    return new


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `train motion`."""
    parser.add_argument("--data", type=Path, default=Path("data/motion"))
    parser.add_argument("--sets", nargs="+", default=["train"], help="folders of the data, or FOLDER:WEIGHT")
    parser.add_argument("--run", type=Path, default=Path("runs/motion"))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--from", dest="start", type=Path, default=None, help="checkpoint to fine-tune")
    parser.add_argument("--prior", type=Path, default=NANO / "prior.safetensors")
    parser.add_argument("--oracle", action="store_true", help="the data has phone labels, not encoder output")
    parser.add_argument("--read-share", type=float, default=Recipe.read_share, help="1 = the prior only reads text")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=NANO / "motion_denoiser.safetensors")


def run(options: argparse.Namespace) -> None:
    """Train a motion denoiser, or continue from one, and write its file."""
    prior, pairs = load(LanguagePrior, options.prior), [name.partition(":") for name in options.sets]
    sets = [MotionData(options.data / name) for name, _, _ in pairs]
    data = MixedMotion(sets, [float(weight or 1) for _, _, weight in pairs])
    torch.manual_seed(options.seed)
    if options.start:
        net = with_prior_width(load(MotionDenoiser, options.start), prior.track_width)
    else:
        net = MotionDenoiser(MotionDenoiser.Config(prior=prior.track_width))
        net.codec.load_state_dict(fit_codec(sets[0], net.config.codec).state_dict())
    schedule = Schedule(options.steps, lr=options.lr, seed=options.seed, amp=options.device != "cpu", save_every=100)
    recipe = Recipe(oracle=options.oracle, read_share=options.read_share)
    train(net, data, recipe, schedule, options.run, options.device, prior)
    told = after(options.start, command=options.line, cost=cost(options.run), data=data.described())
    save(net, options.out, **(made(options) | told))
