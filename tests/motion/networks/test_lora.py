"""Our LoRA is peft's: the same names, the same numbers, merged or not."""

import copy

import pytest
import torch
from torch import nn

from stereotalker_core.motion.networks.lora import LoraLinear, adapters, add_lora, merge_lora


def make_llm(kind: str) -> nn.Module:
    from transformers import AutoConfig, AutoModel

    torch.manual_seed(0)
    sizes = {
        "llama": {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
        "gpt2": {"n_embd": 24, "n_layer": 2, "n_head": 2},
    }[kind]
    return AutoModel.from_config(AutoConfig.for_model(kind, vocab_size=50, **sizes)).eval()


def train_a_little(model: nn.Module) -> None:
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.05)


def run(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(12)[None]).last_hidden_state


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_equal_to_peft(kind):
    peft = pytest.importorskip("peft", reason="peft is in the dev extra")
    base = make_llm(kind)
    ours = add_lora(copy.deepcopy(base), 4, 8)
    config = peft.LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", fan_in_fan_out=kind == "gpt2")
    theirs = peft.inject_adapter_in_model(config, copy.deepcopy(base))
    assert set(ours.state_dict()) == set(theirs.state_dict())
    train_a_little(ours)
    theirs.load_state_dict(ours.state_dict())
    torch.testing.assert_close(run(ours), run(theirs), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(run(ours), run(base), atol=1e-3)
    trainable = [{n for n, p in m.named_parameters() if p.requires_grad} for m in (ours, theirs)]
    assert trainable[0] == trainable[1] and all("lora_" in n for n in trainable[0])


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_fresh_off_and_merged(kind):
    base = make_llm(kind)
    model = add_lora(copy.deepcopy(base), 4, 8)
    assert torch.equal(run(model), run(base))
    train_a_little(model)
    on = run(model)
    with adapters(model, False):
        assert torch.equal(run(model), run(base))
    assert torch.equal(run(model), on)
    merged = merge_lora(copy.deepcopy(model))
    torch.testing.assert_close(run(merged), on, atol=1e-5, rtol=1e-5)
    assert not any(isinstance(m, LoraLinear) for m in merged.modules())
    assert set(merged.state_dict()) == set(base.state_dict())


def test_bad_requests_are_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        add_lora(nn.Sequential(nn.Linear(2, 2)), 0, 1)
    with pytest.raises(ValueError, match="no linear layer"):
        add_lora(nn.Sequential(nn.ReLU()), 2, 1)
