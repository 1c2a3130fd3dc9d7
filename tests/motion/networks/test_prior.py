"""The language prior: blocks equal one pass, words land on their frames, LoRA is separate, any folder loads."""

import json

import pytest
import torch

from stereotalker_core.checkpoint import load, save
from stereotalker_core.motion.networks.prior import (
    BLOCK,
    REACH,
    READ_STRENGTH,
    SHORTEST,
    TEMPERATURE,
    LanguagePrior,
    PriorTrack,
    pack_tokenizer,
    unpack_tokenizer,
)
from tests.motion.samples import byte_tokenizer, make_prior, make_reader


@pytest.fixture(scope="module")
def prior() -> LanguagePrior:
    return make_reader()


def test_short_sound_in_blocks_is_one_pass(prior):
    audio = torch.rand(BLOCK - 20, prior.config.audio)
    torch.testing.assert_close(prior.hear_all(audio), prior.hear(audio[None])[0], atol=1e-5, rtol=1e-4)


def test_blocks_are_what_a_plain_loop_gives(prior):
    audio = torch.rand(300, prior.config.audio)
    plain = torch.zeros(300, prior.width)
    for t in range(300):  # each frame alone, from the block before its own on
        first = max(0, t // BLOCK * BLOCK - BLOCK)
        if t % 37 == 0:
            plain[t] = prior.hear(audio[None, first : t // BLOCK * BLOCK + BLOCK + REACH])[0, t - first].detach()
    rows = list(range(0, 300, 37))
    torch.testing.assert_close(prior.hear_all(audio)[rows], plain[rows], atol=1e-5, rtol=1e-4)


def test_words_lie_on_their_frames(prior):
    states = prior.read([("hi", 0.2, 0.4), ("There", 0.48, 0.8)], 25)
    spoken = states.abs().sum(-1) > 0
    assert spoken.nonzero().flatten().tolist() == [*range(5, 10), *range(12, 20)]
    assert torch.equal(states[5], states[9]) and not torch.equal(states[5], states[12])


def test_a_word_is_read_in_context_without_case(prior):
    a, b, c = (prior.read_words(w)[-1] for w in (["one", "hi"], ["two", "hi"], ["ONE", "Hi"]))
    assert not torch.equal(a, b) and torch.equal(a, c)


def test_long_transcripts_are_read_in_blocks(prior):
    words = ["hi", "there"] * BLOCK
    states = prior.read_words(words)
    assert states.shape == (2 * BLOCK, prior.width) and bool(states.isfinite().all())
    torch.testing.assert_close(states[:20], prior.read_words(words[:20]), atol=1e-5, rtol=1e-4)


def test_adapters_change_the_sound_path_only(prior):
    audio, ids = torch.rand(1, 20, prior.config.audio), torch.randint(0, 200, (1, 8))
    heard, read = prior.hear(audio), prior.read_tokens(ids)
    with torch.no_grad():
        changed = [p for n, p in prior.named_parameters() if "lora_B" in n]
        for p in changed:
            p.add_(0.1)
        try:
            assert torch.equal(prior.read_tokens(ids), read)
            assert not torch.equal(prior.hear(audio), heard)
        finally:
            for p in changed:
                p.sub_(0.1)


def test_checkpoint_holds_everything(prior, tmp_path):
    save(prior, tmp_path / "prior.safetensors", torch.float32)
    back = load(LanguagePrior, tmp_path / "prior.safetensors")
    assert torch.equal(back.read_words(["hi", "there"]), prior.read_words(["hi", "there"]))


def test_any_folder_loads(tmp_path):
    from tokenizers import Tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=300, hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2
    )
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(tmp_path)
    PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(byte_tokenizer())).save_pretrained(tmp_path)
    prior = LanguagePrior.from_folder(tmp_path, rank=2, projector=8)
    assert prior.width == 24 and json.loads(prior.config.llm)["model_type"] == "llama"
    ids = torch.randint(0, 250, (1, 6))
    expected = model.model(torch.cat([torch.zeros(1, 1, dtype=torch.long), ids], 1)).last_hidden_state[:, 1:]
    torch.testing.assert_close(prior.read_tokens(ids), expected, atol=1e-5, rtol=1e-4)
    save(prior, tmp_path / "prior.safetensors", torch.float32)
    back = load(LanguagePrior, tmp_path / "prior.safetensors")
    torch.testing.assert_close(back.read_tokens(ids), expected, atol=1e-5, rtol=1e-4)


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(ValueError, match="config.json"):
        LanguagePrior.from_folder(tmp_path)


def test_transcript_needs_a_tokenizer():
    with pytest.raises(ValueError, match="tokenizer"):
        make_prior().read([("hi", 0, 1)], 25)


def test_tokenizer_survives_packing():
    text = byte_tokenizer()
    assert unpack_tokenizer(pack_tokenizer(text)) == text


def test_a_track_by_pieces_is_the_whole_track(prior):
    audio = torch.rand(300, prior.config.audio)
    words = [("hi", 0.2, 0.4), ("There", 4.9, 5.3), ("hi", 11.6, 11.62)]
    pieces = [slice(0, 100), slice(88, 188), slice(170, 270), slice(200, len(audio))]
    for given, whole in (([], prior.hear_all(audio)), (words, prior.read(words, len(audio)))):
        track = PriorTrack(prior, audio, given, 0.5)
        for piece in pieces:
            plain = 0.5 * (READ_STRENGTH if given else 1) * prior.track(whole[piece], bool(given))
            torch.testing.assert_close(track[piece], plain, atol=1e-5, rtol=1e-5)


def test_meaning_is_a_probability_and_nothing_in_silence():
    prior = make_prior(classes=("you", "me", "no"))
    states = torch.randn(5, prior.width)
    states[2] = 0
    track = prior.track(states)
    assert track.shape == (5, prior.width + 3) == (5, prior.track_width)
    assert torch.equal(track[2], torch.zeros(prior.width + 3)) and track[0, prior.width :].sum() < 1
    with pytest.raises(ValueError, match="no classes"):
        make_prior().meaning(states)


def test_what_is_read_is_judged_itself_and_what_is_heard_by_the_words_near_it():
    torch.manual_seed(0)
    prior = make_prior(classes=("you", "me", "no"), lexicon=7)
    prior.lexicon.copy_(torch.randn(7, prior.width))
    states = 3 * torch.randn(4, prior.width)
    alone = prior.meaning_head(states).softmax(-1)[:, 1:]
    torch.testing.assert_close(prior.track(states, read=True)[:, prior.width :], alone)
    for state, row in zip(states, prior.meaning(states), strict=True):  # the weighted mean written out
        near = [float(torch.cosine_similarity(state, word, 0)) / TEMPERATURE for word in prior.lexicon]
        weights = torch.tensor(near).softmax(0)
        plain = sum(
            w * prior.meaning_head(word).softmax(-1)[1:] for w, word in zip(weights, prior.lexicon, strict=True)
        )
        torch.testing.assert_close(row, plain, atol=1e-4, rtol=1e-3)


def test_a_short_word_that_means_a_gesture_is_told_for_longer_and_over_its_neighbours():
    torch.manual_seed(1)
    prior = make_reader(classes=("you", "me"))
    words = [("a", 0.4, 0.6), ("b", 0.6, 0.68), ("c", 0.68, 1.2)]
    states = prior.read_words([w for w, _, _ in words])
    prior.meaning = lambda states, read=False: torch.tensor([[0.1, 0.1], [0.1, 0.9], [0.2, 0.2]])[: len(states)]
    track = PriorTrack(prior, torch.rand(40, prior.config.audio), words)
    middle = [t for t in range(40) if torch.allclose(track._read(slice(0, 40))[t], states[1])]
    assert len(middle) == SHORTEST and middle[0] <= 15 and middle[-1] >= 16
    assert torch.equal(track._read(slice(17, 30)), track._read(slice(0, 40))[17:30])


def test_between_spotted_words_the_prior_listens():
    prior = make_reader(classes=("you", "me"))
    audio, words = torch.rand(60, prior.config.audio), [("hi", 1.0, 1.4), ("there", 1.6, 1.8)]
    spotted = PriorTrack(prior, audio, words, spotted=True)
    whole, listening = spotted[0:60], PriorTrack(prior, audio)[0:60]
    said = torch.zeros(60, dtype=torch.bool)
    for _, first, last in spotted.spans:
        said[first:last] = True
    assert said.any() and torch.equal(whole[~said], listening[~said])
    alone = PriorTrack(prior, audio, words[1:])[0:60]
    torch.testing.assert_close(whole[41:44], alone[41:44])  # read by itself: nothing in front of it
