"""`evaluate photos` from the command line on two small pictures of synthetic people: table, JSON, sheets, going on."""

import json
from pathlib import Path

import pytest
import torch

from stereotalker_core.body.model import HalfBody
from stereotalker_core.cli import main
from stereotalker_core.evaluation.photos import evaluate as photos
from stereotalker_core.evaluation.photos import identity as photo_identity
from stereotalker_core.evaluation.photos import rows as photo_rows
from stereotalker_core.evaluation.photos import sheet as photo_sheet
from stereotalker_core.image import save_image
from stereotalker_core.synthetic.people.avatar import make_avatar
from stereotalker_core.synthetic.people.portrait import reference_portrait


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Two people, and a picture of nobody."""
    folder = tmp_path_factory.mktemp("photographs")
    body = HalfBody()
    for seed in (3, 8):
        portrait = reference_portrait(body, make_avatar(body, seed), seed, 256)
        save_image(portrait.image, folder / f"person_{seed}.png")
    save_image(torch.zeros(3, 160, 160), folder / "wall.png")
    return folder


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory) -> tuple[Path, dict]:
    """Output folder and JSON of a quick run at 128 px."""
    out = tmp_path_factory.mktemp("run")
    words = ["evaluate", "photos", str(folder), "--quick", "--size", "128", "--out", str(out)]
    assert main([*words, "--json", str(out / "result.json")]) == 0
    return out, json.loads((out / "result.json").read_text())


def test_the_run_measures_everybody_and_refuses_nobody_else(run):
    out, result = run
    rows = {row["file"]: row for row in result["rows"]}
    assert set(rows) == {"person_3.png", "person_8.png", "wall.png"}
    assert set(result["refused"]) == {"wall.png"} and "\n" not in result["refused"]["wall.png"]
    assert result["metrics"]["refused"]["value"] == pytest.approx(1 / 3)
    for name in ("self_psnr", "self_ssim", "fit_seconds", "perception_seconds", "quality"):
        assert result["metrics"][name]["count"] == 2
        assert result["metrics"][name]["low"] <= result["metrics"][name]["value"] <= result["metrics"][name]["high"]
    for row in (rows["person_3.png"], rows["person_8.png"]):
        assert row["self_psnr"] > 15  # the same picture, not another one
        if not row.get("unjudged") and not row["face_lost"]:
            assert 0 < row["landmark_error"] < 0.2
    assert (out / "table.md").read_text().startswith("| figure | all (3)")


def test_pictures_for_other_judges_and_for_people(run):
    out, _ = run
    kept = {path.name for path in (out / "frames" / "person_3.png").iterdir()}
    assert {"photo.png", "own.png", "shut.png", "yaw-30.png", "yaw+30.png"} <= kept
    assert (out / "sheets" / "person_3.png.jpg").is_file() and (out / "worst.jpg").is_file()
    assert not (out / "frames" / "wall.png").exists()


def test_a_second_run_goes_on_where_the_first_stopped(run, folder, monkeypatch):
    out, result = run
    (out / "rows" / "person_8.png.json").unlink()
    measured = []
    monkeypatch.setattr(photos, "measure", lambda path, settings: measured.append(path.name) or row(path.name))
    settings = photo_rows.Settings(128, str(photos_speech()), True, str(out))
    rows = photos.evaluate_photos(photos.find_photos(folder), settings)
    assert measured == ["person_8.png"]
    assert [r["file"] for r in rows] == ["person_3.png", "person_8.png", "wall.png"]
    assert rows[0]["self_psnr"] == pytest.approx(result["rows"][0]["self_psnr"])
    assert not list((out / "rows").glob("*.tmp"))
    other = photo_rows.Settings(192, str(photos_speech()), True, str(out))
    photos.evaluate_photos(photos.find_photos(folder), other)
    assert len(measured) == 4  # another size: everything again


def test_a_stopped_run_says_what_is_kept(folder, tmp_path, monkeypatch, capsys):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(photos, "measure", stop)
    words = ["evaluate", "photos", str(folder), "--size", "128"]
    assert main([*words, "--out", str(tmp_path)]) == 130
    assert "kept in" in capsys.readouterr().err
    assert main(words) == 130
    told = capsys.readouterr().err
    assert "stopped" in told and "kept" not in told


def photos_speech() -> Path:
    from stereotalker_core.synthetic.example import SPEECH

    return SPEECH


def row(name: str, **figures) -> dict:
    return {"file": name, "refused": None, "half_body": False} | figures


def test_figures_are_means_over_the_photographs_that_tell_them():
    rows = [
        row("a", eye_opening=0.5, eye_within=0.0, half_body=True),
        row("b", eye_opening=1.1, eye_within=1.0),
        row("c"),
        {"file": "d", "refused": "no person found"},
    ]
    found = photos.report(rows)
    assert found["metrics"]["eye_opening"]["value"] == pytest.approx(0.8)
    assert found["metrics"]["eye_opening"]["count"] == 2
    assert found["metrics"]["refused"]["value"] == pytest.approx(0.25)
    assert found["kinds"]["half_body"]["eye_within"]["value"] == 0
    assert found["refused"] == {"d": "no person found"}
    text = photos.table(found)
    assert "| eye_opening | 0.800 (0.500 .. 1.100) | 0.500" in text and "refused: d: no person found" in text


def test_strangers_are_compared_only_where_faces_were_embedded():
    rows = [row("a", embedding=[1.0, 0.0]), row("b", embedding=[0.6, 0.8]), row("c")]
    found = photos.report(rows)
    assert found["metrics"]["identity_strangers"]["value"] == pytest.approx(0.6)
    assert all("embedding" not in one for one in found["rows"])
    assert "identity_strangers" not in photos.report([row("a")])["metrics"]


def test_without_the_extra_there_are_no_identity_rows(monkeypatch):
    monkeypatch.setattr(photo_identity.importlib.util, "find_spec", lambda name: None)
    assert photo_identity.load_embedder() is None
    assert photo_rows._identity_row(None, torch.zeros(3, 8, 8), torch.zeros(478, 2), {}, {}) == {}


def test_the_worst_come_first():
    rows = [row("a", eye_opening=0.9), row("b", eye_opening=2.5), row("c", eye_opening=0.2), row("d")]
    assert [r["file"] for r in photo_sheet.worst(rows, "eye_opening")] == ["c", "b", "a"]
    mattes = [row("a", matte_iou=0.9), row("b", matte_iou=0.7)]
    assert [r["file"] for r in photo_sheet.worst(mattes, "matte_iou")] == ["b", "a"]


def test_draws_are_told_by_the_seed(folder, tmp_path):
    everything = photos.find_photos(folder)
    assert [path.name for path in everything] == ["person_3.png", "person_8.png", "wall.png"]
    assert photos.find_photos(folder, 2, 1) == photos.find_photos(folder, 2, 1)
    assert len({tuple(photos.find_photos(folder, 1, seed)) for seed in range(12)}) > 1
    with pytest.raises(ValueError, match="holds no"):
        photos.find_photos(tmp_path)


@pytest.mark.parametrize(
    "words, says",
    [
        (["photos"], "needs the FOLDER"),
        (["motion", "somewhere"], "evaluate photos"),
        (["photos", "nowhere"], "no folder"),
        (["photos", ".", "--speech", "nothing.wav"], "no recording"),
        (["photos", ".", "--size", "100"], "multiples of 8"),
    ],
)
def test_bad_words_are_one_line(words, says, capsys):
    assert main(["evaluate", *words]) == 2
    assert says in capsys.readouterr().err
