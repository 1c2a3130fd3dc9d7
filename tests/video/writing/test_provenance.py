"""Synthetic media says so."""

import pytest
import torch

from stereotalker_core.video.writing.provenance import CORNERS, container_tags, draw_label, provenance


def test_tags_name_model_and_seed():
    tags = container_tags("nano", 7)
    assert "model nano" in tags["comment"] and "seed 7" in tags["comment"] and "ynthetic" in tags["title"]
    assert provenance("nano", 7)["seed"] == 7


@pytest.mark.parametrize("corner", CORNERS)
def test_label_changes_only_its_corner(corner):
    frames = torch.zeros(2, 3, 96, 160)
    out = draw_label(frames, "Synthetic media", corner)
    changed = (out != frames).any(1)[0]
    rows, columns = changed.any(1).nonzero().flatten(), changed.any(0).nonzero().flatten()
    assert len(rows) and (int(rows.max()) == 95) == corner.startswith("bottom")
    assert len(rows) < 20 and (int(columns.max()) == 159) == corner.endswith("right")
    assert float(out.max()) > 0.3 and float(out.min()) < -0.3


def test_no_text_or_no_opacity_draws_nothing_and_bad_settings_are_refused():
    frames = torch.zeros(1, 3, 64, 64)
    assert draw_label(frames, " ") is frames and draw_label(frames, "x", opacity=0.0) is frames
    with pytest.raises(ValueError, match="corner"):
        draw_label(frames, "x", "middle")
    with pytest.raises(ValueError, match="opacity"):
        draw_label(frames, "x", opacity=2.0)
