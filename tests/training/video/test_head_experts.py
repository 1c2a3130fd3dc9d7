"""View experts beside the last convolution: what they learn from is what the renderer makes, and they alone learn."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stereotalker_core.synthetic.data.avatar_frames import AvatarData, find_shards
from stereotalker_core.training.video import head_experts
from tests.training.stage2_samples import PARTS, write_shard
from tests.video.samples import randomise, renderer


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads") / "train"
    write_shard(folder / "00", identities=2)
    return AvatarData(find_shards(folder), PARTS)


@pytest.fixture(scope="module")
def models():
    return renderer()


@pytest.fixture(scope="module")
def found(models, data):
    return head_experts.features(models, data)


def test_clips_are_the_first_of_everyone_and_those_from_the_side(data):
    clips = head_experts.chosen_clips(data)
    kept = {int(rows[0]) for rows in clips}
    assert {int(own[0]) for own in data.rows_of} <= kept
    for own in data.rows_of:
        second = own[8:16]
        assert (int(second[0]) in kept) == ((np.abs(data.yaw[second]) >= 60).sum() >= 2)


def test_new_experts_change_nothing_and_learn_alone(models, data, tmp_path):
    before = {k: v.clone() for k, v in models.unet.state_dict().items()}
    fresh = head_experts.new_head(models)
    assert not fresh.down[0].any() and fresh.fit(models.unet)
    trained = head_experts.train_head(models, data, tmp_path, 3, lr=0.01)
    assert trained.down[0].any() and torch.equal(trained.up[0], fresh.up[0])
    assert all(torch.equal(v, before[k]) for k, v in models.unet.state_dict().items())
    kept = torch.load(tmp_path / "features.pt", weights_only=True)
    again = head_experts.kept_features(models, data, tmp_path)
    assert all(torch.equal(again[k], kept[k]) for k in kept)


def test_the_latents_of_the_loss_are_those_of_the_renderer(models, data, found):
    """z + added, rebuilt from the stored features, against the denoiser with the experts in place."""
    experts = randomise(head_experts.new_head(models), 3)
    rows = data.rows(found["i"][:8].numpy())
    guide = rows.guide(data.n_parts)
    inside = replace(models, view_experts=experts)
    first = found["i"][:1].numpy()
    portrait = inside.encode_portrait(data.portrait(data.identity[first]))
    regions, noise = inside.predict_regions(rows.guides, guide), inside.noise((64, 64), int(first[0]))
    expected = inside.denoise(rows.guides, guide, regions, portrait, noise, 1)
    gates = experts.gates(rows.guides.yaw, None, (8, 8))[:, 0]
    matrices = experts.down[0].unflatten(0, (experts.config.count, -1))  # up is the identity of each
    added = torch.einsum("te,eoc,tchw->tohw", gates, matrices, found["h"][:8].float())
    assert float(added.abs().mean()) > 0.01
    tolerance = 0.02 * float(added.abs().max())  # the features are kept in bfloat16
    torch.testing.assert_close(found["z"][:8] + added, expected, atol=tolerance, rtol=0.02)


def test_experts_that_learn_gain_on_what_they_learn_from(models, data, found):
    batches = head_experts.HeadBatches(data, found, count=6, seed=1)
    loss, experts = head_experts.head_loss(models), head_experts.new_head(models)
    optimizer = torch.optim.Adam([experts.down[0]], 0.02)
    first, parts = loss(experts, batches(0))
    assert parts["gain_db"] == pytest.approx(0, abs=1e-4)
    for _ in range(15):
        value, parts = loss(experts, batches(0))
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert float(value.detach()) < float(first.detach()) and parts["gain_db"] > 0


def test_crops_hold_the_same_place_of_everything(data, found):
    batch = head_experts.HeadBatches(data, found, count=5, seed=2)(0)
    assert batch["rgb"].shape == (5, 3, 64, 64) and batch["h"].shape[2:] == (8, 8) == batch["z"].shape[2:]
    assert batch["guide"].shape[2:] == (16, 16)
    lift = torch.nn.functional.pixel_shuffle(batch["guide"][:, :48], 4)
    pick = head_experts.generator(2, 0).choice(len(found["i"]), 5, replace=False, p=_share(data, found))
    rows = data.rows(found["i"].numpy()[pick])
    torch.testing.assert_close(lift, rows.guides.lift)
    assert torch.equal(batch["rgb"], rows.rgb)


def _share(data, found):
    share = np.where(np.abs(data.yaw[found["i"].numpy()]) >= 60, head_experts.SIDE_MORE, 1.0)
    return share / share.sum()
