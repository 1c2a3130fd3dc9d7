"""A language model as GGUF: the same hidden states as its folder, tokens, damaged files."""

import numpy as np
import pytest
import torch

from stereotalker_core import checkpoint
from stereotalker_core.convert.language import load_language_model
from stereotalker_core.motion.networks.prior import LanguagePrior

gguf = pytest.importorskip("gguf")
NAMES = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}  # fmt: skip
FIXED = {
    "model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}  # fmt: skip
HEADS, SHARED = 4, 2


def tensors(model) -> dict[str, np.ndarray]:
    """The model under GGUF's names; rotary halves interleaved, as llama.cpp's converter writes them."""
    out = {}
    for key, value in model.state_dict().items():
        if key in FIXED:
            name, array = FIXED[key], value.numpy()
        else:
            _, _, layer, rest = key.split(".", 3)
            part, array = NAMES[rest.removesuffix(".weight")], value.numpy()
            name = f"blk.{layer}.{part}.weight"
            if part in ("attn_q", "attn_k"):
                heads = HEADS if part == "attn_q" else SHARED
                rows = array.reshape(heads, 2, array.shape[0] // heads // 2, -1)
                array = rows.swapaxes(1, 2).reshape(array.shape)
        out[name] = np.ascontiguousarray(array, dtype=np.float32)
    return out


@pytest.fixture(scope="module")
def model():
    import transformers as hf

    torch.manual_seed(0)
    config = hf.LlamaConfig(vocab_size=40, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                            num_attention_heads=HEADS, num_key_value_heads=SHARED)  # fmt: skip
    return hf.LlamaForCausalLM(config).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    path, config = tmp_path_factory.mktemp("gguf") / "tiny.gguf", model.config
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(SHARED)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(config.hidden_size // HEADS)
    writer.add_vocab_size(config.vocab_size)
    words = ["<unk>", "<s>", "</s>", "\u2581", *"abcdefghijklmnopqrstuvwxyz", *(f"\u2581{c}" for c in "abcdefghij")]
    writer.add_tokenizer_model("llama")
    writer.add_token_list(words)
    writer.add_token_scores([-float(i) for i in range(40)])
    writer.add_token_types([2, 3, 3, *[1] * 37])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    for name, array in tensors(model).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@torch.no_grad()
def test_hidden_states_are_those_of_the_model(model, file, tmp_path):
    prior, report = load_language_model(file, rank=2)
    assert report.loaded == 20 and not report.missing and report.dtype == "gguf" and prior.width == 32
    ids = torch.tensor([[3, 4, 5, 6]])
    expected = model.model(input_ids=torch.cat([torch.zeros(1, 1, dtype=torch.long), ids], 1)).last_hidden_state[:, 1:]
    assert (prior.read_tokens(ids) - expected).abs().max() <= 1e-5
    assert prior.tokenizer().encode(" hello", add_special_tokens=False).tokens == ["\u2581h", "e", "l", "l", "o"]
    assert prior.read([("hello", 0.0, 0.2)], 10).abs().sum() > 0
    torch.manual_seed(0)
    audio = torch.randn(1, 6, prior.config.audio)
    checkpoint.save(prior, tmp_path / "prior.safetensors", torch.float32)
    again = checkpoint.load(LanguagePrior, tmp_path / "prior.safetensors")
    assert torch.equal(again.hear(audio), prior.hear(audio))


def test_damaged_files_are_refused_by_name(file, tmp_path):
    data = file.read_bytes()
    for number, cut in enumerate((3, 100, 2000, len(data) // 2)):
        path = tmp_path / f"cut{number}.gguf"
        path.write_bytes(data[:cut])
        with pytest.raises(ValueError, match=f"cut{number}.gguf"):
            load_language_model(path)
    (tmp_path / "text.gguf").write_text("<html>404</html>")
    with pytest.raises(ValueError, match="no GGUF file"):
        load_language_model(tmp_path / "text.gguf")
