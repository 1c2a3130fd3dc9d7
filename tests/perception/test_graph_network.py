"""Steps of converted networks against plain twins, and what a graph refuses."""

import math

import pytest
import torch
import torch.nn.functional as F

from stereotalker_core.perception.graph_network import OPERATIONS, Graph, GraphNetwork, Step, same_padding

PICTURE = torch.randn(2, 6, 7, 9, generator=torch.Generator().manual_seed(0))


def run(op, inputs, **settings):
    return OPERATIONS[op](inputs, settings)


def convolution_twin(x, weight, bias, stride, dilation):
    """SAME convolution of one picture by the definition: out = ceil(in / stride), the odd zero at the far end."""
    _, channels, rows, columns = weight.shape
    height, width = (math.ceil(n / stride) for n in x.shape[1:])
    before = [
        max((out - 1) * stride + (k - 1) * dilation + 1 - n, 0) // 2
        for out, k, n in zip((height, width), (rows, columns), x.shape[1:], strict=True)
    ]
    y = torch.zeros(len(weight), height, width)
    for i in range(height):
        for j in range(width):
            for a in range(rows):
                for b in range(columns):
                    r, c = i * stride + a * dilation - before[0], j * stride + b * dilation - before[1]
                    if 0 <= r < x.shape[1] and 0 <= c < x.shape[2]:
                        y[:, i, j] += weight[:, :, a, b] @ x[:channels, r, c]
    return y + bias[:, None, None]


@pytest.mark.parametrize(("stride", "dilation", "kernel"), [(1, 1, 3), (2, 1, 3), (2, 1, 5), (1, 2, 3), (3, 1, 2)])
def test_same_convolution(stride, dilation, kernel):
    weight, bias = torch.randn(4, 6, kernel, kernel), torch.randn(4)
    settings = {"stride": [stride] * 2, "dilation": [dilation] * 2, "same": True}
    out = run("conv", [PICTURE, weight, bias], **settings)
    assert torch.allclose(out[1], convolution_twin(PICTURE[1], weight, bias, stride, dilation), atol=1e-4)


def test_depthwise_convolution_keeps_channels_apart():
    weight = torch.randn(6, 1, 3, 3)
    out = run("conv", [PICTURE, weight, torch.zeros(6)], stride=[1, 1], dilation=[1, 1], same=True)
    alone = run("conv", [PICTURE[:, 2:3], weight[2:3], torch.zeros(1)], stride=[1, 1], dilation=[1, 1], same=True)
    assert torch.allclose(out[:, 2:3], alone, atol=1e-5)


def test_same_padding_puts_the_odd_pixel_last():
    padded = same_padding(torch.ones(1, 1, 4, 4), [3, 3], [2, 2], [1, 1], 0.0)
    assert padded.shape[2:] == (5, 5) and padded[0, 0, -1].sum() == 0 and padded[0, 0, 0].sum() == 4


def test_max_pool_ignores_the_padding():
    out = run("max_pool", [-torch.ones(1, 1, 5, 5)], kernel=[2, 2], stride=[2, 2], same=True)
    assert out.shape[2:] == (3, 3) and bool((out == -1).all())


def test_depth_to_space_by_the_definition():
    value = torch.randn(1, 12, 2, 3)
    out = run("depth_to_space", [value], block=2)
    for c in range(3):
        for i in range(4):
            for j in range(6):
                assert out[0, c, i, j] == value[0, ((i % 2) * 2 + j % 2) * 3 + c, i // 2, j // 2]


def test_reshape_counts_channels_last():
    value = torch.arange(24.0).view(1, 2, 3, 4)
    flat = run("reshape", [value], shape=[12, 2])
    assert flat[0, 5].tolist() == value[0, :, 1, 1].tolist()
    assert torch.equal(run("reshape", [flat], shape=[3, 4, 2]), value)


@pytest.mark.parametrize("mode", ["half", "corners", "plain"])
def test_resize_of_a_ramp(mode):
    """A ramp stays one; the three modes place its pixels differently."""
    ramp = torch.arange(4.0).expand(1, 1, 4, 4)
    out = run("resize", [ramp], size=[8, 8], mode=mode)[0, 0, 0]
    k = torch.arange(8.0)
    wanted = {"half": (k + 0.5) / 2 - 0.5, "corners": k * 3 / 7, "plain": k / 2}[mode].clamp(0, 3)
    assert torch.allclose(out, wanted, atol=1e-5)


def test_concatenation_spreads_a_constant_over_the_batch():
    out = run("concatenate", [torch.ones(1, 1, 7, 9), PICTURE], axis=1)
    assert out.shape == (2, 7, 7, 9) and torch.equal(out[:, 1:], PICTURE) and bool((out[:, 0] == 1).all())


def test_crop_and_reductions():
    assert torch.equal(run("crop", [PICTURE], ranges=[[1, [2, 4]], [3, [0, 5]]]), PICTURE[:, 2:4, :, :5])
    assert torch.allclose(run("mean", [PICTURE], axes=[2, 3], keep=False), PICTURE.flatten(2).mean(2), atol=1e-6)
    assert torch.allclose(run("squared_difference", [PICTURE, PICTURE + 2]), torch.full_like(PICTURE, 4.0), atol=1e-5)


def small_graph():
    convolution = {"stride": [2, 2], "dilation": [1, 1], "same": True, "activation": "relu6"}
    steps = (
        Step("conv", (0, "w", "b"), 1, convolution),
        Step("multiply", (1, "scale"), 2, {}),
        Step("sigmoid", (1,), 3, {}),
    )
    return Graph("small", (3, 8, 8), steps, (2, 3), ("a", "b"), {"w": [4, 3, 3, 3], "b": [4], "scale": [1, 4, 1, 1]})


def test_network_runs_its_steps_in_order():
    network = GraphNetwork(small_graph())
    state = {k: torch.randn(v.shape) for k, v in network.state_dict().items()}
    network.load_state_dict(state)
    x = torch.randn(2, 3, 8, 8)
    first, second = network(x)
    wanted = F.relu6(F.conv2d(F.pad(x, (0, 1, 0, 1)), state["w"], state["b"], 2))
    assert torch.allclose(first, wanted * state["scale"], atol=1e-5)
    assert torch.allclose(second, wanted.sigmoid(), atol=1e-5)
    assert torch.allclose(network(x[1:])[0], first[1:], atol=1e-5)


def test_network_refuses_what_it_does_not_know():
    graph = small_graph()
    with pytest.raises(ValueError, match="takes"):
        GraphNetwork(graph)(torch.zeros(1, 3, 9, 8))
    unknown = Graph("odd", (3, 8, 8), (Step("fourier", (0,), 1, {}),), (1,), ("a",), {})
    with pytest.raises(ValueError, match="fourier"):
        GraphNetwork(unknown)
