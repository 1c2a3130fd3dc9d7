"""Write the example graphs of workflows/ in ComfyUI's UI format from the short descriptions below.

    python tools/make_workflows.py

Widget values are taken from the nodes' own defaults, so that a graph can never disagree with its nodes; tests run
every graph. A description is a list of rows: name, node type, column and row on the canvas, values that differ from the
default, and links as {"input": ("name", output index)}.
"""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "nodes"))
from graph import STOCK, inputs_of, is_widget, load_pack  # noqa: E402

COLUMN, ROW = 360, 320
PACK = "stereotalker"

SIMPLE = [
    ("portrait", "LoadImage", 0, 0, {"image": "stereotalker_portrait.png"}, {}),
    ("speech", "LoadAudio", 0, 1.2, {"audio": "stereotalker_speech.wav"}, {}),
    ("talk", "StereoTalker", 1, 0, {"yaw": 20.0}, {"image": ("portrait", 0), "audio": ("speech", 0)}),
    ("video", "CreateVideo", 2, 0, {}, {"images": ("talk", 0), "audio": ("talk", 2), "fps": ("talk", 3)}),
    ("save", "SaveVideo", 3, 0, {"filename_prefix": "video/StereoTalker"}, {"video": ("video", 0)}),
]
EXPERT = [
    ("portrait", "LoadImage", 0, 0, {"image": "stereotalker_portrait.png"}, {}),
    ("speech", "LoadAudio", 0, 1.3, {"audio": "stereotalker_speech.wav"}, {}),
    ("encoder", "StereoTalkerLoadAudioEncoder", 0, 2.0, {}, {}),
    ("motion_model", "StereoTalkerLoadMotionModel", 0, 2.5, {}, {}),
    ("renderer", "StereoTalkerLoadRenderer", 1, 2.6, {}, {}),
    ("view", "StereoTalkerLoadViewMoE", 2, 2.6, {}, {"renderer": ("renderer", 0)}),
    ("regions", "StereoTalkerLoadMaskMoE", 3, 2.6, {}, {"renderer": ("view", 0)}),
    ("predictor", "StereoTalkerLoadMaskPredictor", 3, 1.9, {}, {}),
    ("fit", "StereoTalkerFitPortrait", 1, 0, {}, {"image": ("portrait", 0)}),
    ("heard", "StereoTalkerEncodeSpeech", 1, 0.7, {}, {"audio_encoder": ("encoder", 0), "audio": ("speech", 0)}),
    (
        "motion",
        "StereoTalkerSampleMotion",
        1,
        1.2,
        {},
        {"motion_model": ("motion_model", 0), "speech": ("heard", 0)},
    ),
    (
        "camera",
        "StereoTalkerCameraTrajectory",
        2,
        0,
        {"path": "orbit", "yaw": -40.0, "end_yaw": 40.0},
        {"identity": ("fit", 0), "motion": ("motion", 0)},
    ),
    (
        "guides",
        "StereoTalkerRenderGuides",
        2,
        1.5,
        {},
        {"identity": ("fit", 0), "motion": ("motion", 0), "cameras": ("camera", 0)},
    ),
    (
        "masks",
        "StereoTalkerPredictMasks",
        3,
        1.2,
        {},
        {"mask_predictor": ("predictor", 0), "guides": ("guides", 0)},
    ),
    ("guide_preview", "PreviewImage", 4, 1.2, {}, {"images": ("guides", 1)}),
    ("mask_image", "MaskToImage", 4, 2.0, {}, {"mask": ("masks", 1)}),
    ("mask_preview", "PreviewImage", 5, 2.0, {}, {"images": ("mask_image", 0)}),
    (
        "render",
        "StereoTalkerRenderVideo",
        4,
        0,
        {},
        {
            "renderer": ("regions", 0),
            "identity": ("fit", 0),
            "motion": ("motion", 0),
            "cameras": ("camera", 0),
            "mask_predictor": ("predictor", 0),
        },
    ),
    ("video", "CreateVideo", 5, 0, {}, {"images": ("render", 0), "audio": ("heard", 1), "fps": ("render", 2)}),
    ("save", "SaveVideo", 6, 0, {"filename_prefix": "video/StereoTalker"}, {"video": ("video", 0)}),
]
GRAPHS = {
    "stereotalker_simple": (SIMPLE, "Load a portrait (front, half body) and speech, choose the yaw, queue."),
    "stereotalker_expert": (EXPERT, "Both stages apart: change the camera and only guides and rendering run again."),
}


