"""The renderer with tiny random networks on the real body."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from stereotalker_core.body.model import HalfBody
from stereotalker_core.geometry.projection import intrinsics_for, look_at
from stereotalker_core.records import Cameras, Identity, Motion
from stereotalker_core.video.guides.maps import background_plate
from stereotalker_core.video.rendering.render import render_video
from stereotalker_core.video.rendering.windows import cross_fade, frame_windows, padded
from tests.video.samples import renderer as make_renderer

SIZE = (64, 64)
BODY = HalfBody()
REST = BODY.rest(torch.zeros(1, BODY.n_shape))
HEAD = float(REST.bones[0, BODY.bone_index["head"], 2])


@pytest.fixture(autouse=True)
def full_precision(monkeypatch):
    """bf16 rounds differently in groups of another size; these tests compare groupings."""
    monkeypatch.setattr("stereotalker_core.precision.cpu_has_bf16", lambda: False)


@pytest.fixture(scope="module")
def body():
    return BODY


@pytest.fixture(scope="module")
def renderer():
    return make_renderer()


def cameras(frames, size=SIZE):
    yaw = torch.linspace(-40, 40, frames)
    matrix = look_at(torch.tensor([0.0, -0.02, HEAD - 0.21]), yaw, torch.zeros(frames), torch.full((frames,), 2.4))
    return Cameras(matrix, intrinsics_for(0.86, 2.4, size), yaw, size)


def motion(frames):
    bend = torch.linspace(0, 0.3, frames).view(-1, 1, 1) * torch.ones(1, 49, 3) * 0.1
    return Motion(bend, torch.rand(frames, 52, generator=torch.Generator().manual_seed(0)) * 0.3)


@pytest.fixture(scope="module")
def identity(body):
    g = torch.Generator().manual_seed(0)
    still = cameras(1, (96, 96))
    picture = torch.rand(3, 96, 96, generator=g) * 2 - 1
    return Identity(
        shape=torch.zeros(body.n_shape), shell=torch.zeros(REST.vertices.shape[1]),
        rotations=torch.zeros(49, 3), expression=torch.zeros(52), world_to_camera=still.world_to_camera[0],
        intrinsics=still.intrinsics, portrait=picture, mask=torch.ones(1, 96, 96), background=picture * 0.3,
        atlas=torch.rand(3, 64, 64, generator=g) * 2 - 1, visibility=torch.ones(1, 64, 64),
    )  # fmt: skip


def render(body, renderer, identity, frames, size=SIZE, mode="diffusion", **options):
    chunks = list(render_video(body, renderer, identity, motion(frames), cameras(frames, size), mode=mode, **options))
    return torch.cat([c.frames for c in chunks]), torch.cat([c.masks for c in chunks])


def quiet(renderer):
    """Temporal layers that change nothing: their last layer is zero."""
    import copy

    unet = copy.deepcopy(renderer.unet)
    for module in unet.motion_modules:
        module.proj_out.weight.zero_()
        module.proj_out.bias.zero_()
    return replace(renderer, unet=unet)


@pytest.mark.parametrize("frames", [1, 4, 5, 9, 13])
def test_windows_cover_every_frame_and_share_the_overlap(frames):
    plan = frame_windows(frames, 5, 2)
    assert plan[0][0] == 0 and plan[-1][1] == frames
    assert all(a[1] - b[0] == 2 for a, b in zip(plan, plan[1:], strict=False))
    with pytest.raises(ValueError, match="overlap"):
        frame_windows(frames, 4, 4)


def test_cross_fade_leaves_one_version_for_the_other():
    faded = cross_fade(torch.zeros(3, 1, 1, 1), torch.ones(3, 1, 1, 1)).flatten()
    torch.testing.assert_close(faded, torch.tensor([0.25, 0.5, 0.75]))


def test_windows_equal_one_pass_without_temporal_layers(body, renderer, identity):
    still = quiet(renderer)
    whole, alpha = render(body, still, identity, 11, window=16)
    parts, other = render(body, still, identity, 11, window=5, overlap=2)
    assert whole.shape == (11, 3, *SIZE) and alpha.shape == (11, 1, *SIZE)
    # guides of other batches: a pixel of an outline may show the neighbouring triangle
    assert ((parts - whole).abs() > 2e-3).float().mean() < 0.005 and (parts - whole).abs().mean() < 1e-3
    assert ((other - alpha).abs() > 2e-3).float().mean() < 0.005


def test_the_seed_decides(body, renderer, identity):
    a, _ = render(body, renderer, identity, 6, seed=3, window=4, overlap=1)
    b, _ = render(body, renderer, identity, 6, seed=3, window=4, overlap=1)
    c, _ = render(body, renderer, identity, 6, seed=4, window=4, overlap=1)
    assert torch.equal(a, b) and not torch.equal(a, c)
    assert a.abs().max() <= 1 and torch.isfinite(a).all()


def test_strength_zero_equals_no_experts_bitwise(body, renderer, identity):
    bare = replace(renderer, view_experts=None, mask_experts=None)
    none, _ = render(body, bare, identity, 2)
    zero, _ = render(body, replace(renderer, view_strength=0.0, mask_strength=0.0), identity, 2)
    full, _ = render(body, renderer, identity, 2)
    assert torch.equal(none, zero) and not torch.equal(none, full)


def test_the_portraits_own_background_keeps_the_drawn_rim(body, renderer, identity):
    """One pixel around the mask, half covered by the person, is the networks' own; on another background it is not."""
    own, alpha = render(body, renderer, identity, 1, use_predicted_mask=False)
    plate = background_plate(identity, cameras(1))
    other, _ = render(body, renderer, identity, 1, background=plate, use_predicted_mask=False)
    changed = (own != other).any(1, keepdim=True)
    wide = F.max_pool2d(alpha, 3, 1, 1)
    assert changed.any() and not (changed & ((alpha > 0.5) | (wide < 0.2))).any()


