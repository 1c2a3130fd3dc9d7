import pytest
import torch

from stereotalker_core.records import Guides
from stereotalker_core.video.networks.mask import MaskConfig, MaskPredictor
from tests.video.samples import randomise

PARTS = ["face", "hand.L", "hand.R", *(f"part{i}" for i in range(15))]


def make_guides(frames=2, rows=32, columns=64):
    part = torch.randint(0, 19, (frames, 1, rows, columns)).float()
    normal, lift = torch.randn(frames, 3, rows, columns), torch.rand(frames, 3, rows, columns) * 2 - 1
    return Guides(normal, part, torch.ones_like(part), lift, torch.rand_like(part), torch.zeros(frames))


def test_a_new_predictor_keeps_the_silhouette_of_the_body():
    guides = make_guides()
    regions = MaskPredictor.for_parts(PARTS).predict(guides).masks
    assert regions.shape == (2, 4, 32, 64)
    torch.testing.assert_close(regions.sum(1), torch.ones(2, 32, 64))
    expected = torch.tensor([0, 2, 3, 3] + [1] * 15)[guides.part[:, 0].long()]
    assert torch.equal(regions.argmax(1), expected)


def test_colours_change_the_prediction_at_full_resolution():
    model = randomise(MaskPredictor(MaskConfig((0, 2, 3) + (1,) * 16, widths=(8, 8, 8), groups=4)))
    guides = make_guides()
    other = Guides(guides.normal, guides.part, guides.depth, -guides.lift, guides.visibility, guides.yaw)
    a, b = model.predict(guides).masks, model.predict(other).masks
    assert (a - b).abs().max() > 1e-3
    inside = (a[..., :4, :4] - b[..., :4, :4]).flatten(2)
    assert inside.std(-1).max() > 1e-4  # one block of 4x4 pixels is not one value


def test_frames_together_do_not_see_each_other(monkeypatch):
    model = randomise(MaskPredictor(MaskConfig((0, 2, 3) + (1,) * 16, widths=(8, 8, 8), groups=4)))
    guides = make_guides(frames=5)
    whole = model.predict(guides).masks
    monkeypatch.setattr("stereotalker_core.video.networks.mask.frames_together", lambda rows, columns: 2)
    torch.testing.assert_close(model.predict(guides).masks, whole)


def test_bad_regions_are_refused():
    with pytest.raises(ValueError, match="part_regions"):
        MaskPredictor(MaskConfig((0, 4)))
