import dataclasses
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from stereotalker_core.evaluation.video import pictures
from stereotalker_core.evaluation.video.ablations import SWITCHES, difference, table
from stereotalker_core.evaluation.video.pictures import contact_sheet
from stereotalker_core.evaluation.video.render import (
    Ablation,
    evaluate_render,
    frame_metrics,
    make_validation,
    silhouette_metrics,
    ssim_map,
    stored_plate,
)
from stereotalker_core.synthetic.data.avatar_frames import AvatarData, find_shards
from tests.training.stage2_samples import PARTS, write_shard
from tests.video.samples import renderer as make_renderer


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("sets")
    write_shard(root / "val" / "00")
    return root


def test_frame_metrics_by_hand(root):
    rows = AvatarData(find_shards(root / "val"), PARTS).rows(np.arange(2))
    off = (rows.rgb + 0.2).clamp(-1, 1)
    values = frame_metrics(off, rows)
    ours, truth = (((x + 1) * 127.5).round() / 255 for x in (off, rows.rgb))
    person = rows.alpha[0, 0] > 0.5
    error = ((ours[0] - truth[0]) ** 2).mean(0)[person].mean()
    assert values["psnr_fg"][0] == pytest.approx(-10 * math.log10(float(error)), abs=1e-4)
    assert frame_metrics(rows.rgb, rows)["psnr_fg"][0] == pytest.approx(80)


def test_ssim_matches_scikit_image():
    from skimage.metrics import structural_similarity

    a = torch.rand(1, 1, 40, 40)
    b = (a + 0.1 * torch.randn_like(a)).clamp(0, 1)
    theirs = structural_similarity(
        a[0, 0].double().numpy(), b[0, 0].double().numpy(), data_range=1.0, gaussian_weights=True, sigma=1.5,
        use_sample_covariance=False, full=True,
    )[1][5:-5, 5:-5]  # fmt: skip
    np.testing.assert_allclose(ssim_map(a, b)[0, 0].numpy(), theirs, atol=1e-3)


def test_plate_is_what_the_lift_shows_outside(root):
    rows = AvatarData(find_shards(root / "val"), PARTS).rows(np.arange(1))
    body = F.pad(rows.guides.part[0, 0] > 0, (1, 1, 1, 1)).unfold(0, 3, 1).unfold(1, 3, 1)
    plate, outside = stored_plate(rows)[0], ~body.flatten(2).any(2)  # a pixel beside the body still shows some of it
    torch.testing.assert_close(plate[:, outside], rows.guides.lift[0][:, outside])
    assert not torch.equal(plate[:, ~outside], rows.guides.lift[0][:, ~outside])


def test_evaluation_names_every_metric_and_says_what_it_skipped(root):
    result = evaluate_render(make_renderer(), root / "val", quick=True)
    names = result["metrics"]
    wanted = {"psnr_face", "mask_iou", "region_miou", "ssim", "lift_psnr_face", *(
        f"{lift}psnr_fg_{low}_{high}" for lift in ("", "lift_") for low, high in ((0, 30), (30, 60), (60, 90))
    )}  # fmt: skip
    assert wanted <= set(names) and "psnr_fg_est" in result["skipped"]
    assert all(v["low"] <= v["value"] <= v["high"] for v in names.values())


def test_estimated_fits_and_ablations(root, tmp_path):
    write_shard(tmp_path / "est" / "00", seed=4)
    renderer = make_renderer()
    full = evaluate_render(renderer, root / "val", quick=True, estimated=tmp_path / "est")["metrics"]
    assert "psnr_fg_est_30_60" in full and "lift_psnr_fg_est_30_60" in full
    for change in (
        {"view_experts": False}, {"mask_experts": False}, {"predicted_mask": False}, {"reference": False},
        {"lift": False},
    ):  # fmt: skip
        other = evaluate_render(renderer, root / "val", quick=True, ablation=Ablation(**change))["metrics"]
        assert other["psnr_full"]["value"] != full["psnr_full"]["value"], change


def test_contact_sheet_has_four_pictures_a_line(root):
    data = AvatarData(find_shards(root / "val"), PARTS)
    for crop in (False, True):
        assert contact_sheet(make_renderer(), data, [0, 17], crop_face=crop).shape == (512, 1024, 3)


def test_pictures_are_written_as_png(root, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "subject", lambda body, seed: seed)
    monkeypatch.setattr(pictures, "yaw_sweep", lambda renderer, person, degrees: torch.rand(13, 3, 64, 64))
    files = pictures.write_pictures(make_renderer(), root / "val", tmp_path / "out")
    sizes = {}
    for path in files:
        with Image.open(path) as image:
            sizes[path.name] = image.size
    assert sizes == {"sheet.png": (1024, 768), "faces.png": (1024, 768), "yaws.png": (416, 32)}  # three people in all


def test_only_a_folder_called_val_is_made(tmp_path):
    with pytest.raises(ValueError, match="val"):
        make_validation(tmp_path / "other")


def test_silhouette_metrics_by_hand(root):
    rows = AvatarData(find_shards(root / "val"), PARTS).rows(np.arange(1))
    truth = torch.zeros_like(rows.alpha)
    truth[..., 10:30, 10:30] = 1  # 400 pixels
    bare, ours = truth.clone(), truth.clone()
    bare[..., 10:15, 10:30] = 0  # the body lacks 100 of them: hair
    ours[..., 10:12, 10:30] = 0  # 40 of those are missed
    ours[..., 40:45, 40:42] = 1  # and 10 pixels are invented
    found = silhouette_metrics(ours, bare, dataclasses.replace(rows, alpha=truth))
    assert found["silhouette_error"][0] == pytest.approx(50 / 400)
    assert found["bare_silhouette_error"][0] == pytest.approx(100 / 400)
    assert found["hair_recall"][0] == pytest.approx(60 / 100)
    tied = truth.clone()
    tied[..., 40:60, 40:60] = 128 / 255  # an exact half as it is stored: neither side is blamed
    assert silhouette_metrics(ours, bare, dataclasses.replace(rows, alpha=tied)) == found


def test_detail_is_energy_relative_to_the_truth(root):
    rows = AvatarData(find_shards(root / "val"), PARTS).rows(np.arange(2))
    rows = dataclasses.replace(rows, alpha=torch.ones_like(rows.alpha), rgb=rows.rgb * 0.5)
    assert frame_metrics(rows.rgb, rows)["detail"] == pytest.approx([1, 1], abs=1e-5)
    assert frame_metrics(rows.rgb * 0.5, rows)["detail"] == pytest.approx([0.25, 0.25], rel=0.03)


def test_ablation_table_has_a_row_for_every_switch(root):
    text = table(make_renderer(), root / "val", [("lift", make_renderer(seed=1))], people=1)
    assert text.count("\n") == 1 + len(SWITCHES) + 1 and "| no lift, trained so |" in text
    own = table(None, root / "val", [("all", make_renderer()), ("lift", make_renderer())], people=2)
    whole, less, lost = (line.split("|")[2:] for line in own.splitlines() if "everything" in line or "no lift" in line)
    assert float(lost[3].split()[0]) == pytest.approx(float(whole[3]) - float(less[3]), abs=0.3)


def test_differences_are_paired():
    whole, less = [(3.0, 5), (10.0, 5), None], [(2.0, 5), (9.0, 5), (1.0, 5)]
    assert difference(whole, less) == "1.000 [1.000, 1.000]"
    assert difference([None], [(1.0, 2)]) == "-"