def test_background_and_mask_choices(body, renderer, identity):
    frames, alpha = render(body, renderer, identity, 1, background=(1.0, 0.0, 0.0), use_predicted_mask=False)
    outside = alpha[0, 0] == 0
    assert outside.any() and (alpha == 1).any()
    torch.testing.assert_close(frames[0][:, outside], torch.tensor([[1.0], [-1.0], [-1.0]]).expand(3, outside.sum()))
    picture = torch.full((3, *SIZE), 0.5)
    frames, _ = render(body, renderer, identity, 1, background=picture, use_predicted_mask=False)
    assert torch.allclose(frames[0][:, outside], torch.tensor(0.5))
    predicted, soft = render(body, renderer, identity, 1)
    assert not torch.equal(soft, alpha)


def test_any_multiple_of_64(body, renderer, identity):
    for size in ((128, 192), (192, 64)):
        frames, _ = render(body, renderer, identity, 1, size=size)
        assert frames.shape == (1, 3, *size)


def test_callback_interrupts(body, renderer, identity):
    class Stop(Exception):
        pass

    seen = []

    def callback(done, total):
        seen.append((done, total))
        raise Stop

    with pytest.raises(Stop):
        render(body, renderer, identity, 8, window=4, overlap=1, callback=callback)
    assert len(seen) == 1 and 0 < seen[0][0] < seen[0][1] == 8


@pytest.mark.parametrize(
    ("options", "word"),
    [({"size": (60, 64)}, "64"), ({"window": 17, "overlap": 4}, "window"), ({"background": "beach"}, "portrait"),
     ({"background": (2.0, 0.0, 0.0)}, "0..1"), ({"steps": 0}, "steps")],
)  # fmt: skip
def test_bad_values_are_named(body, renderer, identity, options, word):
    with pytest.raises(ValueError, match=word):
        render(body, renderer, identity, 2, **options)


def test_gradients_are_untouched_between_chunks(body, renderer, identity):
    stream = render_video(body, renderer, identity, motion(6), cameras(6), window=4, overlap=1)
    next(stream)
    assert torch.is_grad_enabled() and not torch.is_inference_mode_enabled()


@pytest.mark.parametrize("size", [(72, 104), (64, 96), (128, 72)])
def test_a_canvas_that_cannot_be_halved_is_cut_out_of_one_that_can(body, renderer, identity, size):
    view = cameras(2, size)
    whole, (rows, columns) = padded(view)
    assert all(side % 64 == 0 and 0 <= side - small < 64 for side, small in zip(whole.size, size, strict=True))
    options = {"background": (0.2, 0.4, 0.6), "steps": 1, "mode": "diffusion"}
    large = torch.cat([c.frames for c in render_video(body, renderer, identity, motion(2), whole, **options)])
    frames, masks = render(body, renderer, identity, 2, size, **options)
    assert frames.shape == (2, 3, *size) and masks.shape == (2, 1, *size)
    torch.testing.assert_close(frames, large[..., rows, columns], atol=1e-4, rtol=0)
    same, (rows, columns) = padded(cameras(2, (64, 128)))
    assert same.size == (64, 128) and rows == slice(0, 64) and columns == slice(0, 128)
