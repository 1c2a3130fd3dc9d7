"""Convolutions in 8-bit integers beside plain twins, and when they are used."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stereotalker_core.video.guides.maps import guide_tensor
from stereotalker_core.video.networks.quantised import autoencoder as vae_quantised
from stereotalker_core.video.networks.quantised import convolutions as quantised
from stereotalker_core.video.networks.quantised.autoencoder import quantised_autoencoder, with_ranges
from stereotalker_core.video.networks.quantised.convolutions import (
    QuantisedConv,
    Scale,
    measure_ranges,
    without_integers,
)
from stereotalker_core.video.networks.vae import AutoencoderConfig, TinyAutoencoder
from stereotalker_core.video.rendering.nano import NanoRenderer, load_nano
from tests.video.networks.test_mask import make_guides
from tests.video.samples import randomise


@pytest.fixture
def operations():
    """Skip where this PyTorch has no integer convolutions."""
    try:
        quantised._probe()(torch.zeros(1, 80, 4, 4, dtype=torch.uint8).contiguous(memory_format=torch.channels_last))
    except (AttributeError, RuntimeError) as error:
        pytest.skip(f"no integer convolutions here: {error}")


@pytest.fixture
def pay(monkeypatch):
    monkeypatch.setattr(quantised, "_measured", lambda: True)


@pytest.fixture
def asked():
    quantised._measured.cache_clear()
    yield
    quantised._measured.cache_clear()


def value(numbers: torch.Tensor, scale: Scale) -> torch.Tensor:
    return scale.step * (numbers.float() - scale.zero)


def maps(*shape: int, seed: int = 0) -> torch.Tensor:
    numbers = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return numbers.contiguous(memory_format=torch.channels_last)


def make_layer(stride: int = 1) -> nn.Conv2d:
    torch.manual_seed(1)
    return nn.Conv2d(12, 16, 3, stride=stride, padding=1).eval().requires_grad_(False)


def twin(layer: nn.Conv2d, x: torch.Tensor) -> torch.Tensor:
    """The convolution of weights rounded to 127 steps of every output's largest one, in float32."""
    step = layer.weight.abs().amax((1, 2, 3), keepdim=True) / 127
    return F.conv2d(x, (layer.weight / step).round() * step, layer.bias, layer.stride, layer.padding)


def make_autoencoder() -> TinyAutoencoder:
    torch.manual_seed(0)
    return randomise(TinyAutoencoder(AutoencoderConfig(4, 8, 8, 8, groups=4)))


@pytest.mark.parametrize("low", [-3.0, 0.0])
def test_a_scale_rounds_to_the_nearest_step_and_clips(low):
    scale = Scale.of_range(low, 2.0)
    x = torch.linspace(low, 2, 777)
    assert float((value(scale.quantised(x), scale) - x).abs().max()) <= 0.51 * scale.step + 1e-6
    assert value(scale.quantised(torch.zeros(1)), scale).item() == 0
    assert scale.quantised(torch.tensor([-100.0, 100.0])).tolist() == [0, 255]


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_quantised_convolution_equals_its_twin(operations, relu, stride):
    layer, before, after = make_layer(stride), Scale.of_range(-1, 1), Scale.of_range(0.0 if relu else -2.0, 2.0)
    x = maps(2, 12, 10, 8)
    expected = twin(layer, value(x, before))
    expected = F.relu(expected) if relu else expected
    whole = QuantisedConv.of(layer, before, after)(x, relu)
    assert whole.dtype == torch.uint8
    clipped = expected.clamp(value(torch.tensor(0), after), value(torch.tensor(255), after))
    torch.testing.assert_close(value(whole, after), clipped, rtol=0, atol=0.6 * after.step)
    real = QuantisedConv.of(layer, before, None)(x, relu)
    torch.testing.assert_close(real.float(), expected, rtol=0.01, atol=0.01)


def test_a_quantised_sum_equals_its_twin(operations):
    layer, before, after, other = make_layer(), Scale.of_range(-1, 1), Scale.of_range(0, 4), Scale.of_range(-2, 2)
    x, added = maps(2, 12, 10, 8), maps(2, 16, 10, 8, seed=5)
    expected = F.relu(twin(layer, value(x, before)) + value(added, other)).clamp_max(4)
    found = QuantisedConv.of(layer, before, after).onto(x, added, other)
    torch.testing.assert_close(value(found, after), expected, rtol=0, atol=0.6 * after.step)
    with pytest.raises(ValueError, match="scale"):
        QuantisedConv.of(layer, before, None).onto(x, found, after)


