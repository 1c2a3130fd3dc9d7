from dataclasses import replace

import pytest
import torch

from stereotalker_core.video.networks.experts import ExpertConfig, MaskExperts, ViewExperts, expert_layers, view_gates
from tests.video.samples import CONFIG, condition, randomise, unet

WIDER = replace(CONFIG, widths=(16, 16), guide_widths=(8, 16))


@pytest.fixture(scope="module")
def model():
    return unet()


def pair(model, fresh=False):
    made = [kind.for_unet(model, rank=3) for kind in (ViewExperts, MaskExperts)]
    return [m.requires_grad_(False) if fresh else randomise(m, i) for i, m in enumerate(made)]


def run(model, cond):
    with torch.no_grad():
        return model(torch.ones(4, 4, 8, 8), 1.0, cond)


def test_experts_equal_a_loop_over_experts(model):
    experts = [(m, s) for m, s in zip(pair(model), (1.0, 0.5), strict=True)]
    cond = condition(model)
    name, layer = list(expert_layers(model).items())[0]
    size = (4, 4)
    x = torch.randn(4, 16, layer.net[0].proj.in_features)
    with model.context.use(tuple(experts), cond.yaw, cond.regions, [size]):
        ours = layer(x)
    plain = layer(x)
    for module, strength in experts:
        gates = module.gates(cond.yaw, cond.regions, size).expand(4, 16, -1)
        i, rank = module.index[name], module.config.rank
        for e in range(module.config.count):
            down = module.down[i][e * rank : (e + 1) * rank]
            up = module.up[i][:, e * rank : (e + 1) * rank]
            plain = plain + strength * gates[..., e : e + 1] * (x @ down.T @ up.T)
    torch.testing.assert_close(ours, plain, rtol=1e-4, atol=1e-5)


def test_new_experts_and_strength_zero_equal_the_base_bitwise(model):
    cond = condition(model)
    base = run(model, cond)
    fresh, trained = pair(model, fresh=True), pair(model)
    assert torch.equal(base, run(model, cond.with_experts(*((m, 1.0) for m in fresh))))
    assert torch.equal(base, run(model, cond.with_experts(*((m, 0.0) for m in trained))))
    assert not torch.equal(base, run(model, cond.with_experts((trained[0], 1.0))))
    assert not torch.equal(base, run(model, cond.with_experts((trained[1], 1.0))))


def test_a_call_with_experts_leaves_the_model_as_it_was(model):
    cond, keys = condition(model), list(model.state_dict())
    base = run(model, cond)
    run(model, cond.with_experts(*((m, 1.0) for m in pair(model))))
    assert torch.equal(base, run(model, cond)) and list(model.state_dict()) == keys


def test_view_gates_are_a_smooth_periodic_partition():
    yaw = torch.tensor([-180.0, 180.0, 0.0, 30.0, -77.0])
    gates = view_gates(yaw, 6, 4.0)
    torch.testing.assert_close(gates.sum(1), torch.ones(5))
    torch.testing.assert_close(gates[0], gates[1])
    assert gates[2].argmax() == 0 and abs(float(gates[3, 0] - gates[3, 1])) < 1e-5
    assert abs(float(gates[2, 0]) - 0.78) < 0.01


def test_mask_gates_are_the_share_of_a_token():
    regions = torch.zeros(1, 4, 8, 8)
    regions[:, 1] = 1
    regions[:, 1, :4, :2], regions[:, 2, :4, :2] = 0, 1
    gates = MaskExperts.for_unet(unet(), rank=2).gates(torch.zeros(1), regions, (2, 2))
    torch.testing.assert_close(gates[0, 0], torch.tensor([0.0, 0.5, 0.5, 0.0]))


def test_mask_experts_without_regions_are_refused(model):
    cond = condition(model, regions=None).with_experts((pair(model)[1], 1.0))
    with pytest.raises(ValueError, match="regions"):
        run(model, cond)


def test_experts_of_other_places_are_refused():
    with pytest.raises(ValueError, match="other layers than feed-forwards"):
        ViewExperts(ExpertConfig(("conv_out",), (8,), 6, 2, 4.0, (4,)))
