"""Write workflows/*.json and subgraphs/*.json in ComfyUI's UI format from the descriptions in workflow_graphs.py.

    python tools/make_workflows.py                 the graphs
    python tools/make_workflows.py --thumbnails    also run each, and write workflows/<name>.jpg of its result

Widget values are taken from the nodes' own defaults, so that a graph can never disagree with its nodes; tests run
every graph and check that the files are up to date.
"""

import argparse
import json
import sys
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "nodes"), str(ROOT / "tools")]
from graph import STOCK, inputs_of, is_widget, load_pack, run, to_api, without_models  # noqa: E402
from stock_models import SHAPES  # noqa: E402
from workflow_graphs import BLUEPRINTS, GRAPHS, Blueprint, Graph  # noqa: E402
from workflow_layout import COLUMN, WIDTH, Box, arrange  # noqa: E402
from workflow_mix import MIX, models_of  # noqa: E402
from workflow_routes import FIRST_SLOT, SLOT, WIDGET, Place, route  # noqa: E402

SECONDS = 1.4  # of the example speech, for a thumbnail
PACK, VERSION = "stereotalker", "0.1.0"
CAMERA, PLAYER, SHOWN = 280, 300, 230  # pixels of the canvas: camera picture, video player, preview while it runs
PICTURED = ("StereoTalkerCameraTrajectory", "StereoTalker")
TALL = {
    "StereoTalkerCameraTrajectory": CAMERA, "StereoTalker": CAMERA + 50, "StereoTalkerRenderToFile": PLAYER,
    "StereoTalkerSampleMotion": 50, "SaveVideo": PLAYER, "CLIPTextEncode": 50,
}  # fmt: skip
GROWS = (
    "StereoTalker", "StereoTalkerRenderGuides", "StereoTalkerRenderVideo", "StereoTalkerPreviewMotion",
    "StereoTalkerConditioning", "KSampler", "VAEDecode",
)  # fmt: skip
ALL = GRAPHS | MIX
SOCKETS = ("image_upload", "audio_upload")


def output_names(cls: type) -> tuple[str, ...]:
    """Return the names of a node's outputs, or their types where the node gives no names, as some of ComfyUI's own."""
    return tuple(getattr(cls, "RETURN_NAMES", None) or cls.RETURN_TYPES)


def draw(graph: Graph, classes: dict[str, type]) -> tuple[list[dict], list[list], list[dict], dict[int, Place]]:
    """Return a graph's nodes, links [id, from, slot, to, slot, type] and groups in ComfyUI's UI format, and {node id:
    place}."""
    rows = {row.name: row for row in graph.rows}
    ids = {name: i + 1 for i, name in enumerate(rows)}
    nodes = {name: node_of(ids[name], row.kind, row.values, classes[row.kind]) for name, row in rows.items()}
    heights = {name: nodes[name]["size"][1] + WIDGET * folded(classes[row.kind]) for name, row in rows.items()}
    positions, groups = arrange(
        Box(row.name, row.kind, heights[row.name], SHOWN * (row.kind in GROWS), row.at) for row in graph.rows
    )
    links = []
    for name, row in rows.items():
        node = nodes[name]
        node["pos"] = positions[name]
        slots = {socket["name"]: i for i, socket in enumerate(node["inputs"])}
        for target, link in row.wires.items():
            source, output = link.split(":")
            cls = classes[rows[source].kind]
            slot = output_names(cls).index(output)
            links.append([len(links) + 1, ids[source], slot, ids[name], slots[target], cls.RETURN_TYPES[slot]])
            node["inputs"][slots[target]]["link"] = len(links)
    for node in nodes.values():
        for output in node["outputs"]:
            output["links"] = [k[0] for k in links if k[1] == node["id"] and k[2] == output["slot_index"]]
    places = {
        nodes[name]["id"]: Place(*positions[name], WIDTH, heights[name], *socket_heights(nodes[name])) for name in nodes
    }
    return list(nodes.values()), links, groups, places


def folded(cls: type) -> int:
    """Return how many widgets of a node are hidden as advanced ones by Nodes 2.0; the classic canvas shows them."""
    return sum(bool(spec[1].get("advanced")) for spec in inputs_of(cls).values() if len(spec) > 1)


def socket_heights(node: dict) -> tuple[list[int], list[int]]:
    """Return the distances in px from a node's top to its input and its output sockets; inputs with a widget lie beside
    that widget."""
    plain = [socket for socket in node["inputs"] if "widget" not in socket]
    rows = max(len(plain), len(node["outputs"]))
    top = FIRST_SLOT + SLOT * rows + (CAMERA if node["type"] in PICTURED else 0)
    inputs, sockets, widgets = [], 0, 0
    for socket in node["inputs"]:
        if "widget" in socket:
            inputs.append(top + WIDGET * widgets)
            widgets += 1
        else:
            inputs.append(FIRST_SLOT + SLOT * sockets)
            sockets += 1
    return inputs, [FIRST_SLOT + SLOT * i for i in range(len(node["outputs"]))]


