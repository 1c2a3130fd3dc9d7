"""The command line: files and reports it writes, what it refuses (one line, status 2, no file), interruption."""

import errno
import json
import operator
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import av
import pytest
import torch

from stereotalker_core import checkpoint, cli, pipeline
from stereotalker_core.commands import train
from stereotalker_core.commands.evaluate import table
from stereotalker_core.commands.talking import talk
from stereotalker_core.image import load_background, save_image
from stereotalker_core.records import Motion
from stereotalker_core.video.writing import parts

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def tiny(monkeypatch, tiny_models):
    """Commands use the tiny networks."""
    monkeypatch.setattr(pipeline.Models, "load_nano", classmethod(lambda cls, device="cpu", *kind, **more: tiny_models))
    monkeypatch.setattr(talk.MotionModels, "load_nano", classmethod(lambda cls, device="cpu": tiny_models.motion))


def words(inputs, out, *more: str) -> list[str]:
    return [
        "talk", "--portrait", str(inputs.portrait), "--audio", str(inputs.audio), "--mask", str(inputs.mask),
        "--keypoints", str(inputs.keypoints), "--out", str(out), "--size", "128", "--motion-steps", "2", *more,
    ]  # fmt: skip


def streams(path) -> tuple[int, str, str | None]:
    """Decoded frames, video codec, audio codec."""
    with av.open(str(path)) as file:
        audio = file.streams.audio[0].codec_context.name if file.streams.audio else None
        return sum(1 for _ in file.decode(video=0)), file.streams.video[0].codec_context.name, audio


def test_talk_writes_a_video_with_sound_a_report_and_the_motion(tiny, inputs, tmp_path, capsys):
    out, report, motion = tmp_path / "new" / "v.mp4", tmp_path / "r.json", tmp_path / "m.safetensors"
    line = words(inputs, out, "--orbit", "-40:40", "--json", str(report), "--save-motion", str(motion))
    assert cli.main(line) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert streams(out) == (13, "h264", "aac")  # ceil(0.5 s * 25)
    told = json.loads(report.read_text())
    assert told["frames"] == 13 and told["complete"] and told["size"] == [128, 128]
    assert told["seconds_per_second"] > 0 and told["peak_memory_mb"] > 100
    assert set(told["stage_seconds"]) == {"load", "fit", "motion", "render"}
    with av.open(str(out)) as file:
        assert "Synthetic media" in file.metadata["comment"] and "seed 0" in file.metadata["comment"]
    # the saved motion gives the same file, and the same seed too
    again = tmp_path / "again.mp4"
    assert cli.main(words(inputs, again, "--orbit", "-40:40", "--motion", str(motion), "--quiet")) == 0
    assert again.read_bytes() == out.read_bytes()
    assert cli.main(words(inputs, again, "--orbit", "-40:40", "--quiet")) == 0
    assert again.read_bytes() == out.read_bytes()
    assert cli.main(words(inputs, again, "--orbit", "-40:40", "--seed", "1", "--quiet")) == 0
    assert again.read_bytes() != out.read_bytes()


def test_a_talk_of_any_shape_shows_the_fit_and_what_it_had_to_guess(tiny, inputs, tmp_path, capsys):
    """128x224 is width x height; a mask the wrong way round is taken, and said once, in a line of its own."""
    out, report, inverse = tmp_path / "v.mp4", tmp_path / "r.json", tmp_path / "inverse.png"
    motion = tmp_path / "m.safetensors"
    Motion(torch.zeros(2, 49, 3), torch.zeros(2, 52)).save(motion)
    save_image(-load_background(inputs.mask, (256, 256)), inverse)
    line = words(inputs, out, "--mask", str(inverse), "--motion", str(motion), "--json", str(report))
    line += ["--size", "128x224", "--yaw-origin", "body", "--person", "1"]
    assert cli.main(line) == 0
    with av.open(str(out)) as file:
        assert (file.streams.video[0].width, file.streams.video[0].height) == (128, 224)
    told, shown = json.loads(report.read_text()), capsys.readouterr().err.splitlines()
    assert told["size"] == [128, 224] and len(told["warnings"]) == 1 and "inverse" in told["warnings"][0]
    assert f"fit quality {told['fit_quality']:.2f} (of 1)" in shown
    assert [row for row in shown if "inverse" in row] == [f"warning: {told['warnings'][0]}"]
    assert cli.main([*line, "--quiet", "--size", "128", "--aspect", "photo"]) == 0
    assert capsys.readouterr().err == "" and json.loads(report.read_text())["size"] == [128, 128]


