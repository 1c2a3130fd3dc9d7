"""Inputs of the parity test from formulas: tools/perception/record_perception.py and the test make them alike."""

import numpy as np

COUNT = 2  # inputs of each network
RANGES = {
    "face_detection_short_range": (-1.0, 1.0),
    "face_detection_full_range_sparse": (-1.0, 1.0),
    "face_landmarks_detector": (0.0, 1.0),
    "face_blendshapes": (0.0, 256.0),
    "pose_detection": (-1.0, 1.0),
    "pose_landmark_full": (0.0, 1.0),
    "palm_detection_full": (0.0, 1.0),
    "hand_landmark_full": (0.0, 1.0),
    "hand_recrop": (0.0, 1.0),
    "selfie_segmentation": (0.0, 1.0),
}


def network_input(name: str, number: int, shape: tuple[int, ...]) -> np.ndarray:
    """float32 of the network's own shape, channels last: a drawn head before waves, or a ring of points."""
    low, high = RANGES[name]
    value = points(number, shape[1]) if len(shape) == 3 else head(number, shape[1])
    return (value * (high - low) + low).astype(np.float32).reshape(shape)


def head(number: int, size: int) -> np.ndarray:
    """(size, size, 3) in [0, 1]: soft ellipses for face, eyes, mouth and shoulders; the second is turned and darker."""
    turn = 0.35 * number
    v, u = np.meshgrid(*[(np.arange(size) + 0.5) / size * 2 - 1] * 2, indexing="ij")
    x, y = np.cos(turn) * u + np.sin(turn) * v, np.cos(turn) * v - np.sin(turn) * u
    picture = np.stack([0.5 + 0.2 * np.sin(3 * u + 5 * v + c + number) for c in range(3)], -1)
    parts = [  # centre, radii, colour
        ((0, 1.1), (0.75, 0.6), (0.25, 0.3, 0.5)),
        ((0, -0.05), (0.45, 0.6), (0.85, 0.65, 0.55)),
        ((0, -0.55), (0.47, 0.22), (0.2, 0.14, 0.1)),
        ((-0.18, -0.12), (0.1, 0.05), (0.95, 0.95, 0.95)),
        ((0.18, -0.12), (0.1, 0.05), (0.95, 0.95, 0.95)),
        ((-0.18, -0.12), (0.04, 0.045), (0.15, 0.1, 0.1)),
        ((0.18, -0.12), (0.04, 0.045), (0.15, 0.1, 0.1)),
        ((0, 0.08), (0.06, 0.1), (0.75, 0.52, 0.45)),
        ((0, 0.3), (0.17, 0.05), (0.7, 0.3, 0.3)),
    ]
    for (cx, cy), (rx, ry), colour in parts:
        away = ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2
        cover = (1 / (1 + np.exp(np.clip(12 * (away - 1), -60, 60))))[..., None]
        picture = picture * (1 - cover) + np.array(colour) * (1 - 0.3 * number) * cover
    return np.clip(picture, 0, 1)


def points(number: int, count: int) -> np.ndarray:
    """(count, 2) in [0, 1]: a spiral with ripples."""
    k = np.arange(count) / count
    angle = 40 * k + number
    radius = 0.15 + 0.3 * k + 0.02 * np.sin(7 * angle)
    return 0.5 + radius[:, None] * np.stack([np.cos(angle), 1.2 * np.sin(angle)], -1)
