"""Train ProbTalk3D on a 3DMEAD folder as the paper does: epochs of single clips, early stopping (sections 4.1, 4.2).

    python -m stereotalker_core train face-epochs --data 3DMEAD --stage 1 --out prior.safetensors
    python -m stereotalker_core train face-epochs --data 3DMEAD --stage 2 --prior prior.safetensors --hubert FOLDER

The released code logs (and stops early by) the mean of a loss since the start of training, and leaves the dropout of
the frozen prior on in stage 2. Both are mended here; --as-released brings them back, with the released latent loss.
"""

import argparse
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...audio.load import load_audio
from ...checkpoint import load, save
from ...face.hubert import HubertFeatures, prepare_waveform
from ...face.model import ProbTalk3D
from ...face.prior import MotionPrior
from ...face.quantiser import Draw
from ..provenance import made
from .face_data import MeadClip, mead_clips
from .face_loss import PredictorWeights, PriorWeights, stage_one, stage_two

logger = logging.getLogger(__name__)
Example = dict[str, Tensor]  # motion (1, T, 53), and in stage 2 style (1, 43), waveform (1, S)
Loss = Callable[[Any, Example], Tensor]  # of the model that is trained, of either stage


@dataclass(frozen=True)
class Protocol:
    """The paper's settings of a training.

    epochs: largest number; patience: number of epochs without improvement after which it stops.
    lr, weight_decay: of the optimiser; seed: of everything random.
    as_released: train as the released code does, with the faults that the top of this file names."""

    epochs: int = 201
    patience: int = 5
    lr: float = 1e-4
    weight_decay: float = 0.01
    seed: int = 1234
    as_released: bool = False

    @classmethod
    def second(cls, **changes: object) -> "Protocol":
        """Return the protocol of stage 2: Adam without weight decay, at a tenth of the learning rate."""
        return cls(**{"lr": 1e-5, "weight_decay": 0.0, **changes})