def node_of(number: int, kind: str, values: dict, cls: type) -> dict:
    """Return one node in UI format {"id", "type", "inputs", "widgets_values", ...}; widget values are in input order.

    number: its id; kind: its class name; values: {widget: value} other than defaults; cls: its class."""
    inputs, widgets, unknown = [], [], set(values) - set(inputs_of(cls))
    if unknown:
        raise ValueError(f"{kind} has no input {', '.join(sorted(unknown))}")
    for name, spec in inputs_of(cls).items():
        options = spec[1] if len(spec) > 1 else {}
        if not is_widget(spec):
            inputs.append({"name": name, "type": spec[0], "link": None})
            continue
        choices = spec[0] if isinstance(spec[0], (list, tuple)) else None
        kinds = spec[0] if choices is None else "COMBO"
        inputs.append({"name": name, "type": kinds, "link": None, "widget": {"name": name}})
        widgets.append(values.get(name, options.get("default", choices[0] if choices else 0)))
        if options.get("control_after_generate"):
            widgets.append("fixed")
        widgets += [key.split("_")[0] for key in SOCKETS if options.get(key)]
    outputs = [
        {"name": name, "type": kind_, "links": [], "slot_index": i}
        for i, (name, kind_) in enumerate(zip(output_names(cls), cls.RETURN_TYPES, strict=True))
    ]
    sockets = sum("widget" not in socket for socket in inputs)
    height = 50 + 22 * max(sockets, len(outputs)) + 26 * (len(widgets) - folded(cls)) + TALL.get(kind, 0)
    inputs.sort(key=lambda socket: "widget" in socket)  # as frontend 1.27, which does not mend subgraphs' links
    ours = kind.startswith("StereoTalker")
    properties = {"Node name for S&R": kind, "cnr_id": PACK if ours else "comfy-core"}
    properties |= {"ver": VERSION} if ours else {"models": models_of(widgets)} if models_of(widgets) else {}
    return {
        "id": number, "type": kind, "pos": [0, 0], "size": [WIDTH, height], "flags": {}, "order": number - 1, "mode": 0,
        "inputs": inputs, "outputs": outputs, "properties": properties, "widgets_values": widgets,
    }  # fmt: skip


def workflow(name: str, graph: Graph, classes: dict[str, type]) -> dict:
    """Return the content of a whole workflow file, {"id", "nodes", "links", "groups", ...}."""
    nodes, links, groups, places = draw(graph, classes)
    extra, highest = route(links, places, min(group["bounding"][1] for group in groups))
    for i, text in enumerate(graph.notes):
        nodes.append(
            {"id": len(nodes) + 1, "type": "MarkdownNote", "pos": [i * 570 - 20, highest - 200], "size": [550, 190],
             "flags": {},
             "order": len(nodes), "mode": 0, "inputs": [], "outputs": [], "title": heading(text), "properties": {},
             "widgets_values": [text], "color": "#432", "bgcolor": "#653"}
        )  # fmt: skip
    return {
        "id": stable_id(name), "revision": 0, "last_node_id": len(nodes), "last_link_id": len(links), "nodes": nodes,
        "links": links, "groups": groups, "config": {}, "extra": extra, "version": 0.4,
    }  # fmt: skip


def heading(text: str) -> str:
    """Return the title of a note: its first line where that is a heading, else "Good to know"."""
    first = text.splitlines()[0]
    return first.removeprefix("## ") if first.startswith("## ") else "Good to know"


