"""Any language model as the prior: another folder changes no code path; LoRA saves, loads and merges exactly."""

import json

import pytest
import torch
from safetensors.torch import save_file

from stereotalker_core import checkpoint
from stereotalker_core.convert.language import (
    load_language_model,
    load_lora,
    lora_state,
    merged_language_model,
    save_lora,
)
from stereotalker_core.motion.networks.lora import adapters
from stereotalker_core.motion.networks.prior import LanguagePrior


@pytest.fixture(scope="module", params=["llama", "gpt_neox", "gpt2"])
def folder(request, tmp_path_factory):
    import transformers as hf
    from tokenizers import Tokenizer, models, pre_tokenizers

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp(request.param)
    if request.param == "llama":
        config = hf.LlamaConfig(vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                                num_attention_heads=4, num_key_value_heads=2)  # fmt: skip
        hf.LlamaForCausalLM(config).save_pretrained(path)
    elif request.param == "gpt2":  # names its sizes in its own way, and its linear layers are transposed
        config = hf.GPT2Config(vocab_size=40, n_embd=32, n_inner=48, n_layer=2, n_head=4, n_positions=64)
        hf.GPT2LMHeadModel(config).save_pretrained(path)
    else:
        config = hf.GPTNeoXConfig(vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                                  num_attention_heads=4)  # fmt: skip
        hf.GPTNeoXForCausalLM(config).save_pretrained(path)
    words = {w: i for i, w in enumerate(["<unk>", *"abcdefghijklmnopqrstuvwxyz", "hello", "world"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    hf.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>").save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def prior(folder):
    return load_language_model(folder, rank=4)[0]


def heard(prior, seed=0):
    torch.manual_seed(seed)
    return torch.randn(1, 6, prior.config.audio)


@torch.no_grad()
def test_another_folder_goes_through_the_same_code(folder, prior, tmp_path):
    from transformers import AutoModel

    _, report = load_language_model(folder)
    assert report.loaded and not report.missing and not report.unexpected
    assert prior.hear(heard(prior)).shape == (1, 6, 32)
    assert prior.read([("hello", 0.0, 0.2), ("world", 0.2, 0.4)], 10).shape == (10, 32)
    stock = AutoModel.from_pretrained(folder).eval()
    ids = torch.tensor([[0, 3, 4, 5]])
    expected = stock(input_ids=ids).last_hidden_state[:, 1:]
    assert (prior.read_tokens(ids[:, 1:]) - expected).abs().max() <= 1e-5
    checkpoint.save(prior, tmp_path / "prior.safetensors", torch.float32)
    again = checkpoint.load(LanguagePrior, tmp_path / "prior.safetensors")
    assert torch.equal(again.hear(heard(prior)), prior.hear(heard(prior)))


def test_tables_of_older_files_are_left_out_and_encoders_refused(folder, tmp_path):
    """Causal masks and rotary frequencies, which transformers once saved; a model that is not causal."""
    import shutil

    from stereotalker_core.convert.weights import read_weights

    shutil.copytree(folder, tmp_path / "model")
    kind = json.loads((folder / "config.json").read_text())["model_type"]
    old = {"llama": "model.layers.0.self_attn.rotary_emb.inv_freq", "gpt2": "transformer.h.0.attn.bias"}
    extra = {old.get(kind, "gpt_neox.layers.0.attention.bias"): torch.ones(1)}
    save_file(read_weights(folder) | extra, tmp_path / "model" / "model.safetensors")
    _, report = load_language_model(tmp_path / "model")
    assert report.loaded and not report.unexpected
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "clip"}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="'clip' model; give a causal"):
        load_language_model(tmp_path / "model")


def test_sharded_and_pickled_folders_give_the_same(folder, prior, tmp_path):
    import shutil

    from stereotalker_core.convert.weights import read_weights

    for name in ("pickled", "sharded"):
        shutil.copytree(folder, tmp_path / name)
        (tmp_path / name / "model.safetensors").unlink()
    tensors = read_weights(folder)
    torch.save(tensors, tmp_path / "pickled" / "pytorch_model.bin")
    keys, shards = list(tensors), tmp_path / "sharded"
    places = {key: f"model-{1 + i % 2}.safetensors" for i, key in enumerate(keys)}
    for shard in set(places.values()):
        save_file({k: tensors[k].clone() for k in keys if places[k] == shard}, shards / shard)
    (shards / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    ids = torch.tensor([[3, 4, 5]])
    for name in ("pickled", "sharded"):
        other, _ = load_language_model(tmp_path / name, rank=4)
        torch.testing.assert_close(other.read_tokens(ids), prior.read_tokens(ids), atol=1e-5, rtol=1e-5)


def test_incomplete_and_foreign_folders_are_refused(folder, tmp_path):
    import shutil

    from stereotalker_core.convert.weights import read_weights

    shutil.copytree(folder, tmp_path / "model")
    tensors = read_weights(folder)
    last = next(key for key in reversed(list(tensors)) if "norm" in key or "ln" in key)
    save_file({k: v for k, v in tensors.items() if k != last}, tmp_path / "model" / "model.safetensors")
    with pytest.raises(ValueError, match="1 missing.*nothing was loaded"):
        load_language_model(tmp_path / "model")
    save_file(tensors | {"strange.weight": torch.ones(2)}, tmp_path / "model" / "model.safetensors")
    with pytest.raises(ValueError, match="1 unexpected: .*strange.weight"):
        load_language_model(tmp_path / "model")


@torch.no_grad()
def test_lora_saves_loads_and_merges(folder, prior, tmp_path):
    from transformers import AutoModel

    peft = pytest.importorskip("peft")

    generator = torch.Generator().manual_seed(1)
    for value in lora_state(prior).values():
        value.copy_(torch.randn(value.shape, generator=generator) * 0.1)
    audio = heard(prior)
    expected = prior.hear(audio)
    save_lora(prior, tmp_path / "lora")
    fresh, _ = load_language_model(folder, rank=4)
    for name in ("projector", "gate"):
        getattr(fresh, name).load_state_dict(getattr(prior, name).state_dict())
    assert (fresh.hear(audio) - expected).abs().max() > 1e-4
    report = load_lora(fresh, tmp_path / "lora")
    assert report.loaded == len(lora_state(prior))
    torch.testing.assert_close(fresh.hear(audio), expected, atol=1e-5, rtol=1e-5)

    inputs = fresh.projector(audio)
    with adapters(fresh.llm, True):
        adapted = fresh.llm(inputs_embeds=inputs, use_cache=False).last_hidden_state
    plain = AutoModel.from_pretrained(folder).eval()
    plain.load_state_dict(merged_language_model(fresh).state_dict())  # the names of a model without adapters
    merged = plain(inputs_embeds=inputs, use_cache=False).last_hidden_state
    assert (merged - adapted).norm() / adapted.norm() <= 1e-5
    theirs = peft.PeftModel.from_pretrained(AutoModel.from_pretrained(folder), tmp_path / "lora").eval()
    assert (theirs(inputs_embeds=inputs, use_cache=False).last_hidden_state - adapted).abs().max() <= 1e-5

    other, _ = load_language_model(folder, rank=2)
    with pytest.raises(ValueError, match="no LoRA of this language model"):
        load_lora(other, tmp_path / "lora")
