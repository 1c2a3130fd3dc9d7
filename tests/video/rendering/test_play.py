"""Playback, and the compiled guides beside their twin of tensor operations."""

import subprocess
import sys
import threading
from dataclasses import replace

import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.checkpoint import NANO
from stereotalker_core.synthetic.movement.poses import joint_heads
from stereotalker_core.synthetic.people.avatar import make_avatar
from stereotalker_core.synthetic.people.performance import random_motion
from stereotalker_core.synthetic.people.portrait import canonical_cameras, reference_portrait, true_identity
from stereotalker_core.video.guides import loops
from stereotalker_core.video.guides import maps as guides
from stereotalker_core.video.guides.maps import guide_tensor, render_guides
from stereotalker_core.video.rendering.nano import NanoRenderer, load_nano
from stereotalker_core.video.rendering.play import TOGETHER, portions
from stereotalker_core.video.rendering.render import render_video
from stereotalker_core.video.rendering.steady import PASSES

FRAMES = 3


@pytest.fixture(scope="module")
def scene():
    """A person who moves, lit, seen from -70 to 70 degrees on a canvas that is not square."""
    body = HalfBody()
    avatar = make_avatar(body, 5)
    identity = true_identity(body, avatar, reference_portrait(body, avatar, 5, 256))
    heads = joint_heads(body, body.rest(identity.shape[None], identity.shell[None]))
    motion = random_motion(body, heads, FRAMES, torch.Generator().manual_seed(2))
    cameras = canonical_cameras(body, identity.shape, torch.linspace(-70, 70, FRAMES), 128)
    intrinsics = cameras.intrinsics.clone()
    intrinsics[0, 2] += 32
    return body, identity, motion, replace(cameras, intrinsics=intrinsics, size=(128, 192))


@pytest.fixture(scope="module")
def player():
    return load_nano(mode="play")


def plain(monkeypatch):
    monkeypatch.setattr(guides, "loops", lambda device: None)


@pytest.mark.parametrize("light", ["own", "none"])
@pytest.mark.parametrize("layout", [1, 2])
def test_compiled_guides_equal_their_twin(scene, monkeypatch, light, layout):
    pytest.importorskip("numba")
    body, identity, motion, cameras = scene
    lamp = torch.tensor([0.4, -0.5, 0.3, 0.5]) if light == "own" else None
    person = replace(identity, light=lamp, atlas_layout=layout)
    assert loops.loops(torch.device("cpu")) is not None
    fast = render_guides(body, person, motion, cameras)
    packed = guide_tensor(fast, 18)
    plain(monkeypatch)
    slow = render_guides(body, person, motion, cameras)
    inside = (slow.part > 0).float().mean()
    assert 0.1 < float(inside) < 0.9
    assert float((fast.part != slow.part).float().mean()) < 1e-3  # samples on the edge between two triangles
    same = fast.part == slow.part
    for name in ("normal", "depth", "lift", "visibility"):
        error = ((getattr(fast, name) - getattr(slow, name)) * same).abs()
        assert float(error.square().mean()) < 1e-8 and float((error > 1e-3).float().mean()) < 1e-4, name
    torch.testing.assert_close(packed, guide_tensor(fast, 18))
    assert packed.is_contiguous(memory_format=torch.channels_last)


def test_what_is_the_same_for_all_frames_can_be_prepared_once(scene):
    body, identity, motion, cameras = scene
    skin = guides.skin_of(body, identity, cameras)
    whole = render_guides(body, identity, motion, cameras)
    parts = [render_guides(body, identity, motion[i : i + 1], cameras[i : i + 1], skin=skin) for i in range(FRAMES)]
    assert torch.equal(whole.part, guides.join_guides(parts).part)
    torch.testing.assert_close(whole.lift, guides.join_guides(parts).lift)


def test_threads_change_nothing(scene):
    body, identity, motion, cameras = scene
    before, found = torch.get_num_threads(), []
    try:
        for count in (1, 3):
            torch.set_num_threads(count)
            found.append(render_guides(body, identity, motion, cameras))
    finally:
        torch.set_num_threads(before)
    for name in ("part", "lift", "normal"):
        assert float((getattr(found[0], name) - getattr(found[1], name)).abs().mean()) < 1e-6


def test_an_error_in_a_thread_is_raised(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)

    def work(i):
        if i == 2:
            raise ValueError("the third")

    with pytest.raises(ValueError, match="the third"):
        loops.in_threads(work, 5)


