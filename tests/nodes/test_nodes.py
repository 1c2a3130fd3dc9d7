"""The pack as ComfyUI sees it: ids and inputs (golden file), tooltips, thin bodies, clear errors."""

import ast
import json
import re
from pathlib import Path

import pytest
import torch
from graph import ROOT, inputs_of, load_pack

GOLDEN = Path(__file__).with_name("inputs.json")
CLASSES = load_pack().NODE_CLASS_MAPPINGS


def described() -> dict:
    """{id: {"inputs": [[name, type]...], "outputs": [[name, type]...]}} of every node."""
    found = {}
    for name, cls in CLASSES.items():
        kinds = [[k, "COMBO" if isinstance(v[0], (list, tuple)) else v[0]] for k, v in inputs_of(cls).items()]
        found[name] = {
            "inputs": kinds,
            "outputs": [list(pair) for pair in zip(cls.RETURN_NAMES, cls.RETURN_TYPES, strict=True)],
        }
    return found


def test_ids_and_inputs_are_api():
    """Nodes are never renamed or removed, inputs never reordered; later ones are appended."""
    golden, now = json.loads(GOLDEN.read_text()), described()
    assert set(golden) <= set(now), f"nodes disappeared: {set(golden) - set(now)}"
    for name, node in golden.items():
        for part in ("inputs", "outputs"):
            assert now[name][part][: len(node[part])] == node[part], f"{name}: {part} changed"
    assert set(now) == set(golden), f"add the new nodes to {GOLDEN.name}: {set(now) - set(golden)}"


@pytest.mark.parametrize("name", CLASSES)
def test_every_socket_is_explained(name):
    cls = CLASSES[name]
    assert cls.DESCRIPTION and cls.SEARCH_ALIASES and cls.DISPLAY_NAME and cls.CATEGORY.startswith("Stereo-Talker")
    assert len(cls.OUTPUT_TOOLTIPS) == len(cls.RETURN_TYPES) == len(cls.RETURN_NAMES)
    for key, spec in inputs_of(cls).items():
        assert spec[1]["tooltip"], f"{name}.{key} has no tooltip"
    assert callable(getattr(cls, cls.FUNCTION))


def test_choices_that_are_translated_are_those_of_the_nodes():
    """choices.json, which the tests of js/messages.mjs read: words, not files, speakers or names of formats."""
    names = re.compile(r"[MW]\d+|BVH|mp4|Live Link Face CSV|OpenPose JSON|.*safetensors|.*/|aria|marek|yuna")
    found: set[str] = set()
    for cls in CLASSES.values():
        inputs = inputs_of(cls).items()
        found |= {
            word for key, spec in inputs if isinstance(spec[0], (list, tuple)) and not key.endswith("_file")
            for word in spec[0] if not names.fullmatch(word)
        }  # fmt: skip
    assert json.loads((ROOT / "tests" / "nodes" / "choices.json").read_text()) == sorted(found)


def test_only_host_knows_comfyui():
    for file in (ROOT / "nodes").rglob("*.py"):
        tree = ast.parse(file.read_text())
        names = {a.name.split(".")[0] for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        froms = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and not n.level]
        names |= {(n.module or "").split(".")[0] for n in froms}
        if file.parent.name != "host":
            assert not names & {"comfy", "comfy_api", "folder_paths", "nodes", "server"}, file.name


def test_images_round_trip():
    host = load_pack().nodes.host
    image = torch.rand(1, 5, 7, 3)
    assert torch.allclose(host.image_out([host.image_in(image)[None]]), image, atol=1e-6)


def test_chunks_become_one_batch():
    chunks = [torch.randn(n, 3, 5, 7) for n in (1, 9, 4)]
    plain = ((torch.cat(chunks).clamp(-1, 1) + 1) / 2).permute(0, 2, 3, 1)
    assert torch.equal(load_pack().nodes.host.image_out(chunks), plain)


def test_an_empty_stock_mask_means_no_mask():
    host = load_pack().nodes.host
    assert host.mask_in(torch.zeros(1, 64, 64), (10, 10)) is None
    assert host.mask_in(torch.ones(1, 64, 64), (10, 10)).shape == (1, 10, 10)


def test_the_mask_of_another_picture_is_refused_and_not_stretched():
    host = load_pack().nodes.host
    assert host.mask_in(torch.ones(1, 101, 150), (200, 300)).shape == (1, 200, 300)  # a scaled and rounded one
    with pytest.raises(ValueError, match="the mask is 512 x 128 px and the portrait 256 x 256: it belongs to another"):
        host.mask_in(torch.ones(1, 128, 512), (256, 256))


def test_a_missing_model_file_names_its_folder():
    host = load_pack().nodes.host
    with pytest.raises(FileNotFoundError, match="models/stereotalker"):
        host.resolve_model("absent.safetensors", Path("unused"))


def test_silence_is_a_recording_in_which_nobody_speaks():
    silent = load_pack().nodes.speech.audio_in({"waveform": torch.zeros(1, 1, 16000), "sample_rate": 16000})
    assert silent.frame_count() == 25 and not silent.waveform.any()


def test_batches_are_refused_by_name_and_never_cut():
    pack = load_pack()
    with pytest.raises(ValueError, match="3 pictures came in one batch.*Rebatch Images"):
        pack.nodes.host.image_in(torch.rand(3, 64, 64, 3))
    with pytest.raises(ValueError, match="0 pictures"):
        pack.nodes.host.image_in(torch.rand(0, 64, 64, 3))
    with pytest.raises(ValueError, match="2 masks came in one batch"):
        pack.nodes.host.mask_in(torch.ones(2, 64, 64), (64, 64))
    with pytest.raises(ValueError, match="2 recordings came in one batch"):
        pack.nodes.speech.audio_in({"waveform": torch.rand(2, 1, 16000), "sample_rate": 16000})
    with pytest.raises(ValueError, match="2 pictures' keypoints"):
        pack.nodes.portrait.keypoints_in([{"people": []}] * 2, 64, 64)
    assert pack.nodes.portrait.keypoints_in(None, 64, 64) is None


def test_cameras_of_another_motion_are_refused():
    pack = load_pack()
    records, trajectories = _core(pack)
    motion = records.Motion(torch.zeros(5, 49, 3), torch.zeros(5, 52))
    cameras = trajectories.fixed(trajectories.canonical_framing(0.6), 4)
    with pytest.raises(ValueError, match="5 frames but the cameras 4"):
        pack.nodes.guides.check_lengths(motion, cameras)


def test_what_cannot_fit_in_memory_is_refused_first():
    pack = load_pack()
    _, trajectories = _core(pack)
    cameras = trajectories.fixed(trajectories.canonical_framing(0.6), 1, size=(1024, 1024))
    with pytest.raises(ValueError, match="GB"):
        pack.nodes.video.check_batch(10_000_000, cameras.size)


def _core(pack):
    from importlib import import_module

    return (
        import_module(f"{pack.__name__}.stereotalker_core.records"),
        import_module(f"{pack.__name__}.stereotalker_core.camera.trajectories"),
    )
