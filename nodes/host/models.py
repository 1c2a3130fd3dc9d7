"""Model files and folders offered by loaders: the embedded ones, models/stereotalker, and ComfyUI's own places.

An entry is a path relative to its place, with "/" after a folder; places other than models/stereotalker are named in a
mark: "wav2vec2-large/ [audio_encoders]". Outside ComfyUI the places are in ./models."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from .folders import EMBEDDED, FOLDER, INSIDE

WEIGHTS = ("*.safetensors", "*.ckpt", "*.pth", "*.pt", "*.bin")
_DEPTH = 2  # levels of folders: Hugging Face names have two


@dataclass(frozen=True)
class Place:
    """The place where a loader looks: a folder of models/, patterns of files, and names that mark a folder as a model.
    """

    kind: str = FOLDER
    files: tuple[str, ...] = ("*.safetensors",)
    folders: tuple[str, ...] = ()


FILES = Place()
SETS = Place(files=(), folders=("unet.safetensors", *(f"denoising_unet{p[1:]}" for p in WEIGHTS)))
VAES = (Place("vae", WEIGHTS), Place("vae_approx", tuple(f"taesd_decoder{p[1:]}" for p in WEIGHTS)))
AUDIO = (FILES, Place("audio_encoders", WEIGHTS, ("config.json",)))
LANGUAGE = (FILES, Place(files=("*.gguf",)), Place("LLM", ("*.gguf",), ("config.json",)))


def model_choices(*places: Place) -> list[str]:
    """Return the options of a loader's combo: the embedded file, then the contents of the places (default:
    models/stereotalker)."""
    found: list[str] = []
    for place in places or (FILES,):
        found += [name for name in _entries(place) if name not in found]
    return [EMBEDDED, *found]


def resolve_model(name: str, embedded: Path) -> Path:
    """Return the file or folder of an entry of a combo; FileNotFoundError names the folder where it is expected.

    name: the entry; embedded: the path of the embedded file."""
    if name == EMBEDDED:
        return embedded
    plain, _, mark = name.removesuffix("]").partition(" [") if name.endswith("]") else (name, "", "")
    kind = mark or FOLDER
    if not any(part == ".." for part in Path(plain).parts) and not Path(plain).is_absolute():
        for root in roots(kind):
            path = root / plain
            if path.is_dir() if plain.endswith("/") else path.is_file():
                return path
    what = "folder" if plain.endswith("/") else "file"
    raise FileNotFoundError(f"no model {what} {plain!r}; put it into ComfyUI/models/{kind}")


def roots(kind: str) -> list[Path]:
    """Return the folders of one kind of model, including those of extra_model_paths.yaml; they need not exist."""
    if not INSIDE:
        return [Path("models") / kind]
    import folder_paths

    known = folder_paths.folder_names_and_paths
    named = [Path(path) for path in folder_paths.get_folder_paths(kind)] if kind in known else []
    usual = Path(folder_paths.models_dir) / kind
    return named if usual in named else [*named, usual]


def _entries(place: Place) -> list[str]:
    mark = "" if place.kind == FOLDER else f" [{place.kind}]"
    found: set[str] = set()
    for root in roots(place.kind):
        for pattern in place.files:
            found |= {path.relative_to(root).as_posix() for path in _below(root, pattern) if _stands_alone(path)}
        for name in place.folders:
            found |= {f"{path.parent.relative_to(root).as_posix()}/" for path in _below(root, name) if path.is_file()}
    return [f"{name}{mark}" for name in sorted(found - {"./"}, key=lambda name: (not name.endswith("/"), name))]


def _stands_alone(path: Path) -> bool:
    """Tell whether a file is a complete model; beside a config.json it is only part of one."""
    return path.is_file() and not (path.parent / "config.json").is_file()


def _below(root: Path, pattern: str) -> list[Path]:
    return [path for depth in range(_DEPTH + 1) for path in root.glob("*/" * depth + pattern)]
