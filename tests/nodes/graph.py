"""A small runner of ComfyUI graphs for tests: loads the pack as ComfyUI does, converts UI graphs, runs them.

Stock nodes that the example graphs use (LoadImage, LoadAudio, previews, video saving) have plain stand-ins here that do
the same job with Pillow / PyAV; the pack's own nodes are the real ones.
"""

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import stock
import torch

ROOT = Path(__file__).resolve().parents[2]
PACK = "comfyui_stereotalker_pack"
WIDGETS = ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")
NOTES = ("Note", "MarkdownNote")


def load_pack():
    """Import the repository's __init__.py the way ComfyUI imports a custom node folder; returns the module."""
    if PACK not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            PACK, ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
        )
        module = importlib.util.module_from_spec(spec)
        sys.modules[PACK] = module
        spec.loader.exec_module(module)
    return sys.modules[PACK]


class LoadImage:
    """Stock node: file -> IMAGE (1, H, W, 3), MASK (1, H, W) with 1 where transparent (64 x 64 zeros without alpha)."""

    RETURN_TYPES = ("IMAGE", "MASK")
    FUNCTION = "load_image"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"image": (["portrait.png"], {"image_upload": True})}}

    def load_image(self, image):
        from PIL import Image

        picture = Image.open(image)
        rgb = torch.from_numpy(np.asarray(picture.convert("RGB")).astype(np.float32) / 255)[None]
        if "A" in picture.getbands():
            alpha = torch.from_numpy(np.asarray(picture.getchannel("A")).astype(np.float32) / 255)
            return rgb, 1 - alpha[None]
        return rgb, torch.zeros(1, 64, 64)


class LoadAudio:
    """Stock node: file -> AUDIO {"waveform" (1, C, S), "sample_rate"}."""

    RETURN_TYPES = ("AUDIO",)
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"audio": (["speech.wav"], {"audio_upload": True})}}

    def load(self, audio):
        import av

        with av.open(str(audio)) as container:
            rate = container.streams.audio[0].rate
            resampler = av.AudioResampler(format="fltp", rate=rate)
            frames = [r.to_ndarray() for f in container.decode(audio=0) for r in resampler.resample(f)]
        return ({"waveform": torch.from_numpy(np.concatenate(frames, 1))[None], "sample_rate": rate},)


def _sink(*inputs: str, optional: tuple[str, ...] = ()):
    """A stock output node: keeps what it was given in `received` and returns its first input."""

    class Sink:
        RETURN_TYPES = ("*",)
        FUNCTION = "take"
        OUTPUT_NODE = True

        @classmethod
        def INPUT_TYPES(cls):
            return {"required": {n: ("*",) for n in inputs}, "optional": {n: ("*",) for n in optional}}

        def take(self, **received):
            self.received = received
            return (received[inputs[0]],)

    return Sink


class CreateVideo:
    """Stock node: IMAGE + optional AUDIO + fps -> VIDEO (here: a dictionary of the three)."""

    RETURN_TYPES = ("VIDEO",)
    FUNCTION = "create"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"images": ("IMAGE",), "fps": ("FLOAT", {"default": 30.0})},
            "optional": {"audio": ("AUDIO",)},
        }

    def create(self, images, fps, audio=None):
        return ({"images": images, "fps": fps, "audio": audio},)


class SaveImage:
    """Stock node: keeps the pictures it was asked to save."""

    RETURN_TYPES = ()
    FUNCTION = "save"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"images": ("IMAGE",), "filename_prefix": ("STRING", {"default": "ComfyUI"})}}

    def save(self, images, filename_prefix):
        self.received = {"images": images}
        return ()


class SaveVideo:
    """Stock node: keeps the video it was asked to save."""

    RETURN_TYPES = ()
    FUNCTION = "save"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls):
        required = {
            "video": ("VIDEO",),
            "filename_prefix": ("STRING", {"default": "video/ComfyUI"}),
            "format": (["auto", "mp4"],),
            "codec": (["auto", "h264"],),
        }
        return {"required": required}

    def save(self, video, filename_prefix, format, codec):
        self.received = {"video": video}
        return ()


STOCK = {
    **stock.NODES,
    "LoadImage": LoadImage,
    "LoadAudio": LoadAudio,
    "CreateVideo": CreateVideo,
    "SaveVideo": SaveVideo,
    "PreviewImage": _sink("images"),
    "SaveImage": SaveImage,
}


def inputs_of(cls) -> dict[str, tuple]:
    """All inputs of a node class in order: required, then optional."""
    types = cls.INPUT_TYPES()
    return {**types.get("required", {}), **types.get("optional", {})}


def is_widget(spec: tuple) -> bool:
    """Whether an input is drawn as a widget (a value in widgets_values)."""
    kind = spec[0]
    options = spec[1] if len(spec) > 1 else {}
    return (isinstance(kind, (list, tuple)) or kind in WIDGETS) and not options.get("forceInput")


