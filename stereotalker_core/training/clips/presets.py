"""Presets: the stages and schedules of a training, as JSON files in this folder; `Stage` explains the entries."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from ...config import from_json
from ..distributed import Scale
from ..loop import Schedule
from ..video.stage_two import PARTS

MODELS = ("renderer", "experts", "motion", "prior", "mask")
FOLDER = Path(__file__).parent / "presets"


@dataclass(frozen=True)
class Stage:
    """The description of one stage: what is trained, on what, for how long.

    model: what is trained, one of MODELS.
    schedule, scale: steps and rates of the training loop, and how it is spread over devices.
    network: "nano", or "sd15" (weights from a folder that `convert` wrote).
    parts, frozen: for renderer and experts: the parts to train (names of stage_two.PARTS); parameters whose name
        contains an entry of `frozen` stay as they are.
    batch: size of a micro-batch: identities (renderer, experts), pictures (mask) or sequences (motion, prior).
    frames: number of frames of each identity in a micro-batch.
    in_a_row: take consecutive frames, `stride` apart, and run the motion modules; False takes random frames.
    size: height of the pictures, px.
    gamma, drop, offset, flicker, weighted, expert_drop: see `denoising.LossOptions`.
    experts: kinds of experts that are trained, "view" and "mask"; another kind is used unchanged if a file of it is
        given.
    rank: hidden units of LoRA adapters and of new experts.
    note: a text that says where the numbers come from."""

    name: str
    model: str
    schedule: Schedule
    scale: Scale = field(default_factory=Scale)
    network: str = "nano"
    parts: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    batch: int = 4
    frames: int = 1
    in_a_row: bool = False
    stride: int = 1
    size: int = 256
    gamma: float = 5.0
    drop: float = 0.0
    offset: float = 0.0
    flicker: float = 0.0
    weighted: bool = True
    experts: tuple[str, ...] = ("view", "mask")
    expert_drop: float = 0.0
    rank: int = 16
    note: str = ""

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise ValueError(f"stage {self.name}: model {self.model!r} is not one of {', '.join(MODELS)}")
        if self.network not in ("nano", "sd15"):
            raise ValueError(f"stage {self.name}: network {self.network!r} must be 'nano' or 'sd15'")
        if unknown := [p for p in self.parts if p not in PARTS]:
            raise ValueError(f"stage {self.name}: part {unknown[0]!r} is not one of {', '.join(PARTS)}")
        if self.model in ("renderer", "experts") and not self.parts:
            raise ValueError(f"stage {self.name}: say which parts learn")
        if not self.experts or set(self.experts) - {"view", "mask"}:
            raise ValueError(f"stage {self.name}: experts must be of view, mask, got {self.experts}")
        for name in ("batch", "frames", "stride", "rank"):
            if getattr(self, name) < 1:
                raise ValueError(f"stage {self.name}: {name} must be at least 1, got {getattr(self, name)}")
        if self.in_a_row and self.frames < 2:
            raise ValueError(f"stage {self.name}: a clip needs at least 2 frames in a row")


@dataclass(frozen=True)
class Preset:
    """The stages of a training, in order, with a name and a text about it."""

    name: str
    about: str
    stages: tuple[Stage, ...]

    def stage(self, model: str, name: str | None = None) -> Stage:
        """Return the stage for `model`, chosen by its name where the preset has several for that model.

        ValueError lists the stages where none fits, or several do."""
        fitting = [s for s in self.stages if s.model == model and name in (None, s.name)]
        if len(fitting) != 1:
            listed = ", ".join(f"{s.model} {s.name}" for s in self.stages)
            count = "several stages" if fitting else "no stage"
            wanted = f"{model} {name}" if name else model
            raise ValueError(f"preset {self.name} has {count} for {wanted}; choose one with --stage of: {listed}")
        return fitting[0]


def names() -> list[str]:
    """Return the names of the presets that ship with the package."""
    return sorted(p.stem for p in FOLDER.glob("*.json"))


def load_preset(name: str | Path) -> Preset:
    """Load a preset by name, or from a .json file. ValueError for an unknown name, setting or value."""
    path = Path(name)
    if path.suffix != ".json":
        path = FOLDER / f"{name}.json"
        if not path.is_file():
            raise ValueError(f"preset {str(name)!r} is unknown; use one of {', '.join(names())}, or a .json file")
    return from_json(Preset, path.read_text(encoding="utf-8"))


def adjusted(stage: Stage, **changes: object) -> Stage:
    """Return the stage with changed settings, also those of `Schedule` and `Scale`; None leaves one unchanged."""
    given = {k: v for k, v in changes.items() if v is not None}
    for part in ("schedule", "scale"):
        own = getattr(stage, part)
        mine = {k: given.pop(k) for k in list(given) if hasattr(own, k)}
        stage = replace(stage, **{part: replace(own, **mine)})
    return replace(stage, **given)
