"""Small clips, identities, SMPL-X recordings and TextGrids for the tests."""

import json

import numpy as np
import torch

from stereotalker_core.records import Audio, Cameras, Identity, Motion, Regions
from stereotalker_core.shapes import SAMPLE_RATE
from stereotalker_core.training.clips.clip import Clip, ClipInfo, KeypointTrack, write_clip, write_identity, write_wav

SIZE = (32, 48)


def make_audio(seconds: float, seed: int = 0) -> Audio:
    g = torch.Generator().manual_seed(seed)
    wave = 0.2 * torch.randn(round(seconds * SAMPLE_RATE), generator=g)
    return Audio(wave, wave[None], SAMPLE_RATE)


def make_clip(name: str = "one", length: int = 10, seed: int = 0, **changes) -> Clip:
    g = torch.Generator().manual_seed(seed)
    camera = torch.eye(4).repeat(length, 1, 1)
    masks = torch.randn(length, 4, *SIZE, generator=g).softmax(1)
    words = (("hello", 0.04, 0.2), ("you", 0.24, 0.36))
    info = ClipInfo(name, length, identity="anna", transcript="hello you")
    values = {
        "frames": torch.rand(length, 3, *SIZE, generator=g) * 2 - 1,
        "motion": Motion(0.2 * torch.randn(length, 49, 3, generator=g), torch.rand(length, 52, generator=g)),
        "cameras": Cameras(camera, torch.eye(3), torch.zeros(length), SIZE),
        "regions": Regions(masks),
        "keypoints": KeypointTrack(("face.0", "face.1"), torch.rand(length, 2, 2), torch.ones(length, 2)),
        "audio": make_audio(length / 25, seed),
        "words": words,
        "phones": (("hh", 0.04, 0.1, 0), ("ow", 0.1, 0.2, 1)),
    }
    return Clip(info, **(values | changes))


def make_identity() -> Identity:
    return Identity(
        shape=torch.zeros(4), shell=torch.zeros(5), rotations=torch.zeros(49, 3), expression=torch.zeros(52),
        world_to_camera=torch.eye(4), intrinsics=torch.eye(3), portrait=torch.zeros(3, 8, 8), mask=torch.ones(1, 8, 8),
        background=torch.zeros(3, 8, 8), atlas=torch.zeros(3, 4, 4), visibility=torch.ones(1, 4, 4),
    )  # fmt: skip


def make_root(root, clips: int = 2):
    for i in range(clips):
        write_clip(make_clip(f"clip{i}", seed=i), root)
    write_identity(make_identity(), root, "anna")
    return root


def write_beat2(folder, name="2_scott_0_1_1", frames=90, fps=30, poses=None, arkit=True, grid=True):
    """A recording in the layout of the data set; the jaw opens linearly in the ARKit file."""
    (folder / "smplxflame_30").mkdir(parents=True, exist_ok=True)
    seconds = frames / fps
    poses = np.zeros((frames, 165), np.float32) if poses is None else poses
    np.savez(
        folder / "smplxflame_30" / f"{name}.npz", poses=poses, expressions=np.zeros((frames, 100)),
        trans=np.zeros((frames, 3)), betas=np.zeros(300), mocap_frame_rate=fps, gender="neutral", model="smplx2020",
    )  # fmt: skip
    (folder / "wave16k").mkdir(exist_ok=True)
    write_wav(make_audio(seconds).waveform, folder / "wave16k" / f"{name}.wav")
    if arkit:
        times = np.arange(round(seconds * 60)) / 60
        rows = [{"weights": [min(1.0, t / 4), 0.0, *[0.25] * 20], "time": t, "rotation": []} for t in times.tolist()]
        others = ["browInnerUp", *(f"mouth{x}" for x in ("Left", "Right", "Close", "Pucker", "Funnel"))]
        others += [f"{x}{s}" for x in ("eyeBlink", "mouthSmile", "mouthFrown", "cheekSquint", "noseSneer", "eyeWide",
                                       "eyeSquint") for s in ("Left", "Right")]  # fmt: skip
        names = ["jawOpen", "notAnExpression", *others][:22]
        (folder / "json").mkdir(exist_ok=True)
        (folder / "json" / f"{name}.json").write_text(json.dumps({"names": names, "frames": rows}))
    if grid:
        (folder / "textgrid").mkdir(exist_ok=True)
        (folder / "textgrid" / f"{name}.TextGrid").write_text(textgrid(seconds))
    return folder


def textgrid(seconds: float, short: bool = False) -> str:
    """Two tiers, with an empty interval, a quoted quote and a stress mark."""
    tiers = {
        "words": [(0.0, 0.5, ""), (0.5, 1.0, "hello"), (1.0, 1.5, 'say ""hi""'), (1.5, seconds, "")],
        "phones": [(0.0, 0.5, "sil"), (0.5, 0.7, "HH"), (0.7, 1.0, "OW1"), (1.0, seconds, "spn")],
    }
    if short:
        lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "0", f"{seconds}", "<exists>", "2"]
        for name, rows in tiers.items():
            lines += ['"IntervalTier"', f'"{name}"', "0", f"{seconds}", f"{len(rows)}"]
            lines += [str(v) for a, b, text in rows for v in (a, b, f'"{text}"')]
        return "\n".join(lines) + "\n"
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0 ", f"xmax = {seconds} "]
    lines += ["tiers? <exists> ", "size = 2 ", "item []: "]
    for i, (name, rows) in enumerate(tiers.items(), 1):
        lines += [f"    item [{i}]:", '        class = "IntervalTier" ', f'        name = "{name}" ']
        lines += ["        xmin = 0 ", f"        xmax = {seconds} ", f"        intervals: size = {len(rows)} "]
        for k, (a, b, text) in enumerate(rows, 1):
            lines += [f"        intervals [{k}]:", f"            xmin = {a} ", f"            xmax = {b} "]
            lines += [f'            text = "{text}" ']
    return "\n".join(lines) + "\n"
