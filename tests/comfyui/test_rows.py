"""What users of a real ComfyUI do: cut-out pictures, several people, batches, parts, files, 3D, kept results."""

import base64
import json
import os
import subprocess
import sys
import time
import wave
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).resolve().parents[1] / "nodes")]
from test_graphs import FRAMES  # noqa: E402
from test_server import CHECKOUTS, NAMED, Server, files_of, pixels, psnr, succeeded  # noqa: E402

pytestmark = pytest.mark.skipif(not CHECKOUTS, reason=f"no ComfyUI at {NAMED}; set COMFYUI_DIR to a checkout")
EXAMPLE = {"class_type": "StereoTalkerExampleInputs", "inputs": {"person": 11, "seconds": 0.6, "size": 256}}
TALK = {"image": ["in", 0], "audio": ["in", 2], "yaw": 0.0, "orbit": False, "end_yaw": 0.0, "seed": 1, "steps": 1}
TALK |= {"size": 128, "background": "portrait"}


@pytest.fixture(scope="module")
def portrait(server):
    """RGB (256, 256, 3) and mask (256, 256), 0..255, of the synthetic person, as the server gives them."""
    prompt = {"in": EXAMPLE, "mask": node("MaskToImage", mask=["in", 1])}
    prompt |= {"save": shown("in", 0), "save_mask": shown("mask", 0)}
    entry = succeeded(server.run(prompt))
    picture, mask = (pixels(server, entry, key)[0].numpy() for key in ("save", "save_mask"))
    return (picture * 255).astype(np.uint8), (mask[..., 0] * 255).astype(np.uint8)


def node(kind: str, **inputs) -> dict:
    return {"class_type": kind, "inputs": inputs}


def shown(source: str, slot: int) -> dict:
    return node("SaveImage", images=[source, slot], filename_prefix=source)


def talk(**inputs) -> dict:
    return node("StereoTalker", **(TALK | inputs))


def error_of(entry: dict) -> str:
    """The text of the error that a run ended with."""
    (found,) = [m[1] for m in entry["status"]["messages"] if m[0] == "execution_error"]
    return found["exception_message"]


def said(entry: dict, key: str) -> str:
    """What a node shows as text under its widgets."""
    return "\n".join(entry["outputs"][key]["text"])


def fit_of(server: Server, picture: np.ndarray, name: str, **more) -> dict:
    """The run of a fit of an uploaded picture with Load Image's own mask; its mask is saved."""
    prompt = {"load": node("LoadImage", image=server.upload(picture, name))}
    prompt["fit"] = node("StereoTalkerFitPortrait", image=["load", 0], mask=["load", 1], **more)
    prompt |= {"mask": node("MaskToImage", mask=["fit", 1]), "save": shown("mask", 0)}
    return server.run(prompt)


def test_load_image_of_a_cut_out_finds_the_person(server, portrait):
    picture, mask = portrait
    entry = succeeded(fit_of(server, np.dstack([picture, mask]), "cut_out.png"))
    assert "inverse is used" in said(entry, "fit")
    found = pixels(server, entry, "save")[0, ..., 0].numpy() > 0.5
    meant = mask > 127
    assert (found & meant).sum() / (found | meant).sum() > 0.9