def test_help_of_talk_explains_every_option(capsys):
    with pytest.raises(SystemExit):
        cli.main(["talk", "--help"])
    text = " ".join(capsys.readouterr().out.split())
    for word in ("--person N", "--yaw-origin O", "--aspect W:H", "WIDTHxHEIGHT", "9:16", "of the body"):
        assert word in text, word


def test_motion_command(tiny, inputs, tmp_path):
    drawn = ["--preview", str(tmp_path / "p.mp4"), "--strip", str(tmp_path / "s.png"), "--yaw", "-30"]
    for name in ("m.safetensors", "m.npz", "m.csv", "m.bvh"):
        line = ["motion", "--audio", str(inputs.audio), "--out", str(tmp_path / name), "--motion-steps", "2"]
        assert cli.main([*line, *(drawn if name == "m.csv" else ["--style", "fear", "--intensity", "0.5"])]) == 0
    assert (tmp_path / "s.png").stat().st_size > 5000 and "HIERARCHY" in (tmp_path / "m.bvh").read_text()[:20]
    assert len(Motion.load(tmp_path / "m.safetensors")) == 13
    assert streams(tmp_path / "p.mp4") == (13, "h264", "aac")
    for name in ("m.npz", "m.csv", "m.bvh"):  # talk films whatever motion has written
        line = words(inputs, tmp_path / "v.mp4", "--motion", str(tmp_path / name), "--quiet")
        assert cli.main(line) == 0 and streams(tmp_path / "v.mp4")[0] == 13, name


@pytest.mark.parametrize(
    ("words", "path", "value"),
    [
        ("--style sad --intensity 0.5", "style.intensity", 0.5), ("--style sad", "style.emotion", "sad"),
        ("--energy 1.4", "style.energy", 1.4), ("--blink-rate 6", "blink_rate", 6.0), ("--seed 3", "seed", 3),
        ("--motion-steps 4", "steps", 4), ("--prior-strength 0", "prior_strength", 0.0),
    ],
)  # fmt: skip
def test_every_setting_of_the_motion_reaches_the_sampler(words, path, value):
    args = cli.build_parser().parse_args(["motion", "--audio", "a.wav", "--out", "m.safetensors", *words.split()])
    assert operator.attrgetter(path)(talk.motion_options(args)) == value


def test_interruption_leaves_a_playable_file(tiny, inputs, tmp_path, capsys, monkeypatch):
    original = talk.render

    def interrupted(*args):
        yield next(iter(original(*args)))
        raise KeyboardInterrupt

    monkeypatch.setattr(talk, "render", interrupted)
    report = tmp_path / "r.json"
    assert cli.main(words(inputs, tmp_path / "v.mp4", "--json", str(report))) == 130
    frames = streams(tmp_path / "v.mp4")[0]
    assert 0 < frames <= 13 and f"first {frames} of 13 frames" in capsys.readouterr().err
    assert json.loads(report.read_text())["complete"] is False