class Mean:
    """The mean of the losses since the last call of `forget`; our training calls that at every epoch, the released code
    never."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def add(self, value: float) -> None:
        self.total, self.count = self.total + value, self.count + 1

    def forget(self) -> None:
        self.total, self.count = 0.0, 0

    @property
    def value(self) -> float:
        return self.total / max(1, self.count)


def prior_loss(weights: PriorWeights) -> Loss:
    """Return a function (prior, example from `reader`) -> the loss () of stage 1; the VAE variant samples its Gaussian.

    weights: factor of each term."""

    def loss(prior: MotionPrior, example: Example) -> Tensor:
        vae = prior.config.kind == "vae"
        seed = int(torch.randint(1 << 40, ()))
        recovered, passed = prior(example["motion"], Draw(seed=seed) if vae else None, rounded=True)
        return stage_one(recovered, passed, example["motion"], weights)[0]

    return loss


def predictor_loss(weights: PredictorWeights, as_released: bool) -> Loss:
    """Return the loss of stage 2, a function (model, example from `reader`) -> loss (); the prior in the model is
    frozen.

    weights: factor of each term; as_released: keep the prior's dropout on and round the latents, as the released code
        does. Sound and motion of an example are cut to equal length."""

    def loss(model: ProbTalk3D, example: Example) -> Tensor:
        if not as_released:
            model.motion_prior.eval()
        heard, motion = model.hear(example["waveform"]), example["motion"]
        frames = min(heard.shape[1], motion.shape[1])
        predicted = model.feature_predictor(heard[:, :frames], example["style"])
        return stage_two(model.motion_prior, predicted, motion[:, :frames], weights, rounded=as_released)[0]

    return loss


def fit_epochs(
    model: nn.Module,
    train: Sequence,
    val: Sequence,
    read: Callable[[Any], Example],
    loss: Loss,
    protocol: Protocol,
    on_epoch: Callable[[int, float, float], None] | None = None,
) -> nn.Module:
    """Train in place on one clip per step; stop when `val` has not improved for `patience` epochs -> the best model.

    model: the network to train.
    train, val: clips to learn from, and to stop by.
    read: clip -> example, from `reader`.
    loss: (model, example) -> loss ().
    protocol: epochs, patience and learning rate.
    on_epoch: called with (epoch, train loss, val loss)."""
    torch.manual_seed(protocol.seed)
    shuffle = np.random.default_rng(protocol.seed)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, protocol.lr, (0.9, 0.98), 1e-9, protocol.weight_decay)
    trained, validated = Mean(), Mean()
    best, best_state, waited = float("inf"), None, 0
    for epoch in range(protocol.epochs):
        if not protocol.as_released:
            trained.forget()
            validated.forget()
        model.train()
        for index in shuffle.permutation(len(train)):
            value = loss(model, read(train[index]))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            trained.add(float(value.detach()))
        model.eval()
        for clip in val:
            with torch.no_grad():
                validated.add(float(loss(model, read(clip))))
        logger.info("epoch %d  train %.5f  val %.5f", epoch, trained.value, validated.value)
        if on_epoch is not None:
            on_epoch(epoch, trained.value, validated.value)
        if validated.value < best:
            best, waited = validated.value, 0
            best_state = {k: v.detach().clone() for k, v in model.state_dict().items()}
        else:
            waited += 1
            if waited >= protocol.patience:
                break
    if best_state is not None:
        model.load_state_dict(best_state)
    return model.eval()


def reader(stage: int, device: str) -> Callable[[MeadClip], Example]:
    """Return a function that reads a clip -> {"motion" (1, T, 53)}, in stage 2 also "style" (1, 43), "waveform" (1, S).

    stage: of the training, 1 or 2; device: where the tensors go."""

    def read(clip: MeadClip) -> Example:
        example = {"motion": clip.motion[None]}
        if stage == 2:
            example["style"] = clip.style[None]
            if clip.sound is None:
                raise ValueError(f"{clip.name} has no sound, which stage 2 needs")
            example["waveform"] = prepare_waveform(load_audio(clip.sound).waveform)[None]
        return {k: v.to(device) for k, v in example.items()}

    return read


def heard_by(model: ProbTalk3D) -> HubertFeatures:
    """Return the HuBERT of a full-size model. ValueError for a model without one."""
    if model.feature_extractor is None:
        raise ValueError("this model has no HuBERT of its own; make a full-size one")
    return model.feature_extractor


def trainable_parts(model: ProbTalk3D) -> Iterator[str]:
    """Freeze the prior and the first layers of HuBERT, as in the paper -> names of the trained parameters."""
    model.requires_grad_(True)
    model.motion_prior.requires_grad_(False)
    heard_by(model).freeze()
    return (name for name, p in model.named_parameters() if p.requires_grad)


def build_second(prior: MotionPrior, hubert: Path | None) -> ProbTalk3D:
    """Return a full-size model around a trained prior; hubert: a Hugging Face folder of its initial weights."""
    model = ProbTalk3D(ProbTalk3D.Config(prior=prior.config))
    model.motion_prior.load_state_dict(prior.state_dict())
    if hubert is not None:
        from transformers import HubertModel

        start = HubertModel.from_pretrained(hubert, local_files_only=True, use_safetensors=True)
        heard_by(model).audiomodel.load_state_dict(start.state_dict())
    return model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `train face-epochs`."""
    parser.add_argument("--data", type=Path, required=True, help="3DMEAD folder with param/ and wav/")
    parser.add_argument("--stage", type=int, choices=(1, 2), required=True)
    parser.add_argument("--kind", choices=("vq", "vae"), default="vq")
    parser.add_argument("--prior", type=Path, default=None, help="stage 2: the file that stage 1 wrote")
    parser.add_argument("--hubert", type=Path, default=None, help="stage 2: hubert-base-ls960 in Hugging Face format")
    parser.add_argument("--epochs", type=int, default=Protocol.epochs)
    parser.add_argument("--as-released", action="store_true", help="with the oddities of the released code")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, required=True)


def run(options: argparse.Namespace) -> None:
    """Train one of the two stages and write its file. ValueError where stage 2 is given no prior."""
    if options.stage == 2 and options.prior is None:
        raise ValueError("stage 2 needs --prior, the file that stage 1 wrote")
    train, val = (mead_clips(options.data, options.stage, split) for split in ("train", "val"))
    changes = {"epochs": options.epochs, "as_released": options.as_released}
    if options.stage == 1:
        protocol, loss = Protocol(**changes), prior_loss(PriorWeights() if options.kind == "vq" else PriorWeights.vae())
        model: nn.Module = MotionPrior(MotionPrior.Config(kind=options.kind))
    else:
        protocol, loss = Protocol.second(**changes), predictor_loss(PredictorWeights(), options.as_released)
        model = build_second(load(MotionPrior, options.prior), options.hubert)
        logger.info("%d tensors learn", len(list(trainable_parts(model))))
    read = reader(options.stage, options.device)
    fit_epochs(model.to(options.device), train, val, read, loss, protocol)
    save(model, options.out, torch.float32, **(made(options) | {"seed": protocol.seed}))
