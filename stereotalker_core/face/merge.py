"""The combination of a sampled face with a body's motion: lips, brows and cheeks of the face; gaze, head and arms of
the motion."""

import torch

from ..motion.arkit import ARKIT, BLINK
from ..records import Motion
from .arkit_map import FaceMap, face_to_motion
from .layout import Face

_GAZE = tuple(i for i, name in enumerate(ARKIT) if name.startswith("eyeLook"))
TOLERANCE = 2  # frames by which the two may differ at the end


def merge_face(
    motion: Motion,
    face: Face,
    sample: int = 0,
    strength: float = 1.0,
    keep_blinks: bool = True,
    mapping: FaceMap | None = None,
) -> Motion:
    """Return the motion with the expression of a face, blended frame by frame.

    motion: T frames.
    face: performances of the same recording.
    sample: which of them.
    strength: 0 keeps the motion's expression, 1 replaces it.
    keep_blinks: keep the motion's blinks; its gaze always stays.
    mapping: between FLAME and ARKit, for a face in FLAME's basis.

    ValueError where they differ by more than two frames or in frame rate, because the lips would not fit the sound."""
    if not 0 <= strength <= 1:
        raise ValueError(f"strength must be 0..1, got {strength}")
    if motion.fps != face.fps:
        raise ValueError(f"the motion has {motion.fps} fps, the face {face.fps}; retime one of them")
    if abs(len(motion) - len(face)) > TOLERANCE:
        raise ValueError(
            f"the motion has {len(motion)} frames, the face {len(face)}: sample both from the same recording"
        )
    theirs = face_to_motion(face, sample, mapping).expression.to(motion.expression)
    last = torch.arange(len(motion)).clamp_max(len(face) - 1)
    expression = torch.lerp(motion.expression, theirs[last], strength)
    kept = [*_GAZE, *(BLINK if keep_blinks else ())]
    expression[:, kept] = motion.expression[:, kept]
    return Motion(motion.rotations, expression, motion.fps)
