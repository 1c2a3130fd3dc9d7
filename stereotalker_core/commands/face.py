"""`face`: speech -> emotional performances of a face (ProbTalk3D), as numbers and as a video of a mesh."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..audio.encoder import SpeechEncoder
from ..audio.load import load_audio
from ..body.model import HalfBody
from ..camera.view import View
from ..checkpoint import NANO, load, write_atomically
from ..face.arkit_map import FaceMap, face_to_motion
from ..face.flame import Flame
from ..face.layout import Face, FaceStyle, to_403
from ..face.mesh_preview import flame_parameters, mesh_frames
from ..face.model import ProbTalk3D
from ..face.sampling import FaceModels, FaceOptions, sample_face
from ..motion.files.io import save_live_link_csv, save_npz
from ..motion.files.preview import preview_frames
from ..video.writing.provenance import container_tags
from ..video.writing.writer import VideoWriter, check_output
from .talking import flags
from .talking.outputs import check_not_input
from .talking.progress import ProgressLine

MOTIONS = {".npz": save_npz, ".csv": save_live_link_csv}
SUFFIXES = (".safetensors", ".npy", *MOTIONS)


def add_parsers(commands: argparse._SubParsersAction) -> None:
    """Declare `face`."""
    parser = commands.add_parser("face", help="speech -> emotional face (ProbTalk3D)", description=__doc__)
    parser.add_argument("--audio", required=True, metavar="A", help="wav, flac, mp3, ogg, m4a, or a video with sound")
    parser.add_argument(
        "--out", required=True, metavar="F",
        help=".safetensors (all performances), .npy ((N, T, 403) as 3DMEAD), .npz or .csv (ARKit, one performance)",
    )  # fmt: skip
    flags.word(parser, "--identity", FaceStyle, "identity", "I")
    flags.word(parser, "--emotion", FaceStyle, "emotion", "E")
    flags.word(parser, "--intensity", FaceStyle, "intensity", "X", default="medium")
    for name, metavar in (("temperature", "X"), ("k", "N"), ("samples", "N")):
        flags.number(parser, f"--{name}", FaceOptions, name, metavar)
    parser.add_argument("--seed", type=int, default=FaceOptions.seed, metavar="N", help="same seed, same performances")
    parser.add_argument("--model", metavar="M", help="converted released weights instead of the embedded model")
    parser.add_argument("--map", metavar="M", help="fitted map between ARKit and FLAME (face.arkit_map makes one)")
    parser.add_argument("--preview", metavar="V.mp4", help="video of all performances side by side, with the speech")
    parser.add_argument("--flame", metavar="F", help="preview: your converted FLAME model (face.flame); else our body")
    flags.number(parser, "--yaw", View, "yaw", "D", help="preview: degrees")
    parser.add_argument("--size", type=int, default=320, metavar="N", help="preview: pixels of a side")
    parser.add_argument("--quiet", action="store_true", help="no progress line")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check everything, sample the faces, write the numbers, draw the preview."""
    out = check_output(args.out, SUFFIXES)
    if args.preview:
        check_output(args.preview)
    check_not_input(args, inputs=("model", "map", "flame"))
    if not 16 <= args.size <= 2048:
        raise ValueError(f"--size must be 16..2048 pixels, got {args.size}")
    if out.suffix.lower() in MOTIONS and args.samples > 1:
        raise ValueError(f"{out} holds one performance; write .safetensors or .npy, or ask for one sample")
    style = FaceStyle(args.identity, args.emotion, args.intensity)
    options = FaceOptions(args.temperature, args.k, args.seed, args.samples)
    mapping = FaceMap.load(args.map) if args.map else None
    flame = Flame.load(args.flame) if args.flame else None
    audio = load_audio(args.audio)
    model = load(ProbTalk3D, args.model or NANO / "probtalk3d.safetensors")
    encoder = load(SpeechEncoder, NANO / "audio_encoder.safetensors")
    progress = ProgressLine(enabled=not args.quiet)
    face = sample_face(
        FaceModels(model, encoder), audio, style, options, lambda done, total: progress("face", done, total)
    )
    save_face(face, out, mapping)
    print(out)
    if args.preview:
        tags = container_tags(args.model or "nano", args.seed)
        with VideoWriter(args.preview, (args.size, args.size * args.samples), face.fps, audio, tags) as writer:
            for frames in preview(face, flame, mapping, args.size, args.yaw):
                writer.write(frames)
                progress("preview", writer.frames, len(face))
        print(args.preview)
    return 0


def save_face(face: Face, out: Path, mapping: FaceMap | None = None) -> None:
    """Write a face to a file, in the format that the suffix of its name says.

    face: the performances; out: the file; mapping: between the parameters of FLAME and those of ARKit, needed to write
        a FLAME face in an ARKit format (ValueError without it)."""
    suffix = out.suffix.lower()
    if suffix == ".safetensors":
        face.save(out)
    elif suffix == ".npy":
        values = to_403(face.parameters).double().numpy()

        def write(name: str) -> None:
            with open(name, "wb") as file:
                np.save(file, values)

        write_atomically(out, write)
    else:
        MOTIONS[suffix](face_to_motion(face, 0, mapping), out)


def preview(face: Face, flame: Flame | None, mapping: FaceMap | None, size: int, yaw: float) -> Iterator[Tensor]:
    """Yield the frames (t, 3, size, N * size) of all N performances side by side, in chunks.

    face: the performances.
    flame: the FLAME mesh to draw; None draws our body.
    mapping: between FLAME's parameters and ARKit's.
    size: side of one picture, px.
    yaw: camera yaw, degrees."""
    samples = range(len(face.parameters))
    if flame is not None:
        return mesh_frames(flame, torch.stack([flame_parameters(face, i, mapping) for i in samples]), size, yaw)
    body = HalfBody()
    streams = [preview_frames(face_to_motion(face, i, mapping), body, yaw, size) for i in samples]
    return (torch.cat(chunks, -1) for chunks in zip(*streams, strict=True))