def to_api(workflow: dict[str, Any], classes: dict[str, type]) -> dict[str, dict]:
    """UI graph (nodes, links, positional widgets_values) -> API prompt {id: {class_type, inputs}}."""
    links = {link[0]: (str(link[1]), link[2]) for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] in NOTES or node.get("mode") in (2, 4):
            continue
        cls = classes[node["type"]]
        values = list(node.get("widgets_values") or [])
        inputs: dict[str, Any] = {}
        for name, spec in inputs_of(cls).items():
            if not is_widget(spec):
                continue
            options = spec[1] if len(spec) > 1 else {}
            if not values:
                raise ValueError(f"node {node['id']} ({node['type']}) has no value for widget {name!r}")
            inputs[name] = values.pop(0)
            if options.get("control_after_generate") or options.get("image_upload") or options.get("audio_upload"):
                values[:1] = []  # the seed's control, or the upload button, takes a slot of its own
        if values:
            raise ValueError(f"node {node['id']} ({node['type']}) has {len(values)} widget values too many: {values}")
        for socket in node.get("inputs") or []:
            if socket.get("link") is not None:
                inputs[socket["name"]] = list(links[socket["link"]])
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs}
    return prompt


def run(prompt: dict[str, dict], classes: dict[str, type], cache: dict | None = None) -> dict[str, Any]:
    """Execute an API prompt in dependency order -> {node id: (instance, outputs)}; missing inputs are an error.

    cache keeps what nodes returned, by class and everything upstream, as ComfyUI's own does: prompts can share it.
    """
    done: dict[str, Any] = {}
    cache = {} if cache is None else cache

    def linked(value) -> bool:
        return isinstance(value, list) and len(value) == 2 and str(value[0]) in prompt

    def signature(key: str) -> tuple:
        node = prompt[key]
        items = sorted(node["inputs"].items())
        values = [(k, (signature(str(v[0])), v[1]) if linked(v) else repr(v)) for k, v in items]
        return (node["class_type"], *values)

    def execute(key: str) -> tuple:
        if key in done:
            return done[key][1]
        node = prompt[key]
        cls = classes[node["class_type"]]
        kept = None if getattr(cls, "OUTPUT_NODE", False) else signature(key)
        if kept in cache:
            done[key] = cache[kept]
            return done[key][1]
        arguments = {k: execute(str(v[0]))[v[1]] if linked(v) else v for k, v in node["inputs"].items()}
        missing = set(cls.INPUT_TYPES().get("required", {})) - set(arguments)
        if missing:
            raise ValueError(f"node {key} ({node['class_type']}) misses {sorted(missing)}")
        instance = cls()
        result = getattr(instance, cls.FUNCTION)(**arguments)
        done[key] = (instance, result["result"] if isinstance(result, dict) else result)
        if kept is not None:
            cache[kept] = done[key]
        return done[key][1]

    for key in prompt:
        execute(key)
    return done


def flattened(blueprint: dict[str, Any], given: dict[str, Any], classes: dict[str, type]) -> dict[str, dict]:
    """A subgraph blueprint -> API prompt; `given` holds a value or a link for each input of the subgraph."""
    (definition,) = blueprint["definitions"]["subgraphs"]
    assert blueprint["nodes"][0]["type"] == definition["id"]
    names = [socket["name"] for socket in definition["inputs"]]
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    links = [[link[key] for key in keys] for link in definition["links"]]
    inside = [link for link in links if link[1] >= 0]
    nodes = {node["id"]: node for node in json.loads(json.dumps(definition["nodes"]))}
    outer = {}
    for number, origin, slot, target, at, _ in links:
        if origin == -10:
            socket = nodes[target]["inputs"][at]
            assert socket["link"] == number
            outer[target, socket["name"]] = given[names[slot]]
            socket["link"] = None
    prompt = to_api({"nodes": list(nodes.values()), "links": inside}, classes)
    for (target, name), value in outer.items():
        prompt[str(target)]["inputs"][name] = value
    return prompt


def without_models(prompt: dict[str, dict], shapes: dict[str, type]) -> dict[str, dict]:
    """What of a prompt runs without other models' files: the nodes that none of these classes leads to."""
    lacking = {key for key, entry in prompt.items() if entry["class_type"] in shapes}
    while True:
        more = {
            key
            for key, entry in prompt.items()
            if any(isinstance(value, list) and value[0] in lacking for value in entry["inputs"].values())
        } - lacking
        if not more:
            return {key: entry for key, entry in prompt.items() if key not in lacking}
        lacking |= more


def load_workflow(name: str) -> dict[str, Any]:
    """A graph of workflows/ by its stem."""
    return json.loads((ROOT / "workflows" / f"{name}.json").read_text())
