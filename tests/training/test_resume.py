"""Every trainer of stage 1 and stage 2, killed between two checkpoints, continues with the identical curve and weights.

The trainers' own functions run, with a checkpoint every second step; the kill is an exception after step 3 of 4.
"""

import json

import pytest
import torch

from stereotalker_core.audio.encoder import SpeechEncoder
from stereotalker_core.synthetic.data.avatar_frames import AvatarData, find_shards
from stereotalker_core.training import distributed, loop
from stereotalker_core.training.distributed import Scale, fit_distributed
from stereotalker_core.training.loop import Schedule, fit
from stereotalker_core.training.motion import denoiser as motion
from stereotalker_core.training.motion import prior
from stereotalker_core.training.motion.motion_data import MotionData
from stereotalker_core.training.speech import audio_encoder
from stereotalker_core.training.video import autoencoder, decoder, experts, mask, renderer
from tests.motion.samples import make_denoiser, make_prior
from tests.training import tiny_tasks
from tests.training.speech.test_audio_encoder import TINY, write_split
from tests.training.stage2_samples import PARTS
from tests.video.samples import CONFIG

STEPS, KILL = 4, 3


class KillError(Exception):
    """Stands for a kill signal."""


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tiny_tasks.write_data(tmp_path_factory.mktemp("data"))
    write_split(folder / "speech", 4, 0)
    return folder


def frames(root):
    return AvatarData(find_shards(root / "frames"), PARTS)


def base():
    return tiny_tasks.denoiser()


def train_encoder(root, run):
    torch.manual_seed(0)
    trainee = audio_encoder.Trainee(SpeechEncoder(TINY))
    settings = audio_encoder.CropSettings(2, 0.5)
    crops = audio_encoder.PhoneCrops([audio_encoder.Source(root / "speech")], settings, TINY.bins)
    return fit(trainee, crops, audio_encoder.loss, fast(STEPS), run)


def train_distiller(root, run):
    import numpy as np

    rng = np.random.default_rng(0)
    states = rng.normal(size=(30, 8, len(prior.LAYERS), 12)).astype(np.float16)
    model = make_prior()
    prior.train_distiller(
        model, prior.TextStates(rng.integers(0, 40, (30, 8)).astype(np.int16), states), STEPS, 0, run, 4
    )
    return model


def train_alignment(root, run):
    model = make_prior()
    prior.align(model, MotionData(root / "motion"), run, fast(STEPS), 2)
    return model


def train_motion(root, run):
    data, net = MotionData(root / "motion"), make_denoiser()
    net.codec.load_state_dict(motion.fit_codec(data, net.config.codec).state_dict())
    return motion.train(net, data, motion.Recipe(batch=2, lengths=(12, 20)), fast(STEPS), run)


def train_mask(root, run):
    model, batch, loss, _ = tiny_tasks.make("mask", root)
    return fit(model, batch, loss, fast(STEPS), run)


NANO = {
    "audio_encoder": train_encoder,
    "prior distill": train_distiller,
    "prior align": train_alignment,
    "motion": train_motion,
    "autoencoder": lambda root, run: autoencoder.train(frames(root), run, STEPS, batch=2, size=16),
    "renderer image": lambda root, run: renderer.train_image(
        frames(root), tiny_tasks.autoencoder(), run, STEPS, CONFIG, identities=1, frames=2
    ),
    "renderer motion": lambda root, run: renderer.train_motion(
        base(), frames(root), tiny_tasks.autoencoder(), run, STEPS, clips=1, frames=4
    ),
    "experts": lambda root, run: torch.nn.ModuleList(
        experts.train_experts(
            base(), frames(root), tiny_tasks.autoencoder(), run, STEPS, identities=1, frames=2, rank=2
        )
    ),
    "mask": train_mask,
    "decoder": lambda root, run: decoder.train_decoder(
        tiny_tasks.autoencoder().requires_grad_(True), base(), frames(root), run, STEPS, batch=2, size=16
    ),
}


def fast(*values, **settings) -> Schedule:
    return Schedule(*values, **(settings | {"save_every": 2, "log_every": 1, "amp": False}))


@pytest.fixture
def quick(monkeypatch):
    """Every trainer's schedule saves at every second step."""
    for module in (autoencoder, renderer, experts, mask, decoder, motion, prior, audio_encoder):
        monkeypatch.setattr(module, "Schedule", fast)
    return monkeypatch


def curve(run) -> list[float]:
    return [json.loads(line)["loss"] for line in (run / "log.jsonl").read_text().splitlines()]


def check(train, module, patch, tmp_path):
    """Train whole, and killed + resumed: same curve, same weights."""
    whole = train(tmp_path / "whole")
    write = module.log_row

    def dying(run, step, schedule, row):
        if step == KILL:
            raise KillError
        write(run, step, schedule, row)

    patch.setattr(module, "log_row", dying)
    with pytest.raises(KillError):
        train(tmp_path / "killed")
    assert len(curve(tmp_path / "killed")) == KILL - 1
    patch.setattr(module, "log_row", write)
    resumed = train(tmp_path / "killed")
    assert len(curve(tmp_path / "whole")) == STEPS and curve(tmp_path / "killed") == curve(tmp_path / "whole")
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("name", NANO)
def test_nano_trainers(root, tmp_path, quick, name):
    check(lambda run: NANO[name](root, run), loop, quick, tmp_path)


@pytest.mark.parametrize("name", tiny_tasks.NAMES)
def test_scale_trainers(root, tmp_path, monkeypatch, name):
    def train(run):
        model, batch, loss, trainable = tiny_tasks.make(name, root)
        return fit_distributed(model, batch, loss, fast(STEPS), Scale(2), run, "cpu", trainable)

    check(train, distributed, monkeypatch, tmp_path)
