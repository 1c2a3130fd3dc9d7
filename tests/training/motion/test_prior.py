"""Training of the language prior: trimmed vocabulary, distillation and alignment on toys."""

import json

import numpy as np
import pytest
import torch

from stereotalker_core.motion.networks.prior import LanguagePrior, pack_tokenizer
from stereotalker_core.training.motion import prior as prior_training
from stereotalker_core.training.motion.motion_data import MotionData
from stereotalker_core.training.motion.prior import (
    LAYERS,
    RARE_CLASSES,
    TextStates,
    alignment_loss,
    fit_meaning,
    meaning_examples,
    meaning_report,
    principal_embeddings,
    running_text,
    standardise_states,
    train_distiller,
)
from stereotalker_core.training.motion.tokenizer import trim_tokenizer
from tests.motion.samples import make_prior


def tokenizer_json() -> str:
    """Byte-level BPE with the pieces of "hello"."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    merges = [("h", "e"), ("l", "l"), ("he", "ll"), ("hell", "o"), ("Ġ", "hello"), ("o", "o")]
    pieces = ["<s>", *sorted(pre_tokenizers.ByteLevel.alphabet()), *(a + b for a, b in merges)]
    tokenizer = Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer.to_str()


def test_trimming_keeps_the_segmentation_of_the_corpus():
    from tokenizers import Tokenizer

    full = Tokenizer.from_str(tokenizer_json())
    text, kept = trim_tokenizer(tokenizer_json(), [" hello"], 263)
    small = Tokenizer.from_str(text)
    assert len(kept) == 1 + 256 + 5 and json.loads(text)["model"]["vocab"]["<s>"] == 0
    for sentence in (" hello", " hello hello"):
        assert [kept[i] for i in small.encode(sentence).ids] == full.encode(sentence).ids
    assert full.encode(" oo").tokens == ["Ġ", "oo"] and small.encode(" oo").tokens == ["Ġ", "o", "o"]
    with pytest.raises(ValueError, match="allow more"):
        trim_tokenizer(tokenizer_json(), [], 100)


def test_running_text():
    assert running_text("Don't stop, Bob!") == " don't stop bob"


def test_principal_embeddings_keep_neighbours():
    table = torch.randn(50, 4, generator=torch.Generator().manual_seed(0)) @ torch.randn(4, 32)
    small = principal_embeddings(table, 8)
    a, b = (torch.cdist(x - x.mean(0), x - x.mean(0)).flatten() for x in (table, small))
    assert torch.corrcoef(torch.stack([a, b]))[0, 1] > 0.99 and abs(float(small.std()) - 0.3) < 1e-4


def test_distillation_explains_held_out_states(tmp_path):
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 40, (60, 8)).astype(np.int16)
    ids[:, 6:][rng.random((60, 2)) < 0.5] = -1
    table = rng.normal(size=(40, len(LAYERS), 12))
    states = np.where(ids[..., None, None] >= 0, table[ids.clip(0)], 0).astype(np.float16)
    prior = make_prior()
    train_distiller(prior, TextStates(ids, states), steps=150, seed=0, run=tmp_path, batch=16)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < 0.5 * rows[0]["loss"]


def test_standardised_states_have_unit_spread():
    packed = pack_tokenizer(tokenizer_json())
    prior = make_prior(tokenizer_bytes=len(packed))
    prior.tokenizer_json.copy_(packed)
    texts = [["hello", chr(97 + i), "oo"] for i in range(20)]
    standardise_states(prior, texts)
    states = torch.cat([prior.read_words(t) for t in texts])
    assert states.mean(0).abs().max() < 1e-3 and 0.5 < float(states.detach().std()) < 1.1


def test_alignment_loss_falls_towards_the_states_and_the_right_words():
    prior: LanguagePrior = make_prior()
    audio = torch.rand(2, 16, prior.config.audio)
    heard = prior.hear(audio).detach()
    word, often = torch.ones(2, 16), torch.ones(3)
    table = torch.nn.functional.normalize(torch.stack([torch.zeros(prior.width), heard[0, 0], -heard[0, 0]]), dim=-1)
    value, parts = alignment_loss(prior, {"audio": audio, "target": heard, "word": word}, table, often)
    assert parts["cosine"] == pytest.approx(1, abs=1e-4) and parts["distance"] < 1e-6
    far, worse = alignment_loss(prior, {"audio": audio, "target": -heard, "word": word}, table, often)
    assert float(far.detach()) > float(value.detach()) + 1 and worse["cosine"] == pytest.approx(-1, abs=1e-4)
    wrong, parts = alignment_loss(prior, {"audio": audio, "target": heard, "word": 2 * word}, table, often)
    assert float(wrong.detach()) > float(value.detach()) and parts["words"] < 1


def test_meaning_head_learns_from_words_and_never_sees_the_held_out(tmp_path, monkeypatch):
    """A toy language in which the state of a word is its class: synonyms that were left out are found."""
    packed = pack_tokenizer(tokenizer_json())
    prior = make_prior(tokenizer_bytes=len(packed))
    prior.tokenizer_json.copy_(packed)
    rng = np.random.default_rng(0)
    words = ["-", "huge", "gigantic", "never", "nowhere", "chair"]
    centre = rng.normal(size=(3, prior.width))
    number = np.repeat(rng.integers(1, 6, 50), 8)
    states = centre[np.array([0, 0, 0, 1, 1, 2])[number]] + 0.1 * rng.normal(size=(400, prior.width))
    arrays = {"word": number.astype(np.int16), "text": states, "heard": states, "closed": number, "gesture": number}
    arrays |= {"phones": np.zeros((400, 40)), "prosody": np.zeros((400, 5)), "motion": np.zeros((400, 199))}
    arrays |= {"style": np.zeros((1, 10)), "held": np.array([False]), "starts": np.array([0, 400])}
    for name, array in arrays.items():
        np.save(tmp_path / f"{name}.npy", array)
    (tmp_path / "words.txt").write_text("\n".join(words))
    data = MotionData(tmp_path)
    _, classes, _ = meaning_examples(prior, 3, 0)
    assert int((classes > 0).sum()) > 0
    report = meaning_report(fit_meaning(prior, 3, 2, 0), data)
    assert set(report) == {f"{a}_{b}" for a in ("text", "heard") for b in ("trained", "held_out", "false")}
    states, classes, _ = meaning_examples(prior, 30, 0)
    found, plain = [], []
    for weight in (1.0, RARE_CLASSES):  # the words of a class are few: unless they count for more, none is found
        monkeypatch.setattr(prior_training, "RARE_CLASSES", weight)
        right = (fit_meaning(prior, 30, 200, 0).meaning_head(states).argmax(-1) == classes).float()
        found.append(float(right[classes > 0].mean()))
        plain.append(float(right[classes == 0].mean()))
    assert found[1] > 0.4 > found[0] and min(plain) > 0.25  # of thirteen answers