@torch.no_grad()
def test_measured_ranges_hold_what_the_layers_give():
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()
    x = torch.randn(1, 3, 8, 8)
    first = network[0](x)
    ranges = measure_ranges(network, network, [x / 2, x, x / 4])
    assert len(ranges) == len(quantised.layer_names(network)) == 2
    assert ranges[0] == pytest.approx((1.1 * float(first.min()), 1.1 * float(first.max())), abs=1e-4)
    assert not network[0]._forward_hooks


@pytest.mark.parametrize("half", [True, False])
@torch.no_grad()
def test_the_quantised_autoencoder_equals_the_plain_one(operations, pay, half):
    """On CPUs with bfloat16 (autocast) and on those that are only fast in integers."""
    model, guide = make_autoencoder(), torch.rand(2, 131, 12, 8) * 2 - 1
    with_ranges(model, [guide])
    guide = guide.contiguous(memory_format=torch.channels_last)
    plain = model.decode(model.encode_lift(guide), guide)
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        found = quantised_autoencoder(model).restore(guide)
    lift = F.pixel_shuffle(guide[:, model.guided.layout.channels_of("lift")], 4)
    changed, error = (plain - lift).square().mean(), (found - plain).square().mean()
    assert float(changed) > 1e-3
    assert float(error) < 0.01 * float(changed)


@torch.no_grad()
def test_the_shipped_decoder_draws_the_same_in_integers(operations, monkeypatch):
    """The difference is a tenth of a grey level on average, a hundredth of what the decoder changes in the lift."""
    renderer, guides = load_nano(mode="play"), make_guides(frames=2)
    assert isinstance(renderer, NanoRenderer) and renderer.vae.config.ranges
    guide = guide_tensor(guides)
    monkeypatch.setattr(quantised, "_measured", lambda: True)
    found = renderer.restore(guides, guide)
    with without_integers(), torch.no_grad():
        plain = renderer.restore(guides, guide)
    assert not torch.equal(found, plain)
    error, changed = (found - plain).square().mean(), (plain - guides.lift).square().mean()
    assert float(error) < 0.02 * float(changed)


@torch.no_grad()
def test_integers_are_used_for_playback_alone(operations, pay, monkeypatch):
    model, guide = make_autoencoder(), torch.rand(1, 131, 12, 8) * 2 - 1
    assert quantised_autoencoder(model) is None  # ranges unknown
    with_ranges(model, [guide])
    made = quantised_autoencoder(model)
    assert made is not None and quantised_autoencoder(model) is made
    model.train()
    assert quantised_autoencoder(model) is None
    model.eval()
    with without_integers():
        assert quantised_autoencoder(model) is None
    copy.deepcopy(model)  # what oneDNN packed cannot be copied, and is not part of the network
    model.guided.out.weight += 1
    assert quantised_autoencoder(model) is not made  # other weights
    monkeypatch.setattr(vae_quantised, "integers_pay", lambda: False)
    assert quantised_autoencoder(model) is None


@torch.no_grad()
def test_ranges_of_another_network_are_refused(operations, pay):
    model = make_autoencoder()
    model.config = AutoencoderConfig(4, 8, 8, 8, groups=4, ranges=((0.0, 1.0),))
    with pytest.raises(ValueError, match="ranges of 1"):
        quantised_autoencoder(model)


@pytest.mark.parametrize("pays", [True, False])
def test_integers_are_used_where_they_are_measured_to_be_faster(operations, asked, monkeypatch, pays):
    monkeypatch.setattr(quantised, "_seconds", lambda layer: 0.5 if pays else 1.0)
    monkeypatch.setattr(quantised, "conv_seconds", lambda dtype: 1.0)
    monkeypatch.setattr(quantised, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(quantised, "_is_right", lambda layer: True)
    with torch.no_grad():
        assert quantised.integers_pay() is pays
    assert not quantised.integers_pay()  # while gradients are computed


@torch.no_grad()
def test_wrong_or_missing_operations_are_not_used(asked, monkeypatch):
    monkeypatch.setattr(quantised, "cpu_has_bf16", lambda: True)
    monkeypatch.setattr(quantised, "conv_seconds", lambda dtype: 1.0)
    monkeypatch.setattr(quantised, "_seconds", lambda layer: 0.1)
    monkeypatch.setattr(quantised, "_is_right", lambda layer: False)
    assert not quantised.integers_pay()
    quantised._measured.cache_clear()

    def missing():
        raise AttributeError("no such operation")

    monkeypatch.setattr(quantised, "_probe", missing)
    assert not quantised.integers_pay()


@torch.no_grad()
def test_the_probe_tells_right_from_wrong(operations, monkeypatch):
    layer = quantised._probe()
    assert quantised._is_right(layer)
    monkeypatch.setattr(QuantisedConv, "onto", lambda self, x, added, scale: self(x))  # forgets to add
    assert not quantised._is_right(layer)
