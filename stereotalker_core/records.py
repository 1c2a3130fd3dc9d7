"""The records that travel between stages and through ComfyUI sockets: frozen dataclasses of tensors.

Axis letters: see shapes.py. Images are (C, H, W) or (T, C, H, W) in [-1, 1]; masks and visibilities are in [0, 1]."""

import json
import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from .checkpoint import load_tensors, save_tensors
from .geometry.rotations import axis_angle_to_matrix
from .geometry.skeleton import JOINT_INDEX, N_JOINTS, SPINE_JOINTS
from .shapes import FPS, N_EXPRESSIONS, SAMPLE_RATE, dims, frame_count

R = TypeVar("R", bound="Record")


@dataclass(frozen=True)
class Record:
    """The base class of the records: moves between devices, and one safetensors file with JSON metadata."""

    def _tensors(self) -> dict[str, Tensor]:
        return {f.name: v for f in fields(self) if isinstance(v := getattr(self, f.name), Tensor)}

    def to(self: R, device: str | torch.device) -> R:
        """Return the same record on another device."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return type(self)(**(values | {k: v.to(device) for k, v in self._tensors().items()}))

    def save(self, path: str | Path) -> None:
        """Write tensors and plain values to one safetensors file."""
        tensors = self._tensors()
        plain = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in tensors}
        save_tensors(tensors, {"record": type(self).__name__, "values": plain}, path)

    @classmethod
    def load(cls: type[R], path: str | Path) -> R:
        """Read a file that `save` wrote; ValueError for another record's file."""
        tensors, meta = load_tensors(path)
        if meta.get("record") != cls.__name__:
            raise ValueError(f"{path} holds {meta.get('record', 'no record')!r}, not {cls.__name__!r}")
        plain: dict[str, Any] = json.loads(meta["values"])
        return cls(**tensors, **{k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()})


@dataclass(frozen=True)
class Audio(Record):
    """The recorded speech: waveform (S,) mono at 16 kHz in [-1, 1], and the untouched original (C, S0) with its rate in
    Hz, for muxing."""

    waveform: Tensor
    original: Tensor
    original_rate: int

    @property
    def seconds(self) -> float:
        return self.waveform.shape[0] / SAMPLE_RATE

    def frame_count(self, fps: float = FPS) -> int:
        return frame_count(self.seconds, fps)


@dataclass(frozen=True)
class Motion(Record):
    """The motion of T frames: rotations (T, 49, 3) axis-angle of MOTION_JOINTS, expression (T, 52) in [0, 1], fps."""

    rotations: Tensor
    expression: Tensor
    fps: float = FPS

    def __post_init__(self) -> None:
        dims(self.expression, f"T {N_EXPRESSIONS}", **dims(self.rotations, f"T {N_JOINTS} 3"))

    def __len__(self) -> int:
        return len(self.rotations)

    def __getitem__(self, frames: slice | list[int] | Tensor) -> "Motion":
        return Motion(self.rotations[frames], self.expression[frames], self.fps)