def stable_id(name: str) -> str:
    """Return a UUID that is always the same for the same name."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"{PACK}/{name}"))


def blueprint(name: str, plan: Blueprint, classes: dict[str, type]) -> dict:
    """Return a subgraph blueprint: a workflow of one node whose type is the subgraph that the file defines."""
    nodes, drawn, groups, _ = draw(plan.graph, classes)
    ids = {row.name: node["id"] for row, node in zip(plan.graph.rows, nodes, strict=True)}
    by_id = {node["id"]: node for node in nodes}
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot", "type")
    links = [dict(zip(keys, link, strict=True)) for link in drawn]
    inputs, outputs = [], []
    for slot, (title, targets) in enumerate(plan.inputs.items()):
        row, key = targets[0].split(":")
        sockets = by_id[ids[row]]["inputs"]
        at = next(i for i, socket in enumerate(sockets) if socket["name"] == key)
        link = {"id": len(links) + 1, "origin_id": -10, "origin_slot": slot, "target_id": ids[row], "target_slot": at}
        links.append(link | {"type": sockets[at]["type"]})
        sockets[at]["link"] = link["id"]
        inputs.append(
            {"id": stable_id(f"{name}/{title}"), "name": title, "type": sockets[at]["type"], "linkIds": [link["id"]],
             "pos": [-160, 20 + 20 * slot]}
        )  # fmt: skip
    for slot, (title, source) in enumerate(plan.outputs.items()):
        row, key = source.split(":")
        sockets = by_id[ids[row]]["outputs"]
        at = next(i for i, socket in enumerate(sockets) if socket["name"] == key)
        link = {"id": len(links) + 1, "origin_id": ids[row], "origin_slot": at, "target_id": -20, "target_slot": slot}
        links.append(link | {"type": sockets[at]["type"]})
        sockets[at]["links"].append(link["id"])
        outputs.append(
            {"id": stable_id(f"{name}/out/{title}"), "name": title, "type": sockets[at]["type"],
             "linkIds": [link["id"]], "pos": [0, 20 + 20 * slot]}
        )  # fmt: skip
    right = max(node["pos"][0] for node in nodes) + COLUMN
    for socket in outputs:
        socket["pos"][0] = right
    definition = {
        "id": stable_id(name), "version": 1, "revision": 0, "name": plan.title, "config": {}, "groups": groups,
        "extra": {},
        "state": {"lastGroupId": 0, "lastNodeId": len(nodes), "lastLinkId": len(links), "lastRerouteId": 0},
        "inputNode": {"id": -10, "bounding": [-260, 0, 120, 40 + 20 * len(inputs)]},
        "outputNode": {"id": -20, "bounding": [right, 0, 120, 40 + 20 * len(outputs)]},
        "inputs": inputs, "outputs": outputs, "widgets": [], "nodes": nodes, "links": links,
    }  # fmt: skip
    return wrapped(name, definition)


def wrapped(name: str, definition: dict) -> dict:
    """Return the workflow that contains one node of the subgraph `definition`."""
    widgets = [s for s in definition["inputs"] if s["type"] in ("INT", "FLOAT", "STRING", "BOOLEAN", "COMBO")]
    sockets = [
        {"name": s["name"], "type": s["type"], "link": None} | ({"widget": {"name": s["name"]}} if s in widgets else {})
        for s in definition["inputs"]
    ]
    node = {
        "id": 1, "type": definition["id"], "pos": [0, 0], "size": [320, 60 + 26 * len(sockets)], "flags": {},
        "order": 0, "mode": 0, "inputs": sockets,
        "outputs": [{"name": s["name"], "type": s["type"], "links": []} for s in definition["outputs"]],
        "title": definition["name"], "properties": {"cnr_id": PACK, "ver": VERSION, "proxyWidgets": []},
        "widgets_values": [],
    }  # fmt: skip
    return {
        "id": stable_id(f"{name}/file"), "revision": 0, "last_node_id": 1, "last_link_id": 0, "nodes": [node],
        "links": [], "groups": [], "definitions": {"subgraphs": [definition]}, "config": {}, "extra": {},
        "version": 0.4,
    }  # fmt: skip


def files(classes: dict[str, type]) -> dict[Path, str]:
    """Return {file: text} of everything that this tool writes."""
    found = {ROOT / "workflows" / f"{name}.json": workflow(name, make(), classes) for name, make in ALL.items()}
    found |= {
        ROOT / "subgraphs" / f"{name}.json": blueprint(name, make(), classes) for name, make in BLUEPRINTS.items()
    }
    return {path: json.dumps(data, indent=1) + "\n" for path, data in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--thumbnails", action="store_true", help="run the graphs and write their pictures")
    parser.add_argument("names", nargs="*", help="graphs whose pictures to make; default all")
    args = parser.parse_args()
    classes = {**STOCK, **SHAPES, **load_pack().NODE_CLASS_MAPPINGS}
    for path, text in files(classes).items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(ROOT))
    if args.thumbnails:
        import torch
        from workflow_pictures import write_thumbnail

        cache: dict = {}
        for name in args.names or ALL:
            graph = json.loads((ROOT / "workflows" / f"{name}.json").read_text(encoding="utf-8"))
            prompt = without_models(to_api(graph, classes), SHAPES)
            for node in prompt.values():
                if node["class_type"] == "StereoTalkerExampleInputs":
                    node["inputs"]["seconds"] = SECONDS
            with torch.inference_mode():
                done = run(prompt, classes, cache)
            print(write_thumbnail(ROOT / "workflows" / f"{name}.jpg", done), flush=True)


if __name__ == "__main__":
    main()
