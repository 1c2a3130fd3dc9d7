"""The layout of an example graph: sections from left to right, each a coloured group of a few columns."""

from collections.abc import Iterable
from dataclasses import dataclass

COLUMN, GAP, TITLE, MARGIN = 430, 50, 30, 20  # pixels; TITLE: the bar above a node's position
HEADING = 45  # of a group, above the title bars
WIDTH = 340  # of a node

BLOCKS = (  # sections of a block stand below each other
    ("Portrait and speech",),
    ("Speech to motion", "Renderer"),
    ("Happy", "Angry"),
    ("Edit, look, keep",),
    ("Camera",),
    ("Rendering",),
    ("Another model",),
    ("Result",),
)
COLOURS = {
    "Portrait and speech": "#6aa9d6", "Speech to motion": "#8AA", "Renderer": "#b985d6", "Camera": "#d6b04a",
    "Happy": "#d6b04a", "Angry": "#A88", "Another model": "#d6826a", "Edit, look, keep": "#d68f5a", "Rendering": "#8A8",
    "Result": "#88A",
}  # fmt: skip
PLACES = {  # class -> section, column; every other class belongs to the result
    "ExampleInputs": ("Portrait and speech", 0),
    "FitPortrait": ("Portrait and speech", 0),
    "LoadAudioEncoder": ("Speech to motion", 0),
    "LoadMotionModel": ("Speech to motion", 0),
    "LoadProbTalk3D": ("Speech to motion", 0),
    "EncodeSpeech": ("Speech to motion", 0),
    "SampleMotion": ("Speech to motion", 1),
    "SampleEmotionalFace": ("Speech to motion", 1),
    "MergeFace": ("Speech to motion", 2),
    "LoadRenderer": ("Renderer", 0),
    "LoadMaskPredictor": ("Renderer", 0),
    "LoadViewMoE": ("Renderer", 1),
    "LoadMaskMoE": ("Renderer", 1),
    "EditMotion": ("Edit, look, keep", 0),
    "SaveMotion": ("Edit, look, keep", 0),
    "ExportMotion": ("Edit, look, keep", 0),
    "PreviewMotion": ("Edit, look, keep", 1),
    "CameraTrajectory": ("Camera", 0),
    "StereoCameraPair": ("Camera", 0),
    "RenderGuides": ("Rendering", 0),
    "PredictMasks": ("Rendering", 0),
    "RenderVideo": ("Rendering", 0),
    "RenderToFile": ("Rendering", 0),
    "Conditioning": ("Rendering", 0),
    "": ("Rendering", 0),  # Stereo-Talker, the one that does it all
    "KSampler": ("Rendering", 1),
    "VAEDecode": ("Rendering", 1),
}


@dataclass(frozen=True)
class Box:
    """The size of a node to be placed: name, class, height, extra height that it may need while it runs, and a fixed
    place if any."""

    name: str
    kind: str
    height: int
    room: int = 0
    at: tuple[str, int] | None = None

    @property
    def place(self) -> tuple[str, int]:
        return self.at or PLACES.get(self.kind.removeprefix("StereoTalker"), ("Result", 0))


def arrange(boxes: Iterable[Box]) -> tuple[dict[str, list[int]], list[dict]]:
    """Place the nodes -> {name: position [x, y]} and the groups, in ComfyUI's format."""
    boxes = list(boxes)
    positions: dict[str, list[int]] = {}
    groups: list[dict] = []
    left = 0
    for block in BLOCKS:
        top, right = 0, left
        for section in block:
            inside = [box for box in boxes if box.place[0] == section]
            if not inside:
                continue
            used = sorted({box.place[1] for box in inside})
            below, bottom = dict.fromkeys(used, top), top
            for box in inside:
                column = box.place[1]
                positions[box.name] = [left + used.index(column) * COLUMN, below[column]]
                bottom = max(bottom, below[column] + box.height)
                below[column] += box.height + box.room + TITLE + GAP
            width = (len(used) - 1) * COLUMN + WIDTH
            groups.append(group(len(groups) + 1, section, (left, top, width, bottom - top)))
            right = max(right, left + width)
            top = max(below.values()) + MARGIN + HEADING
        left = right + 2 * MARGIN + GAP if right > left else left
    return positions, groups


def group(number: int, title: str, inside: tuple[int, int, int, int]) -> dict:
    """Return ComfyUI's group around the rectangle `inside` (left, top, width, height)."""
    left, top, width, height = inside
    above = TITLE + HEADING
    bounding = [left - MARGIN, top - above, width + 2 * MARGIN, height + above + MARGIN]
    return {
        "id": number, "title": title, "bounding": bounding, "color": COLOURS[title], "font_size": 24, "flags": {}
    }  # fmt: skip