def build(description: list[tuple], note: str, classes: dict[str, type]) -> dict:
    """Rows of a description -> UI graph."""
    ids = {row[0]: i + 1 for i, row in enumerate(description)}
    nodes, links = [], []
    for name, kind, column, row, values, wires in description:
        nodes.append(_node(ids[name], kind, column, row, values, classes[kind]))
        slots = {s["name"]: i for i, s in enumerate(nodes[-1]["inputs"])}
        for target, (source, output) in wires.items():
            source_class = classes[next(r[1] for r in description if r[0] == source)]
            link = [len(links) + 1, ids[source], output, ids[name], slots[target], source_class.RETURN_TYPES[output]]
            nodes[-1]["inputs"][slots[target]]["link"] = link[0]
            links.append(link)
    for node in nodes:
        for output in node["outputs"]:
            output["links"] = [k[0] for k in links if k[1] == node["id"] and k[2] == output["slot_index"]]
    last = len(nodes) + 1
    nodes.append(
        {"id": last, "type": "Note", "pos": [0, -160], "size": [520, 110], "flags": {}, "order": 0, "mode": 0,
         "inputs": [], "outputs": [], "properties": {}, "widgets_values": [note]}
    )  # fmt: skip
    return {
        "last_node_id": last, "last_link_id": len(links), "nodes": nodes, "links": links,
        "groups": [], "config": {}, "extra": {}, "version": 0.4,
    }  # fmt: skip


def _node(number: int, kind: str, column: float, row: float, values: dict, cls: type) -> dict:
    inputs, widgets = [], []
    for name, spec in inputs_of(cls).items():
        options = spec[1] if len(spec) > 1 else {}
        if not is_widget(spec):
            inputs.append({"name": name, "type": spec[0], "link": None})
            continue
        kinds = "COMBO" if isinstance(spec[0], (list, tuple)) else spec[0]
        inputs.append({"name": name, "type": kinds, "link": None, "widget": {"name": name}})
        first = spec[0][0] if isinstance(spec[0], (list, tuple)) else 0
        widgets.append(values.get(name, options.get("default", first)))
        if options.get("control_after_generate"):
            widgets.append("fixed")
        if options.get("image_upload") or options.get("audio_upload"):
            widgets.append("image" if options.get("image_upload") else "audio")
    names = getattr(cls, "RETURN_NAMES", None) or cls.RETURN_TYPES
    outputs = [
        {"name": n, "type": t, "links": [], "slot_index": i}
        for i, (n, t) in enumerate(zip(names, cls.RETURN_TYPES, strict=True))
    ]
    ours = kind.startswith("StereoTalker")
    properties = {"Node name for S&R": kind, "cnr_id": PACK if ours else "comfy-core"}
    return {
        "id": number, "type": kind, "pos": [int(column * COLUMN), int(row * ROW)], "size": [320, 60 + 26 * len(inputs)],
        "flags": {}, "order": number, "mode": 0, "inputs": inputs, "outputs": outputs, "properties": properties,
        "widgets_values": widgets,
    }  # fmt: skip


def main() -> None:
    classes = {**STOCK, **load_pack().NODE_CLASS_MAPPINGS}
    for name, (description, note) in GRAPHS.items():
        path = ROOT / "workflows" / f"{name}.json"
        path.write_text(json.dumps(build(description, note, classes), indent=1) + "\n")
        print(path)


if __name__ == "__main__":
    main()