def test_a_real_signal_leaves_a_playable_file(tmp_path):
    """SIGINT to a process that writes frames slowly."""
    script = (
        "import signal, time, torch\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell starts background jobs without it
        "from pathlib import Path\n"
        "from stereotalker_core.commands.talking import talk\n"
        "from stereotalker_core.pipeline import Look, Scene\n"
        "from stereotalker_core.records import Cameras, Motion\n"
        "from types import SimpleNamespace\n"
        "def slow(models, scene, look, progress):\n"
        "    for i in range(200):\n"
        "        yield SimpleNamespace(frames=torch.full((1, 3, 64, 64), i / 200))\n"
        "        print(i, flush=True)\n"
        "        time.sleep(0.02)\n"
        "talk.render = slow\n"
        "cameras = Cameras(torch.eye(4).repeat(200, 1, 1), torch.eye(3), torch.zeros(200), (64, 64))\n"
        "scene = Scene(None, Motion(torch.zeros(200, 49, 3), torch.zeros(200, 52)), cameras)\n"
        f"print(talk.write_video(Path({str(tmp_path / 'v.mp4')!r}), None, scene, Look(), None, None))\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.strip() == "5":
            process.send_signal(signal.SIGINT)
            break
    assert "False" in process.communicate(timeout=120)[0]
    assert 5 <= streams(tmp_path / "v.mp4")[0] < 200


def test_a_disk_that_fills_while_writing(tiny, inputs, tmp_path, capsys, monkeypatch):
    def full(self, frames):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(parts.ClipWriter, "write", full)
    assert cli.main(words(inputs, tmp_path / "v.mp4", "--quiet")) == 2
    error = capsys.readouterr().err.strip()
    assert "disk is full" in error and len(error.splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.fixture
def bad(inputs, tmp_path_factory):
    """Files that cannot be used."""
    folder = tmp_path_factory.mktemp("bad")
    (folder / "text.wav").write_text("no sound")
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.json").write_text("{")
    (folder / "nobody.json").write_text('{"people": []}')
    (folder / "file").write_text("")
    save_image(torch.zeros(3, 60, 60), folder / "small.png")
    save_image(-torch.ones(3, 256, 256), folder / "black.png")
    (folder / "cut.png").write_bytes(inputs.portrait.read_bytes()[:5000])
    Motion(torch.zeros(4, 49, 3), torch.zeros(4, 52)).save(folder / "m.safetensors")
    (folder / "cut.safetensors").write_bytes((folder / "m.safetensors").read_bytes()[:-200])
    return folder


REFUSED = [
    (["--yaw", "181"], "--yaw: 181.0 is outside"),
    (["--yaw", "-200"], "--yaw: -200.0 is outside"),
    (["--orbit", "-40:400"], "yaw 400"),
    (["--orbit", "left"], "two yaws"),
    (["--pitch", "80"], "--pitch: 80.0 is outside"),
    (["--size", "100"], "size 100"),
    (["--steps", "0"], "--steps: must be 1..1000"),
    (["--motion-steps", "0"], "--motion-steps: must be 1..1000, got 0"),
    (["--yaw", "left"], "argument --yaw: invalid float value: 'left' (see talk --help)"),
    (["--hands", "up"], "argument --hands: invalid choice: 'up'"),
    (["--seed", "-1"], "seed must be"),
    (["--framing", "wide"], "framing 'wide'"),
    (["--prior-strength", "-1"], "--prior-strength: must be"),
    (["--view-experts", "nan"], "--view-experts: must be"),
    (["--mask-experts", "9"], "--mask-experts: must be"),
    (["--style", "bored"], "bored"),
    (["--device", "abacus"], "'abacus' is not available"),
    (["--background", "#12"], "six hex digits"),
    (["--background", "BAD/nothing.png"], "no file at"),
    (["--transcript", "@BAD/nothing.txt"], "no transcript"),
    (["--audio", "BAD/nothing.wav"], "no file at"),
    (["--audio", "BAD/text.wav"], "text.wav"),
    (["--audio", "BAD/empty.wav"], "empty"),
    (["--audio", "BAD/small.png"], "small.png"),
    (["--person", "0"], "--person counts from 1"),
    (["--size", "12x"], "WIDTHxHEIGHT like 576x1024"),
    (["--size", "576x1032"], "size 576x1032"),
    (["--size", "128x128", "--aspect", "1:1"], "a size of one number"),
    (["--aspect", "3:2"], "aspect '3:2' is unknown"),
    (["--yaw-origin", "nose"], "yaw_origin 'nose' is unknown"),
    (["--portrait", "BAD/nothing.png"], "no file at"),
    (["--portrait", "BAD/cut.png"], "no readable picture"),
    (["--portrait", "BAD/text.wav"], "no readable picture"),
    (["--portrait", "BAD/small.png"], "too small"),
    (["--mask", "BAD/black.png"], "black everywhere"),
    (["--keypoints", "BAD/text.json"], "not JSON"),
    (["--keypoints", "BAD/nobody.json"], "no person found"),
    (["--motion", "BAD/cut.safetensors"], "not a complete safetensors"),
    (["--motion", "BAD/nothing.safetensors"], "no file at"),
    (["--out", "BAD/v.avi"], "must end in"),
    (["--out", "BAD/file/v.mp4"], "cannot be written"),
    (["--json", "BAD/file/r.json"], "cannot be written"),
    (["--save-motion", "OUT/m.npz"], "must end in"),
    (["--bake-strength", "2", "--bake-model", "BAD/cut.safetensors"], "--bake-strength: must be 0..1, got 2"),
    (["--bake-model", "BAD/nothing.safetensors"], "no file at"),
    (["--bake-model", "BAD/cut.safetensors"], "not a complete safetensors"),
]


@pytest.mark.parametrize("change, message", REFUSED, ids=[" ".join(change) for change, _ in REFUSED])
def test_bad_input_is_one_line_and_nothing_is_written(inputs, bad, tmp_path, capsys, monkeypatch, change, message):
    def loaded(*_, **__):
        raise AssertionError("models were loaded before the input was checked")

    monkeypatch.setattr(pipeline.Models, "load_nano", classmethod(loaded))
    before = sorted(bad.rglob("*"))
    change = [word.replace("BAD", str(bad)).replace("OUT", str(tmp_path)) for word in change]
    assert cli.main(words(inputs, tmp_path / "v.mp4", *change)) == 2
    error = capsys.readouterr().err
    assert message in error and error.startswith("error: ") and len(error.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir()) and sorted(bad.rglob("*")) == before


def test_no_audio_and_no_motion(inputs, tmp_path, capsys):
    assert cli.main(["talk", "--portrait", str(inputs.portrait), "--out", str(tmp_path / "v.mp4")]) == 2
    assert "--audio" in capsys.readouterr().err


def test_checkpoints_that_are_cut_or_of_another_model(inputs, tiny_models, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("stereotalker_core.motion.generation.sampling.NANO", tmp_path)
    line = ["motion", "--audio", str(inputs.audio), "--out", str(tmp_path / "m.npz")]
    assert cli.main(line) == 2 and "no file at" in capsys.readouterr().err
    path = tmp_path / "audio_encoder.safetensors"
    checkpoint.save(tiny_models.motion.encoder, path)
    path.write_bytes(path.read_bytes()[:-100])
    assert cli.main(line) == 2 and "not a complete safetensors" in capsys.readouterr().err
    checkpoint.save(tiny_models.motion.denoiser, path)
    assert cli.main(line) == 2 and "holds 'MotionDenoiser', not 'SpeechEncoder'" in capsys.readouterr().err
    assert not (tmp_path / "m.npz").exists()


def test_nobody_in_the_portrait_says_how_to_help(tiny, inputs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("stereotalker_core.perception.people.find_faces", lambda *_: [])
    line = words(inputs, tmp_path / "v.mp4")
    del line[line.index("--mask") : line.index("--out")]
    assert cli.main(line) == 2
    assert "no person found" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_info(capsys):
    assert cli.main(["info"]) == 0
    text = capsys.readouterr().out
    assert "torch" in text and "device cpu" in text
    assert cli.main(["info", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {"version", "libraries", "models", "total_mb"} <= set(told)
    for row in told["models"]:
        assert row["parameters"] > 1000 and f"{row['mb']:.2f} MB" in text and row["file"] in text


TABLES = [(command, *row) for command, table in cli.FORWARDED.items() for row in table.items()]


@pytest.mark.parametrize("command, name, module", TABLES, ids=lambda x: x.rpartition(".")[2])
def test_every_trainer_and_generator_declares_its_options_and_runs(command, name, module, capsys):
    assert callable(import_module(f"stereotalker_core.{module}").run)
    with pytest.raises(SystemExit) as stop:
        cli.main([command, name, "--help"])
    assert stop.value.code == 0 and f"stereotalker_core {command} {name}" in capsys.readouterr().out


def test_no_trainer_is_missing_from_the_table():
    """Whatever has add_arguments and run under training/ or synthetic/ is reached by `train` or `synth`."""
    tables = {module for _, _, module in TABLES} | {train.SCALE}
    core = Path(cli.__file__).parent
    for path in (*core.glob("training/**/*.py"), *core.glob("synthetic/**/*.py")):
        text, module = path.read_text(encoding="utf-8"), ".".join(path.relative_to(core).with_suffix("").parts)
        assert ("\ndef add_arguments(" in text) == ("\ndef run(" in text) == (module in tables), module
        assert "parse_args" not in text, f"{module} has a command line of its own"


def test_words_are_handed_on_and_remembered(monkeypatch):
    seen = []
    monkeypatch.setattr(import_module("stereotalker_core.training.video.mask"), "run", seen.append)
    assert cli.main(["train", "mask", "--steps", "5", "--run", "r", "--out", "a file"]) == 0
    assert seen[0].steps == 5 and seen[0].out == "a file"
    assert seen[0].line == "python -m stereotalker_core train mask --steps 5 --run r --out 'a file'"


def test_with_clips_another_trainer_runs(monkeypatch):
    seen = []
    monkeypatch.setattr(import_module("stereotalker_core.training.clips.scale"), "run", seen.append)
    assert cli.main(["train", "renderer", "--clips", "c", "--run", "r", "--out", "o"]) == 0
    assert seen[0].model == "renderer" and str(seen[0].clips) == "c"
    monkeypatch.setattr(import_module("stereotalker_core.training.clips.command"), "run", seen.append)
    assert cli.main(["train", "clips", "avatars", "--clips", "4", "--out", "o"]) == 0  # this one makes folders
    assert seen[1].action == "avatars" and seen[1].clips == 4


@pytest.mark.parametrize("more", [["--size", "100"], ["--seed", "-1"], ["--json", "r.txt"]], ids=" ".join)
def test_a_refused_demo_leaves_no_portrait_behind(tmp_path, capsys, more):
    assert cli.main(["demo", "--out", str(tmp_path / "new" / "v.mp4"), *more]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--count", "0"], "--count must be 1 or more"), (["--workers", "-1"], "--workers must be 1 or more"),
        (["--bake-strength", "3"], "--bake-strength: must be 0..1"),
        (["--bake-steps", "4,0"], "--bake-steps must be 1..50"), (["--bake-steps", "a"], "numbers like 4,1"),
    ],
)  # fmt: skip
def test_a_bad_number_of_evaluate_is_refused_before_anything_is_loaded(capsys, monkeypatch, more, message):
    def loaded(*_, **__):
        raise AssertionError("networks were loaded before the options were checked")

    monkeypatch.setattr("stereotalker_core.video.rendering.bake.load_bake", loaded)
    assert cli.main(["evaluate", "bake", *more]) == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("size", ["0", "-5", "1000000"])
def test_a_synthetic_portrait_of_no_size_is_refused(tmp_path, capsys, size):
    assert cli.main(["synth", "portrait", "--size", size, "--out", str(tmp_path / "new" / "p.png")]) == 2
    assert "must be 32..4096 pixels" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_synth_portrait(tmp_path, inputs, capsys):
    out = tmp_path / "p.png"
    assert cli.main(["synth", "portrait", "--seed", "3", "--size", "256", "--out", str(out)]) == 0
    assert out.read_bytes() == inputs.portrait.read_bytes()
    assert (tmp_path / "p_mask.png").is_file() and len(json.loads((tmp_path / "p_keypoints.json").read_text())) > 60


def test_speed_is_measured(tiny_models, inputs):
    from stereotalker_core.audio.load import load_audio
    from stereotalker_core.evaluation.video.speed import evaluate_speed

    row = evaluate_speed(tiny_models, load_audio(inputs.audio), quick=True, size=128)["seconds_per_second"]
    assert 0 < row["low"] <= row["value"] <= row["high"]


def test_evaluate_writes_metrics(tiny, tmp_path, capsys, monkeypatch):
    """The numbers of both stages land in one table and one file; what could not be measured is said."""
    row, skipped = {"value": 0.7, "low": 0.6, "high": 0.8}, {"x": "no data"}
    motion, render, speed, face, temporal = (
        import_module(f"stereotalker_core.evaluation.{name}")
        for name in ("motion.evaluate", "video.render", "video.speed", "face.evaluate", "video.temporal")
    )
    monkeypatch.setattr(
        motion,
        "evaluate_motion",
        lambda *_, **__: {"metrics": {"jaw_correlation": row}, "skipped": {}, "voices": {"flite": {"awb": 2}}},
    )
    monkeypatch.setattr(render, "evaluate_render", lambda *_: {"metrics": {"mask_iou": row}, "skipped": skipped})
    monkeypatch.setattr(speed, "evaluate_speed", lambda *_: {"seconds_per_second": row})
    monkeypatch.setattr(speed, "expert_cost", lambda *_: {})
    monkeypatch.setattr(temporal, "evaluate_temporal", lambda *_: {})
    monkeypatch.setattr(face, "evaluate_face", lambda *_: {"metrics": {"jaw_correlation": row}})
    monkeypatch.setattr("stereotalker_core.face.sampling.FaceModels.load_nano", lambda: None)
    monkeypatch.setattr("stereotalker_core.commands.evaluate.load_renderer", lambda: None)
    assert cli.main(["evaluate", "all", "--quick", "--json", str(tmp_path / "e.json")]) == 0
    text = capsys.readouterr().out
    assert "unseen voices of flite: awb (2)" in text
    assert "| mask_iou | 0.700 | 0.600 .. 0.800 |" in text and "not measured: x (no data)" in text
    told = json.loads((tmp_path / "e.json").read_text())
    assert told["metrics"] == dict.fromkeys(
        ("jaw_correlation", "face_jaw_correlation", "mask_iou", "seconds_per_second"), row
    )
    assert told["quick"] and told["skipped"] == skipped


def test_evaluate_all_goes_on_where_nothing_can_speak(tmp_path, capsys, monkeypatch):
    row = {"value": 0.7, "low": 0.6, "high": 0.8}
    monkeypatch.setattr("stereotalker_core.evaluation.motion.evaluate.available_engines", lambda: ())
    monkeypatch.setattr(
        "stereotalker_core.evaluation.video.render.evaluate_render",
        lambda *_: {"metrics": {"mask_iou": row}, "skipped": {}},
    )
    for name in ("speed.evaluate_speed", "speed.expert_cost", "temporal.evaluate_temporal"):
        monkeypatch.setattr(f"stereotalker_core.evaluation.video.{name}", lambda *_: {})
    empty = ["--speech", str(tmp_path / "none"), "--quick"]
    assert cli.main(["evaluate", "all", *empty]) == 0
    text = capsys.readouterr().out
    assert "| mask_iou | 0.700" in text and "not measured: motion, face (no held-out speech: install espeak-ng" in text
    assert cli.main(["evaluate", "motion", *empty]) == 2 and "no held-out speech" in capsys.readouterr().err


def test_metrics_table():
    text = table({"jaw": {"value": 0.61234, "low": 0.5, "high": 0.7}})
    assert text.splitlines()[-1] == "| jaw | 0.612 | 0.500 .. 0.700 |"


def test_messages_name_the_file():
    assert cli.message(PermissionError(13, "Permission denied", "x.mp4")) == "x.mp4: Permission denied"
    assert cli.message(OSError(28, "the disk is full")) == "the disk is full"
    assert cli.message(ValueError("two\n  lines")) == "two lines"


def test_negative_angles_are_values():
    line = ["talk", "--orbit", "-40:40", "--yaw", "-3", "--seed", "1"]
    assert cli.join_pairs(line) == ["talk", "--orbit=-40:40", "--yaw=-3", "--seed", "1"]
