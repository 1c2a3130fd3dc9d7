"""A sampled face on a body in motion: lips, brows and cheeks of the one, gaze, head and arms of the other."""

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
    """The motion with the face's expression, frame by frame; strength 0 leaves it, 1 replaces it.

    Gaze stays the motion's, and so do the blinks where keep_blinks. Both must come from one recording: ValueError
    where they differ by more than two frames or in their rate (the lips would not fit the sound).
    """
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
