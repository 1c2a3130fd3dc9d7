import numpy as np
from PIL import Image

from stereotalker_core.evaluation.plots import confusion_picture, interval_picture


def test_confusion_is_darker_where_the_counts_are(tmp_path):
    counts = np.array([[8, 0, 0], [1, 3, 4]])
    confusion_picture(counts, ["you", "me"], ["you", "me", "none"], "t", tmp_path / "c" / "m.png")
    pixels = np.asarray(Image.open(tmp_path / "c" / "m.png").convert("L")).astype(float)
    corner = [[pixels[70 + 46 * i + 4, 92 + 46 * j + 40] for j in range(3)] for i in range(2)]
    assert corner[0][0] < corner[1][2] < corner[1][0] < corner[0][1] == 255


def test_interval_picture_is_written(tmp_path):
    rows = {"a": {"value": 0.5, "low": 0.4, "high": 0.7}, "lag": {"value": -3.0, "low": -5.0, "high": 1.0}}
    interval_picture(rows, "t", tmp_path / "i.png")
    assert Image.open(tmp_path / "i.png").size[1] == 50 + 2 * 30
