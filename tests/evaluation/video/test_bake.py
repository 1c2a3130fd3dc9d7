"""What `evaluate bake` says of pixels that were never shown: the truth scores full marks, a change of them is found."""

import json
from dataclasses import replace

import pytest
import torch

from stereotalker_core.evaluation.video import bake as evaluation
from stereotalker_core.records import Guides
from stereotalker_core.synthetic.people.render import AvatarFrames
from stereotalker_core.video.networks.bake_network import BakeConfig, BakeNetwork

SIZE = 32


@pytest.fixture
def frame():
    torch.manual_seed(0)
    rgb = torch.rand(2, 3, SIZE, SIZE) * 2 - 1
    alpha = torch.ones(2, 1, SIZE, SIZE)
    zeros = torch.zeros(2, 1, SIZE, SIZE)
    visibility = zeros.clone()
    visibility[..., : SIZE // 2] = 1
    guides = Guides(rgb, zeros, zeros, rgb, visibility, torch.zeros(2))
    region = torch.ones(2, SIZE, SIZE, dtype=torch.uint8)
    points = torch.zeros(2, 125, 2)
    return AvatarFrames(rgb, alpha, region, rgb[0], points, points[..., 0] > 0), guides


def test_only_the_unseen_half_is_scored(frame):
    truth, guides = frame
    wrong, grey = truth.rgb.clone(), truth.rgb.clone()
    wrong[..., : SIZE // 2] *= -1  # the seen half
    grey[..., SIZE // 2 :] = 0
    scores = evaluation.frame_scores({"true": truth.rgb, "wrong": wrong, "grey": grey}, truth, guides)
    assert scores["unseen_psnr_true"] == scores["unseen_psnr_wrong"]
    assert scores["seen_psnr_wrong"][0] < 20 < scores["seen_psnr_true"][0]
    assert scores["unseen_psnr_grey"][0] < 12
    assert scores["unseen_share"] == [0.5, 0.5]
    assert scores["unseen_detail_true"] == pytest.approx([1, 1]) and scores["unseen_detail_grey"][0] < 0.05


def test_frames_without_unseen_pixels_say_nothing(frame):
    truth, guides = frame
    scores = evaluation.frame_scores({"true": truth.rgb}, truth, replace(guides, visibility=truth.alpha))
    assert all(value != value for value in scores["unseen_psnr_true"])


def test_a_second_run_reads_the_finished_people(tmp_path, monkeypatch):
    calls = []
    row = {f"unseen_psnr_{kind}_{low}_{high}": [25.0 + len(kind), 8] for kind in ("fill", "bake")
           for low, high in evaluation.BINS}  # fmt: skip
    row["unseen_psnr_bake_0_30"] = [31.0, 8]
    monkeypatch.setattr(evaluation, "_person_scores", lambda *args: calls.append(args) or row)
    for _ in range(2):
        network = BakeNetwork(BakeConfig(widths=(8, 16, 16)))
        found = evaluation.evaluate_bake(network, people=2, out=tmp_path / "b.jsonl")
    assert len(calls) == 2 and len((tmp_path / "b.jsonl").read_text().splitlines()) == 2
    assert json.loads((tmp_path / "b.jsonl").read_text().splitlines()[0])["row"] == row
    assert found["unseen_gain_0_30"]["value"] == pytest.approx(2.0)