def test_without_numba_the_pictures_are_the_same(scene, player, monkeypatch, hide_numba):
    body, identity, motion, cameras = scene
    monkeypatch.setattr("stereotalker_core.precision.cpu_has_bf16", lambda: False)
    fast = torch.cat([c.frames for c in render_video(body, player, identity, motion, cameras)])
    hide_numba()
    loops._numba.cache_clear()
    loops._loops.cache_clear()
    try:
        assert loops.loops(torch.device("cpu")) is None
        slow = torch.cat([c.frames for c in render_video(body, player, identity, motion, cameras)])
    finally:
        loops._numba.cache_clear()
        loops._loops.cache_clear()
    assert float((fast - slow).square().mean()) < 1e-6
    assert loops.warm_up().is_alive() in (True, False)  # and it goes on as before


def test_first_frames_come_at_once_and_none_is_lost():
    for count in (1, 3, 4, 5, 12, 13, 100):
        parts = portions(count, (256, 256))
        assert [i for part in parts for i in range(count)[part]] == list(range(count))
        assert min(count, PASSES + 1) in [range(count)[part].stop for part in parts]
        assert all(len(range(count)[part]) <= TOGETHER for part in parts)
    assert max(len(range(9)[part]) for part in portions(9, (1024, 1024))) <= 2


def test_playing_streams_and_needs_no_denoiser(scene, player, monkeypatch):
    body, identity, motion, cameras = scene
    assert player.unet is None and player.reference is None and not player.experts()
    drawn, real = [], NanoRenderer.restore
    monkeypatch.setattr(NanoRenderer, "restore", lambda self, g, x: drawn.append(len(g)) or real(self, g, x))
    order = torch.arange(FRAMES).repeat(10)
    long, path = motion[order], cameras[order]
    stream = render_video(body, player, identity, long, path)
    first = next(stream)
    assert len(first.frames) == 1 and sum(drawn) == PASSES + 1 and max(drawn) <= TOGETHER
    rest = list(stream)
    assert 1 + sum(len(c.frames) for c in rest) == 30 == sum(drawn)


def test_frames_do_not_depend_on_what_comes_with_them(scene, player, monkeypatch):
    body, identity, motion, cameras = scene
    monkeypatch.setattr("stereotalker_core.precision.cpu_has_bf16", lambda: False)
    monkeypatch.setattr(NanoRenderer, "steadies", False)
    whole = torch.cat([c.frames for c in render_video(body, player, identity, motion, cameras)])
    alone = torch.cat([c.frames for c in render_video(body, player, identity, motion[2:], cameras[2:])])
    assert float((whole[2:] - alone).square().mean()) < 1e-8


def test_a_mode_that_cannot_be_drawn_is_refused(scene, player):
    body, identity, motion, cameras = scene
    with pytest.raises(ValueError, match="load it for 'diffusion'"):
        render_video(body, player, identity, motion, cameras, mode="diffusion")
    with pytest.raises(ValueError, match="mode 'magic' is unknown"):
        render_video(body, player, identity, motion, cameras, mode="magic")
    with pytest.raises(ValueError, match="mode 'magic' is unknown"):
        NanoRenderer.load(NANO, mode="magic")


def test_what_the_atlas_holds_is_played(scene, player):
    """A completed atlas needs nothing else to be seen: the place for whatever draws what the portrait did not show."""
    body, identity, motion, cameras = scene
    red = identity.atlas.clone()
    red[0], red[1:] = 0.9, -0.9
    before, after = (
        torch.cat([c.frames for c in render_video(body, player, who, motion, cameras)])
        for who in (identity, replace(identity, atlas=red))
    )
    inside = (render_guides(body, identity, motion, cameras).part > 0)[:, 0]
    redness = [float((frames[:, 0] - frames[:, 1])[inside].mean()) for frames in (before, after)]
    assert redness[1] > 0.5 + redness[0]


def test_playing_imports_neither_diffusers_nor_transformers():
    code = (
        "import sys\nfrom stereotalker_core.pipeline import Models\n"
        "models = Models.load_nano(mode='play', later=True)\n"
        "assert not {'diffusers', 'transformers'} & set(sys.modules), 'imported while loading'\n"
        "models.motion.denoiser, models.motion.device\n"
        "assert 'transformers' not in sys.modules\n"
        "models.motion.encoder\nassert 'transformers' in sys.modules and 'diffusers' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr


def test_compiling_happens_once_for_all_threads(monkeypatch):
    calls = []
    monkeypatch.setattr(loops, "_call_once", lambda compiled: calls.append(compiled))
    loops._loops.cache_clear()
    try:
        threads = [loops.warm_up() for _ in range(4)]
        for thread in threads:
            thread.join(60)
        assert len(calls) <= 1 and threading.current_thread() not in threads
    finally:
        loops._loops.cache_clear()
