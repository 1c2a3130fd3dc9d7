import numpy as np
import pytest
import torch

from stereotalker_core.synthetic.data.avatar_frames import AvatarData, crop_rows, find_shards, swap_labels
from stereotalker_core.training.video.mask import region_targets, warp_guides
from tests.training.stage2_samples import PARTS, write_shard


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    root = tmp_path_factory.mktemp("avatars")
    arrays = [write_shard(root / "00"), write_shard(root / "01", seed=1, whole=[2])]
    return root, arrays


def test_only_complete_identities_are_read(shards):
    root, arrays = shards
    assert [p.name for p in find_shards(root)] == ["00"]
    data = AvatarData(find_shards(root, unfinished=True), PARTS)
    assert len(data) == 4 * 16 and len(data.portraits) == 4
    last = data.rows(data.rows_of[3][:2])
    expected = torch.from_numpy(arrays[1]["rgb"][32:34]).permute(0, 3, 1, 2) / 127.5 - 1
    torch.testing.assert_close(last.rgb, expected)
    with pytest.raises(ValueError, match="no complete shard"):
        find_shards(root / "nothing")


def test_flip_twice_is_the_original_and_swaps_sides(shards):
    data = AvatarData(find_shards(shards[0]), PARTS)
    index = np.array([0, 5])
    plain, flipped = data.rows(index), data.rows(index, np.array([True, False]))
    assert torch.equal(flipped.rgb[0], plain.rgb[0].flip(-1)) and torch.equal(flipped.rgb[1], plain.rgb[1])
    torch.testing.assert_close(flipped.guides.normal[0, 0], -plain.guides.normal[0, 0].flip(-1))
    torch.testing.assert_close(flipped.guides.normal[0, 1:], plain.guides.normal[0, 1:].flip(-1))
    assert flipped.guides.yaw.tolist() == [-float(plain.guides.yaw[0]), float(plain.guides.yaw[1])]
    left, right = 1 + PARTS.index("hand.L"), 1 + PARTS.index("hand.R")
    before, after = plain.guides.part[0].flip(-1), flipped.guides.part[0]
    assert torch.equal(before == left, after == right) and torch.equal(before == 1, after == 1)
    swap = swap_labels(PARTS)
    assert torch.equal(swap[swap], torch.arange(19))


def test_draw_keeps_identities_together_and_clips_in_order(shards):
    data = AvatarData(find_shards(shards[0]), PARTS)
    index = data.draw(np.random.default_rng(0), 2, 4, clips=True)
    assert len(set(data.identity[index[:4]])) == 1 and (np.diff(index[:4]) == 1).all()
    assert index[0] // 8 == index[3] // 8


def test_crops_cut_all_maps_at_the_same_place(shards):
    data = AvatarData(find_shards(shards[0]), PARTS)
    rows = data.rows(np.arange(3))
    rows.guides.lift.copy_(rows.rgb)
    cut = crop_rows(rows, 32, np.random.default_rng(0))
    assert cut.rgb.shape == (3, 3, 32, 32) and torch.equal(cut.rgb, cut.guides.lift)


def test_region_targets_sum_to_one_and_follow_alpha(shards):
    rows = AvatarData(find_shards(shards[0]), PARTS).rows(np.arange(2))
    target = region_targets(rows)
    torch.testing.assert_close(target.sum(1), torch.ones_like(target[:, 0]))
    torch.testing.assert_close(target[:, 0], 1 - rows.alpha[:, 0])
    assert torch.equal(target[:, 2] > 0, (rows.region == 2) & (rows.alpha[:, 0] > 0))


def test_warp_moves_the_guides_consistently(shards):
    guides = AvatarData(find_shards(shards[0]), PARTS).rows(np.arange(2)).guides
    same = warp_guides(guides, np.random.default_rng(0), amount=0.0, scale=0.0)
    torch.testing.assert_close(same.lift, guides.lift, atol=1e-4, rtol=0)
    assert torch.equal(same.part, guides.part)
    moved = warp_guides(guides, np.random.default_rng(0))
    assert not torch.equal(moved.part, guides.part) and set(moved.part.unique().tolist()) <= set(range(19))