def test_a_picture_of_nobody_is_refused(server):
    rows, columns = np.mgrid[:256, :256]
    cup = np.where((abs(columns - 128) < 50) & (abs(rows - 140) < 70), 230, 90).astype(np.uint8)
    message = error_of(fit_of(server, np.dstack([cup, cup, cup // 2]), "cup.png"))
    assert "no person" in message


def test_of_two_people_one_is_taken_and_the_other_can_be_chosen(server, portrait):
    second = {**EXAMPLE, "inputs": EXAMPLE["inputs"] | {"person": 21, "size": 192}}
    entry = succeeded(server.run({"other": second, "save": shown("other", 0)}))
    other = (pixels(server, entry, "save")[0].numpy() * 255).astype(np.uint8)
    both = np.zeros((256, 448, 3), np.uint8) + other[:1, :1]
    both[:, :256], both[64:, 256:] = portrait[0], other
    entry = succeeded(fit_of(server, both, "two.png"))
    assert "2 people" in said(entry, "fit")
    assert pixels(server, entry, "save")[0, :, 300:].mean() < 0.05
    chosen = succeeded(fit_of(server, both, "two.png", person=2))
    assert "2 people" not in said(chosen, "fit")
    assert pixels(server, chosen, "save")[0, :, :150].mean() < 0.05


def test_a_batch_of_portraits_is_refused_and_all_are_rendered_one_by_one(server):
    prompt = {"in": EXAMPLE, "two": node("RepeatImageBatch", image=["in", 0], amount=2)}
    prompt |= {"talk": talk(image=["two", 0], frames=2), "save": shown("talk", 0)}
    assert "2 pictures came in one batch" in error_of(server.run(prompt))
    prompt["each"] = node("RebatchImages", images=["two", 0], batch_size=1)
    prompt["talk"] = talk(image=["each", 0], frames=2)
    assert len(pixels(server, succeeded(server.run(prompt)), "save")) == 4


def test_another_yaw_fits_nothing_and_samples_nothing(server, record_property):
    """The fit warns of the small face each time it runs; the second run must not, and takes half of the time."""

    def seconds_and_fits(yaw: float) -> tuple[float, int]:
        before = server.log.read_text().count("px high")
        start = time.monotonic()
        entry = succeeded(server.run({"in": kept, "talk": talk(yaw=yaw, size=256), "save": shown("talk", 0)}))
        assert "px high" in said(entry, "talk")  # shown although nothing was fitted
        return time.monotonic() - start, server.log.read_text().count("px high") - before

    kept = {**EXAMPLE, "inputs": EXAMPLE["inputs"] | {"person": 33}}
    succeeded(server.run({"in": kept, "save": shown("in", 0)}))
    first, second = seconds_and_fits(0.0), seconds_and_fits(20.0)
    print(f"one node: first run {first[0]:.1f} s, another yaw {second[0]:.1f} s")
    assert first[1] >= 1 and second[1] == 0
    assert second[0] <= 0.5 * first[0]


def test_parts_rates_pictures_with_alpha_and_video(server):
    prompt = {"in": EXAMPLE, "whole": talk(), "part": talk(first_frame=5, frames=4), "clear": talk(alpha=True)}
    prompt |= {name: shown(name.removeprefix("save_"), 0) for name in ("save_whole", "save_part")}
    prompt["save_clear"] = shown("clear", 0)
    prompt["fast"] = talk(fps=50.0)
    prompt["video"] = node("SaveVideo", video=["fast", 4], filename_prefix="video", format="auto", codec="auto")
    entry = succeeded(server.run(prompt))
    whole, part = pixels(server, entry, "save_whole"), pixels(server, entry, "save_part")
    assert len(whole) == FRAMES and len(part) == 4 and psnr(part, whole[5:9]) > 45
    assert alpha_of(server, entry, "save_clear").shape == (FRAMES, 128, 128)
    assert 0.1 < (alpha_of(server, entry, "save_clear") > 127).mean() < 0.9
    (item,) = files_of(entry, ".mp4", "video")
    count, rate = counted(server.fetch(item))
    assert (count, rate) == (2 * FRAMES, 50)


def alpha_of(server: Server, entry: dict, key: str) -> np.ndarray:
    from PIL import Image

    pictures = [Image.open(BytesIO(server.fetch(item))) for item in files_of(entry, ".png", key)]
    return np.stack([np.asarray(picture.getchannel("A")) for picture in pictures])


def counted(data: bytes) -> tuple[int, float]:
    """(frames, frames a second) of a video."""
    import av

    with av.open(BytesIO(data)) as container:
        return sum(1 for _ in container.decode(video=0)), float(container.streams.video[0].average_rate)


def stages() -> dict:
    """The split graph up to the renderer."""
    return {
        "in": EXAMPLE,
        "fit": node("StereoTalkerFitPortrait", image=["in", 0], mask=["in", 1]),
        "ears": node("StereoTalkerLoadAudioEncoder", model_name="nano (embedded)"),
        "mind": node("StereoTalkerLoadMotionModel", model_name="nano (embedded)", prior_name="nano (embedded)"),
        "heard": node("StereoTalkerEncodeSpeech", audio_encoder=["ears", 0], audio=["in", 2]),
        "motion": node(
            "StereoTalkerSampleMotion", motion_model=["mind", 0], speech=["heard", 0], seed=1, steps=4,
            prior_strength=1.0, motion_strength=1.0, face_strength=1.0, emotion="neutral", smoothing=0.0,
        ),
        "camera": camera(),
        "nets": node(
            "StereoTalkerLoadRenderer", **{f"{k}_name": "nano (embedded)" for k in ("unet", "reference", "vae")}
        ),
    }  # fmt: skip


def camera(**more) -> dict:
    given = {"path": "fixed", "yaw": 0.0, "end_yaw": 0.0, "pitch": 0.0, "distance": 1.0, "framing": "portrait"}
    return node(
        "StereoTalkerCameraTrajectory", identity=["fit", 0], motion=["motion", 0], size=128, **(given | more)
    )  # fmt: skip


def rendered(kind: str, **more) -> dict:
    links = {"model": ["nets", 0], "vae": ["nets", 1], "identity": ["fit", 0], "motion": ["motion", 0]}
    return node(kind, **links, cameras=["camera", 0], seed=0, steps=1, background="portrait", **more)


@pytest.mark.parametrize("kind, suffix", [("webm (transparent)", ".webm"), ("mov, ProRes 4444 (transparent)", ".mov")])
def test_transparent_files(server, kind, suffix, tmp_path):
    more = {"filename_prefix": "clear", "label": False, "file_format": kind, "audio": ["in", 2]}
    entry = succeeded(server.run(stages() | {"file": rendered("StereoTalkerRenderToFile", **more)}))
    (item,) = files_of(entry, suffix, "file")
    assert counted(server.fetch(item))[0] == FRAMES


def viewer(yaw: float, distance: float, height: float) -> dict:
    """Core's Create Camera Info: level, around a point so many metres above the hips."""
    told = {"mode": "orbit", "mode.yaw": yaw, "mode.pitch": 0.0, "mode.distance": distance, "target_x": 0.0}
    told |= {"target_y": height, "target_z": 0.0, "roll": 0.0, "fov": 35.0, "zoom": 1.0, "camera_type": "perspective"}
    return node("CreateCameraInfo", **told)


def lacks(server: Server, *kinds: str) -> None:
    """Skip the test on a server whose core is older than these nodes."""
    missing = set(kinds) - set(server.get("/object_info"))
    if missing:
        pytest.skip(f"this server has no {', '.join(sorted(missing))}")


def test_create_camera_info_sees_the_side_that_our_yaw_sees(server):
    lacks(server, "CreateCameraInfo")
    prompt = stages() | {"info": viewer(35.0, 4.0, 0.0), "camera": camera(camera_info=["info", 0])}
    for name, yaw in (("ours", -35.0), ("other", 35.0)):
        prompt[f"{name}_camera"] = camera(yaw=yaw)
        prompt[name] = rendered("StereoTalkerRenderVideo", frames=1)
        prompt[name]["inputs"]["cameras"] = [f"{name}_camera", 0]
        prompt[f"save_{name}"] = shown(name, 0)
    prompt |= {"core": rendered("StereoTalkerRenderVideo", frames=1), "save_core": shown("core", 0)}
    entry = succeeded(server.run(prompt))
    core, ours, other = (pixels(server, entry, f"save_{name}") for name in ("core", "ours", "other"))
    assert psnr(core, ours) > 35 and psnr(core, other) < 25


def seen_from(prompt: dict, yaw: float) -> None:
    """Add what core's camera sees at `yaw`: the exported person by core's Render Mesh, and our frame."""
    name = f"at{yaw:g}"
    prompt[name] = viewer(yaw, 1.5, 0.4)
    look = {"mode": "auto", "width": 256, "height": 256, "background": "#808080"}
    prompt[f"{name}_core"] = node("RenderMesh", mesh=["mesh", 0], camera_info=[name, 0], **look)
    prompt[f"{name}_camera"] = camera(camera_info=[name, 0], camera_use="place in metres")
    prompt[f"{name}_camera"]["inputs"]["size"] = 256
    prompt[f"{name}_ours"] = rendered("StereoTalkerRenderVideo", frames=1)
    prompt[f"{name}_ours"]["inputs"] |= {"cameras": [f"{name}_camera", 0], "background": "grey"}
    prompt[f"{name}_back"] = node("RenderMesh", mesh=["mesh", 0], camera_info=[f"{name}_camera", 1], **look)
    for kind in ("core", "ours", "back"):
        prompt[f"{name}_{kind}_mask"] = node("MaskToImage", mask=[f"{name}_{kind}", 1])
        prompt |= {f"save_{name}_{kind}{end}": shown(f"{name}_{kind}{end}", 0) for end in ("", "_mask")}


def test_core_renders_the_exported_person_as_we_do(server, tmp_path):
    """Create Camera Info at yaw 35 films the GLB with Render Mesh and our frame with Render Video: one silhouette."""
    lacks(server, "CreateCameraInfo", "RenderMesh")
    prompt = stages() | {"glb": node("StereoTalkerSaveAvatar", identity=["fit", 0], motion=["motion", 0])}
    prompt["glb"]["inputs"]["filename_prefix"] = "3d/filmed"
    prompt["mesh"] = node("TestReadGlb", path=["glb", 1], seconds=0.0)
    for yaw in (35.0, -35.0):
        seen_from(prompt, yaw)
    entry = succeeded(server.run(prompt))
    pictures = {key: pixels(server, entry, key)[0] for key in prompt if key.startswith("save_at")}
    ends = ("35_core", "35_ours", "35_back", "-35_ours")
    core, ours, back, other = (pictures[f"save_at{end}_mask"][..., 0] > 0.5 for end in ends)
    row = [pictures[f"save_at{yaw}_{kind}"] for yaw in (35, -35) for kind in ("core", "ours")]
    keep(tmp_path, "render_mesh_beside_ours", np.concatenate([one.numpy() for one in row], 1))
    both = core & ours
    colours = psnr(row[0][both], row[1][both])
    print(f"silhouettes: {iou(core, ours):.3f}, of the other side {iou(core, other):.3f}; colours {colours:.1f} dB")
    assert iou(core, ours) > 0.9 and iou(core, ours) > iou(core, other) + 0.03
    assert iou(back, ours) > 0.9, "core's Render Mesh from the camera_info that Camera Trajectory gives"
    assert colours > psnr(row[0][both], row[3][both]) + 3


def test_a_path_of_cameras_comes_back(server):
    """Camera Trajectory's orbit as a list of cameras, into another Camera Trajectory: the same frames."""
    prompt = stages()
    prompt["orbit"] = camera(path="orbit", yaw=-40.0, end_yaw=40.0, framing="half_body")
    prompt["again"] = camera(camera_info=["orbit", 1], camera_use="place in metres")
    for name in ("orbit", "again"):
        prompt[f"{name}_video"] = rendered("StereoTalkerRenderVideo")
        prompt[f"{name}_video"]["inputs"]["cameras"] = [name, 0]
        prompt[f"save_{name}"] = shown(f"{name}_video", 0)
    entry = succeeded(server.run(prompt))
    first, again = (pixels(server, entry, f"save_{name}") for name in ("orbit", "again"))
    assert psnr(first, again) > 40 and psnr(first[:1], again[-1:]) < 25


def test_guides_of_four_seconds_at_1024_px_fit_a_machine_of_16_gb(server):
    if not Path(f"/proc/{server.process.pid}/status").exists():
        pytest.skip("no /proc here, which tells the most memory that a process had")
    prompt, last = stages(), "motion"
    for name in ("twice", "four", "eight"):
        prompt[name] = node("StereoTalkerConcatMotion", motion_a=[last, 0], motion_b=[last, 0], overlap=1)
        last = name
    prompt["camera"]["inputs"] |= {"motion": [last, 0], "size": 1024}
    links = {"identity": ["fit", 0], "motion": [last, 0], "cameras": ["camera", 0]}
    prompt["guides"] = node("StereoTalkerRenderGuides", **links)
    prompt["sink"] = node("PreviewAny", source=["guides", 5])
    succeeded(server.run(prompt))
    status = Path(f"/proc/{server.process.pid}/status").read_text(encoding="utf-8")
    most = int(status.split("VmHWM:")[1].split()[0]) / 1e6  # GB
    print(f"guides of {8 * FRAMES - 7} frames at 1024 px: at most {most:.1f} GB")
    assert most < 14
    server.post("/free", {"unload_models": True, "free_memory": True})


def iou(a, b) -> float:
    """Intersection of two masks over their union."""
    return float((a & b).sum() / (a | b).sum())


def keep(folder: Path, name: str, picture: np.ndarray) -> None:
    """A picture (H, W, 3) in 0..1 to look at, where BROWSER_ARTIFACTS says, else in a folder of the test."""
    from PIL import Image

    folder = Path(os.environ.get("BROWSER_ARTIFACTS", folder))
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray((picture * 255).round().astype(np.uint8)).save(folder / f"{name}.png")


def test_decoding_with_the_wrong_vae_says_what_is_missing(server):
    prompt = stages()
    prompt["empty"] = node("EmptyLatentImage", width=128, height=128, batch_size=1)
    prompt |= {"decode": node("VAEDecode", samples=["empty", 0], vae=["nets", 1]), "save": shown("decode", 0)}
    message = error_of(server.run(prompt))
    assert "Conditioning" in message and "8 channels" in message
    prompt["empty"] = node("RepeatLatentBatch", samples=["one", 0], amount=2)
    prompt["one"] = node("VAEEncode", pixels=["in", 0], vae=["nets", 1])
    assert "connect the `vae` output of Stereo-Talker Conditioning" in error_of(server.run(prompt))


def test_speech_from_text(server):
    data = BytesIO()
    with wave.open(data, "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes((np.sin(np.arange(16000) / 9) * 9000).astype("<i2").tobytes())
    source = "data:audio/wav;base64," + base64.b64encode(data.getvalue()).decode()
    prompt = {"speech": node("StereoTalkerSpeechSource", source=source)}
    prompt["show"] = node("SaveAudio", audio=["speech", 0], filename_prefix="speech")
    entry = succeeded(server.run(prompt))
    assert len(server.fetch(files_of(entry, ".flac", "show")[0])) > 1000


@pytest.fixture(scope="module")
def avatar(server) -> dict[str, Path]:
    """Files of the server's output folder: an exported person that talks, which Preview 3D took, and what made it."""
    prompt = stages()
    given = {"identity": ["fit", 0], "motion": ["motion", 0]}
    prompt["glb"] = node("StereoTalkerSaveAvatar", filename_prefix="3d/person", **given)
    prompt["show"] = node("Preview3D", model_file=["glb", 0])
    prompt["identity"] = node("StereoTalkerSaveIdentity", identity=["fit", 0], filename_prefix="kept/identity")
    prompt["kept"] = node("StereoTalkerSaveMotion", motion=["motion", 0], filename_prefix="kept/motion")
    entry = succeeded(server.run(prompt))
    (item,) = entry["outputs"]["glb"]["3d"]
    output = server.log.parent / "output"
    files = {name: next((output / "kept").glob(f"{name}*")) for name in ("identity", "motion")}
    return files | {"glb": output / item["subfolder"] / item["filename"]}


def test_vertices_of_the_exported_person(avatar):
    """A second reader poses the file's frames; ours are posed from the saved identity and motion of the same run."""
    import torch

    from stereotalker_core.body.model import HalfBody
    from stereotalker_core.records import Identity, Motion
    from tests.motion.files.gltf_reader import Gltf

    body, file = HalfBody(), Gltf(avatar["glb"])
    identity, motion = Identity.load(avatar["identity"]), Motion.load(avatar["motion"])
    performed = identity.performed(motion)
    rest = body.rest(identity.shape[None], identity.shell[None])
    x, y, z = body.pose(rest, performed.rotations, performed.expression).vertices[:, body.render_vertex].unbind(-1)
    ours = torch.stack([x, z, -y], -1).double().numpy()
    off = [np.linalg.norm(file.vertices(frame / 25) - ours[frame], axis=1).max() for frame in range(FRAMES)]
    print(f"exported vertices: at most {1000 * max(off):.4f} mm off in {FRAMES} frames")
    assert len(motion) == FRAMES and max(off) < 1e-4  # m


def test_the_exported_person_is_valid(avatar):
    place = os.environ.get("GLTF_VALIDATOR")
    if not place:
        pytest.skip("GLTF_VALIDATOR names no folder with node_modules/gltf-validator")
    script = (
        "const v=require('gltf-validator');v.validateBytes(new Uint8Array(require('fs').readFileSync(process.argv[1])),"
        "{maxIssues:20}).then(r=>console.log(JSON.stringify(r)))"
    )
    command = ["node", "-e", script, str(avatar["glb"])]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=300)
    report = json.loads(done.stdout)
    assert report["issues"]["numErrors"] == 0, report["issues"]["messages"]
    assert report["info"]["animationCount"] == 1 and report["info"]["hasMorphTargets"] and report["info"]["hasSkins"]