@dataclass(frozen=True)
class Identity(Record):
    """The person, fitted once from a portrait.

    shape: (K,) coefficients of the body's shape.
    shell: (V,) metres along the normals, or offsets (V, 3) in metres in the rest pose: hair, clothes, registered face.
    rotations, expression: (49, 3) and (52,) of the portrait.
    world_to_camera, intrinsics: (4, 4) and (3, 3), the portrait's camera, in px of `portrait`.
    portrait: (3, H, W) the picture.
    mask: (1, H, W) of the person.
    background: (3, H, W) with the person removed.
    atlas: (3, A, A) texture filled everywhere.
    visibility: (1, A, A) of the texels that were really seen.
    quality: how well the body fits, 0..1.
    light: (4,) of the portrait, see `body.texture.light.shade`: the atlas is free of its shading, guides apply it;
        None: the atlas is as photographed.
    atlas_layout: 1 is the mesh's own (files of version 0.1), 2 that of tools/body/pack_atlas.py.
    rest_expression: (52,) the portrait's own expression without its open mouth, to which a motion is added.
    expression_gain: (52,) factors on the motion's expression, so that a full blink closes also a wide eye.
    rest_rotations: (49, 3) the posture of the head. Where rest_expression, expression_gain and rest_rotations are None,
        a motion is performed as it is, not added to a rest state.
    warnings: what the fit had to guess, as text.
    baked: 0..1, strength with which networks drew unseen parts into `atlas` (video.rendering.bake).
    unbaked: (3, A, A) the atlas before that, None where nothing was drawn.
    shadowed: whether arms, hands and trunk throw soft shadows on each other (body.shadows), as in a photograph.
    own_view: (4, h, w), the upper left part of an atlas with trunk, arms and hands: what the portrait shows there and
        how far it does, 0..1, with its shadows and what lies beside an arm. Drawn in the portrait's own pose and view
        alone (video.guides.own_view); None: `atlas` is drawn in every pose."""

    shape: Tensor
    shell: Tensor
    rotations: Tensor
    expression: Tensor
    world_to_camera: Tensor
    intrinsics: Tensor
    portrait: Tensor
    mask: Tensor
    background: Tensor
    atlas: Tensor
    visibility: Tensor
    quality: float = 1.0  # 0..1, from the residual of the fit
    light: Tensor | None = None
    atlas_layout: int = 1
    rest_expression: Tensor | None = None
    expression_gain: Tensor | None = None
    rest_rotations: Tensor | None = None
    warnings: tuple[str, ...] = ()  # text for the user: what the fit could only guess
    baked: float = 0.0
    unbaked: Tensor | None = None
    shadowed: bool = False
    own_view: Tensor | None = None

    @property
    def trunk_yaw(self) -> float:
        """Return the yaw of the trunk in the photograph, in degrees: the camera yaw from which its front is seen.

        Positive where the camera must move towards the subject's right side. 0 for identities without a rest posture.
        """
        if self.rest_rotations is None:
            return 0.0
        front = torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64)
        for name in reversed(SPINE_JOINTS):  # parents turn what their children have turned
            front = axis_angle_to_matrix(self.rest_rotations[JOINT_INDEX[name]].double().cpu()) @ front
        return math.degrees(math.atan2(-float(front[0]), -float(front[1])))

    def before_bake(self) -> "Identity":
        """Return the same person with the texture from the portrait alone, without what a bake added."""
        return self if self.unbaked is None else replace(self, atlas=self.unbaked, unbaked=None, baked=0.0)

    def literal(self) -> "Identity":
        """Return the same person without the photograph's expression and posture, so that a motion is performed as it
        is."""
        return replace(self, rest_expression=None, expression_gain=None, rest_rotations=None)

    def performed(self, motion: "Motion") -> "Motion":
        """Return the motion as this person performs it: added to the portrait's own expression and posture."""
        if self.rest_expression is None or self.expression_gain is None or self.rest_rotations is None:
            return motion
        rest, gain = self.rest_expression, self.expression_gain
        expression = rest + motion.expression * gain * (1 - rest)
        return Motion(motion.rotations + self.rest_rotations, expression, motion.fps)


@dataclass(frozen=True)
class Cameras(Record):
    """The cameras, one per frame: world_to_camera (T, 4, 4), intrinsics (3, 3) in px of size (H, W), yaw (T,) degrees.

    yaw 0 is the photograph's own view, whatever a path counts from."""

    world_to_camera: Tensor
    intrinsics: Tensor
    yaw: Tensor
    size: tuple[int, int] = (256, 256)

    def __len__(self) -> int:
        return len(self.world_to_camera)

    def __getitem__(self, frames: slice | list[int] | Tensor) -> "Cameras":
        return Cameras(self.world_to_camera[frames], self.intrinsics, self.yaw[frames], self.size)


@dataclass(frozen=True)
class Guides(Record):
    """The guide maps of the posed body for each camera, all (T, C, H, W).

    normal: (3) camera space in [-1, 1], zero outside.
    part: (1) float label, 0 outside, 1 + index of the part.
    depth: (1) metres, zero outside.
    lift: (3) the portrait's pixels projected onto the body, in [-1, 1], holes and background filled.
    visibility: (1) of those pixels in [0, 1].
    yaw: (T,) degrees, from which the camera sees the person."""

    normal: Tensor
    part: Tensor
    depth: Tensor
    lift: Tensor
    visibility: Tensor
    yaw: Tensor

    def __len__(self) -> int:
        return len(self.normal)

    def __getitem__(self, frames: slice) -> "Guides":
        return Guides(*(getattr(self, f.name)[frames] for f in fields(self)))


@dataclass(frozen=True)
class Regions(Record):
    """The soft masks (T, 4, H, W) in the order of shapes.REGIONS (background, body, face, hands); they sum to one."""

    masks: Tensor

    @property
    def person(self) -> Tensor:
        """Return the person's alpha (T, 1, H, W)."""
        return 1 - self.masks[:, :1]


@dataclass(frozen=True)
class SpeechFeatures(Record):
    """The input of stage 1 from speech: features (T, D) at 25 Hz, phones (T, P) log-probabilities, length in seconds.
    """

    features: Tensor
    phones: Tensor
    seconds: float
    transcript: str = ""
