"""The vocabulary of ProbTalk3D: the 53 numbers of a frame, their scaling, and the style vector (section 3).

A frame is 50 FLAME expression coefficients, then the jaw's axis-angle (3). In files of 3DMEAD a frame has 403 numbers:
300 of shape, 100 of expression, 3 of the jaw."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ..options import check_limits, choice
from ..records import Record
from ..shapes import FPS, dims

N_EXPRESSION = 50
N_PARAMETERS = N_EXPRESSION + 3
IDENTITIES = (
    "M003", "M005", "M007", "M009", "M011", "M012", "M013", "M019", "M022", "M023", "M024", "M025", "M026", "M027",
    "M028", "M029", "M030", "M031", "W009", "W011", "W014", "W015", "W016", "W018", "W019", "W021", "W023", "W024",
    "W025", "W026", "W028", "W029",
)  # fmt: skip
EMOTIONS = ("neutral", "happy", "sad", "surprised", "fear", "disgusted", "angry", "contempt")
INTENSITIES = ("low", "medium", "high")
STYLE_WIDTH = len(IDENTITIES) + len(EMOTIONS) + len(INTENSITIES)
BASES = ("arkit", "flame")
_RANGES = (-3.0, 6.0), (-0.1, 0.6)  # lowest value and width of the expression's and the jaw's range


@dataclass(frozen=True)
class FaceStyle:
    """The style of a performance: who speaks, in which emotion, and its intensity; neutral exists at low intensity
    only."""

    identity: str = choice(IDENTITIES[0], IDENTITIES, "Whose way of moving the face.")
    emotion: str = choice("neutral", EMOTIONS, "Emotion of the face.")
    intensity: str = choice("low", INTENSITIES, "Strength of the emotion; neutral has only one.")

    def __post_init__(self) -> None:
        check_limits(self)

    @classmethod
    def of_clip(cls, name: str) -> "FaceStyle":
        """Parse a clip's name such as "M003_012_5_1" (identity, sentence, emotion, intensity); ValueError for another
        form."""
        parts = name.split("_")
        if len(parts) < 4 or parts[2] not in tuple("01234567") or parts[3] not in tuple("012"):
            raise ValueError(f"{name!r} is not like M003_012_5_1: identity, sentence, emotion 0-7, intensity 0-2")
        return cls(parts[0], EMOTIONS[int(parts[2])], INTENSITIES[int(parts[3])])

    def vector(self) -> Tensor:
        """Return (43,): one-hot identity, emotion and intensity. Neutral counts as low, as in the data."""
        out = torch.zeros(STYLE_WIDTH)
        level = 0 if self.emotion == "neutral" else INTENSITIES.index(self.intensity)
        out[IDENTITIES.index(self.identity)] = 1
        out[len(IDENTITIES) + EMOTIONS.index(self.emotion)] = 1
        out[len(IDENTITIES) + len(EMOTIONS) + level] = 1
        return out


def normalise(parameters: Tensor) -> Tensor:
    """Map FLAME numbers (..., 53) -> the networks' range of about [0, 1]; nothing is clipped."""
    (low, width), (jaw_low, jaw_width) = _RANGES
    return torch.cat(
        [(parameters[..., :N_EXPRESSION] - low) / width, (parameters[..., N_EXPRESSION:] - jaw_low) / jaw_width], -1
    )


def denormalise(parameters: Tensor) -> Tensor:
    """Map the networks' range back to FLAME numbers (..., 53), the inverse of `normalise`."""
    (low, width), (jaw_low, jaw_width) = _RANGES
    return torch.cat(
        [parameters[..., :N_EXPRESSION] * width + low, parameters[..., N_EXPRESSION:] * jaw_width + jaw_low], -1
    )


def from_403(parameters: Tensor) -> Tensor:
    """Map frames of a 3DMEAD file (..., 403), shape, expression, jaw -> (..., 53). ValueError for another width."""
    if parameters.shape[-1] != 403:
        raise ValueError(
            f"a 3DMEAD frame has 403 numbers (shape 300, expression 100, jaw 3), not {parameters.shape[-1]}"
        )
    return torch.cat([parameters[..., 300 : 300 + N_EXPRESSION], parameters[..., 400:]], -1)


def to_403(parameters: Tensor) -> Tensor:
    """Map (..., 53) -> (..., 403) with zero shape and zeros for the expression coefficients that are not modelled."""
    lead = parameters.shape[:-1]
    unused = parameters.new_zeros(*lead, 100 - N_EXPRESSION)
    expression, jaw = parameters[..., :N_EXPRESSION], parameters[..., N_EXPRESSION:]
    return torch.cat([parameters.new_zeros(*lead, 300), expression, unused, jaw], -1)


@dataclass(frozen=True)
class Face(Record):
    """The N performances of one recording: parameters (N, T, 53), expression then jaw.

    basis: "arkit": the first 50 are ARKit coefficients in the layout of `arkit_map`; "flame": FLAME's own basis.
    fps: frames per second."""

    parameters: Tensor
    basis: str = "arkit"
    fps: float = FPS

    def __post_init__(self) -> None:
        dims(self.parameters, f"N T {N_PARAMETERS}")
        if self.basis not in BASES:
            raise ValueError(f"basis {self.basis!r} is not one of {', '.join(BASES)}")

    def __len__(self) -> int:
        return self.parameters.shape[1]

    def sample(self, index: int) -> Tensor:
        """Return one performance (T, 53); ValueError where there are fewer."""
        if not 0 <= index < len(self.parameters):
            raise ValueError(f"sample {index} of {len(self.parameters)}; the first is 0; draw more samples")
        return self.parameters[index]
