"""File locations: models, and the input, output and temporary folders of ComfyUI; outside, the current folder."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

INSIDE = all(importlib.util.find_spec(name) is not None for name in ("comfy", "folder_paths"))
EMBEDDED = "nano (embedded)"
FOLDER = "stereotalker"
EXTENSIONS = {".safetensors"}
_MARK = " [output]"  # ComfyUI's own mark of a file that lies in the output folder


def register_model_folder() -> None:
    """Register models/stereotalker with ComfyUI (extra_model_paths.yaml may add more places); outside, do nothing."""
    if not INSIDE:
        return
    import folder_paths

    folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir) / FOLDER))
    # a new key is registered with the empty set, which means "every file": name ours
    folder_paths.folder_names_and_paths[FOLDER][1].update(EXTENSIONS)


def _folder(kind: str) -> Path:
    """Return ComfyUI's folder of this kind, "input", "output" or "temp"; outside ComfyUI the folder of that name
    here."""
    if not INSIDE:
        return Path(kind)
    import folder_paths

    return Path(folder_paths.get_directory_by_type(kind))


def file_choices(suffixes: Sequence[str]) -> list[str]:
    """Return the options of a combo of saved records: files of the input folder, then those of output/stereotalker with
    a mark.

    suffixes: endings of the files' names, such as ".safetensors"."""
    places = ((_folder("input"), "*", ""), (_folder("output"), f"{FOLDER}/**/*", _MARK))
    return [
        f"{path.relative_to(root).as_posix()}{mark}"
        for root, pattern, mark in places
        for path in sorted(root.glob(pattern))
        if path.suffix.lower() in suffixes and path.is_file()
    ]


def resolve_file(name: str) -> Path:
    """Return the file of an entry of `file_choices`; ValueError for a path outside its folder, or a missing file."""
    kind, plain = ("output", name.removesuffix(_MARK)) if name.endswith(_MARK) else ("input", name)
    root = _folder(kind).resolve()
    path = (root / plain).resolve()
    if not path.is_relative_to(root):
        raise ValueError(f"{name!r} lies outside of the {kind} folder")
    if not path.is_file():
        raise ValueError(f"no file {plain!r} in ComfyUI's {kind} folder; save one there first")
    return path


def problem_with_file(name: str) -> bool | str:
    """Return True for a file that `resolve_file` finds, else the fault as text, for a node's VALIDATE_INPUTS."""
    try:
        resolve_file(name)
    except ValueError as error:
        return str(error)
    return True


def save_path(prefix: str, suffix: str) -> tuple[Path, dict[str, str]]:
    """Return the path of a new numbered file in the output folder, and {"filename", "subfolder", "type"} for ComfyUI's
    history.

    prefix: beginning of the file's name, with a folder below the output folder if wanted; ValueError where it names no
        file, or one outside the output folder.
    suffix: end of the name, such as ".safetensors"."""
    root = _folder("output").resolve()
    folder = (root / prefix).resolve().parent
    stem = Path(prefix).name
    if not stem or not folder.is_relative_to(root):
        raise ValueError(f"filename_prefix {prefix!r} must name a file inside of the output folder")
    folder.mkdir(parents=True, exist_ok=True)
    taken = [re.fullmatch(re.escape(stem) + r"_(\d+)_", path.stem) for path in folder.glob(f"*{suffix}")]
    number = 1 + max((int(match.group(1)) for match in taken if match), default=0)
    name = f"{stem}_{number:05}_{suffix}"
    subfolder = folder.relative_to(root).as_posix()
    return folder / name, {"filename": name, "subfolder": "" if subfolder == "." else subfolder, "type": "output"}


def temporary_file(name: str) -> tuple[Path, dict[str, str]]:
    """Return a path in the temporary folder, and {"filename", "subfolder", "type"}, by which the browser requests the
    file."""
    path = _folder("temp") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path, {"filename": name, "subfolder": "", "type": "temp"}


def stamp(extra_pnginfo: dict | None, values: Mapping[str, object]) -> None:
    """Add provenance to the metadata that ComfyUI's own save nodes write into PNG text and MP4 tags, in place.

    extra_pnginfo: that metadata, from the hidden input of a node; values: {name: value} to add under
    "synthetic_media"."""
    if isinstance(extra_pnginfo, dict):
        extra_pnginfo["synthetic_media"] = {**extra_pnginfo.get("synthetic_media", {}), **values}
