"""Fused convolutions and the compiled loops around the networks, beside their twins of tensor operations."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stereotalker_core.video.guides.maps import guide_tensor
from stereotalker_core.video.networks import fused, mask, vae
from stereotalker_core.video.networks.mask import MaskConfig, MaskPredictor
from stereotalker_core.video.networks.vae import AutoencoderConfig, TinyAutoencoder
from tests.video.networks.test_mask import make_guides
from tests.video.samples import randomise


@pytest.mark.parametrize("relu", [True, False])
@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (1, 1), (3, 2)])
def test_a_fused_convolution_equals_its_twin(relu, beside, kernel, stride):
    torch.manual_seed(0)
    layer = nn.Conv2d(6, 8, kernel, stride=stride, padding=kernel // 2).eval()
    x = torch.randn(2, 6, 12, 10).contiguous(memory_format=torch.channels_last)
    plain = layer(x).detach()
    added = torch.randn_like(plain) if beside else None
    plain = plain + added if beside else plain
    plain = F.relu(plain) if relu else plain
    with torch.no_grad():
        torch.testing.assert_close(fused.conv(layer, x, added, relu), plain, rtol=1e-4, atol=1e-4)
        with torch.autocast("cpu", torch.bfloat16):
            rough = fused.conv(layer, x, added, relu)
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), plain, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("side", [1, 4, 9])
def test_any_order_of_memory_is_taken(order, side):
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 8, 3, padding=1).eval()
    x, added = (torch.randn(1, 8, side, side).contiguous(memory_format=order) for _ in range(2))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = fused.conv(layer, x, added)
    torch.testing.assert_close(found.float(), F.relu(layer(x) + added).detach(), rtol=0.05, atol=0.05)


def test_what_the_fused_operation_refuses_is_done_plainly(monkeypatch):
    def refuses(*_):
        raise RuntimeError("Unsupported datatype")

    layer, x = nn.Conv2d(3, 4, 3, padding=1).eval(), torch.randn(1, 3, 8, 8)
    monkeypatch.setattr(fused, "fuses", lambda: True)
    monkeypatch.setattr(fused, "_fused", refuses)
    with torch.no_grad():
        torch.testing.assert_close(fused.conv(layer, x), F.relu(layer(x)))


def test_gradients_flow_and_old_versions_do_without(monkeypatch):
    layer, x = nn.Conv2d(3, 4, 3, padding=1).eval(), torch.randn(1, 3, 8, 8, requires_grad=True)
    fused.conv(layer, x).sum().backward()
    assert x.grad is not None and layer.weight.grad is not None
    with torch.no_grad():
        here = fused.conv(layer, x)
        monkeypatch.setattr(fused, "fuses", lambda: False)
        torch.testing.assert_close(here, fused.conv(layer, x), rtol=1e-4, atol=1e-4)
    layer.bias = None  # and what it is not made for
    with torch.no_grad():
        torch.testing.assert_close(fused.conv(layer, x), F.relu(layer(x)))


@torch.no_grad()
def test_compiled_alpha_equals_its_twin(monkeypatch):
    pytest.importorskip("numba")
    torch.manual_seed(0)
    model = randomise(MaskPredictor(MaskConfig((0, 2, 3) + (1,) * 16, widths=(8, 8, 8), groups=4))).eval()
    guides = make_guides(frames=3)
    guide = guide_tensor(guides)
    found = model.person(guides, guide)
    torch.testing.assert_close(found, model.predict(guides, guide).person, rtol=1e-3, atol=1e-4)
    assert float(found.std()) > 0.05
    compiled = mask.silhouette(guides.part, model.part_regions, 4).float()
    torch.testing.assert_close(compiled, model._blocked_silhouette(guides.part))
    monkeypatch.setattr(mask, "loops", lambda device: None)
    assert torch.equal(model.person(guides, guide), model.predict(guides, guide).person)


@torch.no_grad()
def test_the_alpha_of_extreme_logits_is_a_number():
    pytest.importorskip("numba")
    logits = torch.zeros(1, 64, 1, 1)
    logits[:, :16], logits[:, 16:20] = -500.0, 500.0
    found = mask.person(logits, torch.zeros(1, 1, 4, 4), torch.tensor([0]), 4, 4.0)
    assert bool(found.isfinite().all()) and float(found.min()) >= 0 and float(found.max()) <= 1


@pytest.mark.parametrize("sharpen", [0.0, 0.7])
@torch.no_grad()
def test_compiled_end_of_the_decoder_equals_its_twin(monkeypatch, sharpen):
    pytest.importorskip("numba")
    torch.manual_seed(0)
    model = randomise(TinyAutoencoder(AutoencoderConfig(4, 8, 8, 8, groups=4, sharpen=sharpen))).eval()
    z, guide = torch.randn(2, 4, 6, 4), torch.rand(2, 131, 12, 8) * 2 - 1
    fast = model.decode(z, guide)
    monkeypatch.setattr(vae, "loops", lambda device: None)
    torch.testing.assert_close(fast, model.decode(z, guide), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_lift_is_encoded_from_the_guide_tensor_as_from_pictures():
    torch.manual_seed(0)
    model, guides = randomise(TinyAutoencoder(AutoencoderConfig(4, 8, 8, 8, groups=4))).eval(), make_guides()
    torch.testing.assert_close(model.encode_lift(guide_tensor(guides)), model.encode(guides.lift))
