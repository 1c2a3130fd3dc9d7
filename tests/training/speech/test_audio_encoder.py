"""Training of the speech encoder: crops match their labels, the loss falls, a killed run continues exactly."""

import json

import numpy as np
import pytest
import torch

from stereotalker_core import checkpoint
from stereotalker_core.audio.encoder import SpeechEncoder
from stereotalker_core.audio.phones import PHONE_INDEX
from stereotalker_core.commands.forwarded import run_words
from stereotalker_core.commands.train import TRAINERS
from stereotalker_core.synthetic.speech.corpus import Corpus, phone_labels
from stereotalker_core.training.loop import Schedule, fit
from stereotalker_core.training.speech.audio_encoder import (
    CropSettings,
    PhoneCrops,
    Source,
    Trainee,
    averaged,
    borders,
    evaluate,
    loss,
)

TINY = SpeechEncoder.Config(bins=24, width=24, layers=1, heads=2, feed_forward=48, context=6, position_kernel=7)
TONES = {"aa": 500, "iy": 1500, "s": 4000, "m": 200}  # a "phone" of this toy language is a tone


def write_split(folder, utterances: int, seed: int, teacher: bool = False) -> None:
    """A corpus of tones in the format of synthetic/speech/corpus.py, two "engines"."""
    folder.mkdir(parents=True)
    rng, waves, total = np.random.default_rng(seed), [], 0
    with (folder / "index.jsonl").open("w") as index:
        for n in range(utterances):
            phones, wave, time = [], [], 0.0
            for name in ["sil", *rng.choice(list(TONES), 8), "sil"]:
                samples = int(rng.integers(1200, 3600))
                tone = 8000 * np.sin(2 * np.pi * TONES.get(str(name), 0) * np.arange(samples) / 16_000)
                wave.append(tone + rng.normal(0, 20, samples))
                phones.append([str(name), time, time + samples / 16_000, 0])
                time += samples / 16_000
            wave = np.concatenate(wave).astype(np.int16)
            row = {"id": str(n), "engine": ("a", "b")[n % 2], "voice": "v", "text": "x", "seconds": time, "words": []}
            index.write(json.dumps(row | {"start_sample": total, "samples": len(wave), "phones": phones}) + "\n")
            waves.append(wave)
            total += len(wave)
    np.save(folder / "waveforms.npy", np.concatenate(waves))
    if teacher:
        frames = sum(-(-len(w) // 320) for w in waves)
        np.save(folder / "teacher.npy", np.repeat(np.arange(frames, dtype=np.float16)[:, None] / 100, 3, 1))
    (folder / "DONE").touch()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speech")
    write_split(folder / "train", 12, 0, teacher=True)
    write_split(folder / "val", 4, 1)
    return folder


def test_borders_agree_with_the_plain_labels(data):
    corpus = Corpus(data / "train")
    edges, labels = borders(corpus.entries[0])
    frames = -(-corpus.entries[0]["samples"] // 320)
    middle = (np.arange(frames) + 0.5) * 320
    mine = labels[np.searchsorted(edges, middle, "right")]
    assert np.array_equal(mine, phone_labels(corpus[0].phones, frames).numpy())


def test_crops_carry_the_tone_that_their_label_says(data):
    """Through tempo changes and offsets: the strongest frequency of a frame inside a phone is the label's, scaled."""
    settings = CropSettings(batch=8, seconds=1.0, tempo=0.2, augment=0, seed=3)
    batch = PhoneCrops([Source(data / "train")], settings, 24)(5)
    waves, labels = batch["waveforms"].reshape(8, 50, 320), batch["labels"]
    tones = torch.tensor([TONES.get(p, 0) for p in PHONE_INDEX], dtype=torch.float)
    steady = (labels[:, 1:-1] == labels[:, :-2]) & (labels[:, 1:-1] == labels[:, 2:]) & (labels[:, 1:-1] > 0)
    strongest = torch.fft.rfft(waves[:, 1:-1] * torch.hann_window(320)).abs().argmax(-1) * 50.0
    ratio = (strongest / tones[labels[:, 1:-1]])[steady]
    assert steady.sum() > 100 and ((ratio > 0.7) & (ratio < 1.35)).float().mean() > 0.95
    silent = (labels[:, 1:-1] == 0) & (labels[:, :-2] == 0) & (labels[:, 2:] == 0)
    assert waves[:, 1:-1][silent].square().mean() < 1e-3 * waves[:, 1:-1][steady].square().mean()


def test_batches_are_a_pure_function_of_the_step(data):
    crops = PhoneCrops([Source(data / "train")], CropSettings(batch=2, seconds=0.5), 24)
    one, again, other = crops(7), crops(7), crops(8)
    assert all(torch.equal(one[k], again[k]) for k in one)
    assert not torch.equal(one["waveforms"], other["waveforms"])
    assert one["waveforms"].isfinite().all() and one["keep"].shape == (2, 24, 50)


def test_teacher_targets_follow_the_crop(data):
    """The toy teacher counts frames: targets rise by the play-back factor, and join where the utterance lies."""
    source = Source(data / "train", teach=True)
    position = np.array([2.0, 2.5, 3.25])
    values, heard = source.teacher.at(1, position)
    start = source.teacher.starts[1]
    assert np.allclose(values[:, 0] * 100, start + position, atol=0.2) and heard.all()
    assert not source.teacher.at(0, np.array([-0.6, 0.0, 1e6]))[1][[0, 2]].any()
    assert loss(Trainee(SpeechEncoder(TINY), 3), PhoneCrops([source], CropSettings(batch=2), 24)(0))[1]["teacher"] > 0


def test_wrong_teacher_is_refused(tmp_path):
    write_split(tmp_path / "train", 2, 0, teacher=True)
    np.save(tmp_path / "train" / "teacher.npy", np.zeros((5, 3), np.float16))
    with pytest.raises(ValueError, match="5 frames"):
        Source(tmp_path / "train", teach=True)


def run(data, folder, steps, stop=None) -> Trainee:
    torch.manual_seed(0)
    trainee = Trainee(SpeechEncoder(TINY))
    crops = PhoneCrops([Source(data / "train")], CropSettings(batch=4, seconds=1.0), TINY.bins)
    schedule = Schedule(steps, lr=1e-2, warmup=5, log_every=5, save_every=10)

    def batch(step):
        if step == stop:
            raise KeyboardInterrupt
        return crops(step)

    return fit(trainee, batch, loss, schedule, folder)


def test_learns_and_resumes_exactly(data, tmp_path):
    whole = run(data, tmp_path / "whole", 60)
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "killed", 60, stop=37)
    step = averaged(Trainee(SpeechEncoder(TINY)), tmp_path / "killed")
    assert step == 30
    resumed = run(data, tmp_path / "killed", 60)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    curves = [
        [{k: v for k, v in json.loads(x).items() if k != "seconds_per_step"} for x in (f / "log.jsonl").open()]
        for f in (tmp_path / "whole", tmp_path / "killed")
    ]
    assert curves[0] == curves[1] and curves[0][-1]["loss"] < 0.75 * curves[0][0]["loss"]
    metrics = evaluate(whole.encoder, Corpus(data / "val"))
    untrained = evaluate(SpeechEncoder(TINY).eval(), Corpus(data / "val"))
    assert metrics["all_accuracy"] > 0.6 > untrained["all_accuracy"]
    assert {"a_accuracy", "b_spoken", "all_closure_recall", "all_closure_precision"} <= set(metrics)


def test_command_writes_a_checkpoint_with_provenance(data, tmp_path):
    out = tmp_path / "e.safetensors"
    arguments = ["--data", str(data), "--run", str(tmp_path / "run"), "--out", str(out)]
    arguments += ["--steps", "2", "--batch", "1", "--width", "16", "--layers", "1", "--teacher-weight", "0.5"]
    metrics = run_words(TRAINERS["audio-encoder"], "train audio-encoder", arguments)
    meta = checkpoint.load_tensors(out)[1]
    assert json.loads(meta["metrics"]) == metrics and "--steps 2" in meta["command"] and meta["seed"] == "0"
    assert checkpoint.load(SpeechEncoder, out).config.width == 16
    again = [*arguments, "--export-only", "--out", str(tmp_path / "again.safetensors")]
    run_words(TRAINERS["audio-encoder"], "train audio-encoder", again)
    assert checkpoint.load_tensors(tmp_path / "again.safetensors")[1]["steps"] == "2"
