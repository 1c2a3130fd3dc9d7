import assert from "node:assert/strict";
import test from "node:test";

import { bindCamera } from "../../js/binding.mjs";
import { holderOf } from "../../js/outer.mjs";
import { yawToPoint } from "../../js/orbit.mjs";
import { CameraPanel } from "../../js/panel.mjs";
import { makeDocument, makeNode, onPage } from "./dom.mjs";

/**
 * A camera node inside a subgraph whose inputs 0 and 1 feed its yaw and orbit, and the subgraph's node outside, as
 * ComfyUI builds them; outer links: {input: link id}.
 */
function makeSubgraph(outerLinks = {}, copies = 1) {
  const inside = makeNode({ yaw: 5, orbit: false, end_yaw: 0 }, [
    { name: "yaw", widget: { name: "yaw" }, link: 1 },
    { name: "orbit", widget: { name: "orbit" }, link: 2 },
    { name: "end_yaw", widget: { name: "end_yaw" }, link: null },
  ]);
  const links = new Map([[1, { origin_id: -10, origin_slot: 0 }], [2, { origin_id: "-10", origin_slot: 1 }]]);
  const root = { nodes: [], links: new Map([[9, { origin_id: 3, origin_slot: 0 }]]), setDirtyCanvas() {} };
  const subgraph = { nodes: [inside.node], links, getLink: (id) => links.get(id), rootGraph: root, setDirtyCanvas() {} };
  inside.node.graph = subgraph;
  const outside = makeNode({ camera_yaw: 20, orbit: false }, [
    { name: "camera_yaw", widget: { name: "camera_yaw" }, link: outerLinks.yaw ?? null },
    { name: "orbit", widget: { name: "orbit" }, link: null },
  ]);
  Object.assign(outside.node, { subgraph, graph: root });
  for (let i = 0; i < copies; i += 1) root.nodes.push(i ? { ...outside.node, id: 70 + i } : outside.node);
  const host = bindCamera(inside.node, inside.app, (path) => path);
  const panel = new CameraPanel(makeDocument(), host);
  const drag = (from, to) => {
    panel.canvas.send("pointerdown", onPage(yawToPoint(from)));
    panel.canvas.send("pointermove", onPage(yawToPoint(to)));
    panel.canvas.send("pointerup", onPage(yawToPoint(to)));
  };
  const values = (made) => Object.fromEntries(made.node.widgets.map((w) => [w.name, w.value]));
  return { inside, outside, host, panel, drag, values, root };
}

test("a drag inside a subgraph moves the widget outside that holds the value", () => {
  const { inside, outside, host, drag, values } = makeSubgraph();
  assert.equal(host.read().camera.yaw, 20);
  assert.equal(host.read().locked, false);
  drag(20, -30);
  assert.deepEqual(values(outside), { camera_yaw: -30, orbit: false });
  assert.equal(values(inside).yaw, 5, "the inner widget is not what runs");
  assert.deepEqual(outside.log, [["camera_yaw", -30]]);
});

test("what the subgraph does not offer stays inside", () => {
  const { inside, outside, host, drag, values } = makeSubgraph();
  outside.node.widgets[1].value = true; // orbit, switched on outside
  assert.equal(host.read().camera.mode, "orbit");
  drag(0, 60);
  assert.equal(values(inside).end_yaw, 60);
  assert.equal(values(outside).camera_yaw, 20);
});

test("a yaw that another node gives outside, or that several copies hold, is locked", () => {
  const linked = makeSubgraph({ yaw: 9 });
  linked.drag(20, -30);
  assert.equal(linked.host.read().note, "set by a linked node");
  assert.equal(linked.values(linked.outside).camera_yaw, 20);
  assert.equal(makeSubgraph({}, 2).host.read().locked, true);
});

test("a subgraph in a subgraph, and links kept as plain records", () => {
  const { inside, outside, root } = makeSubgraph();
  const shell = makeNode({ view: 77 }, [{ name: "view", widget: { name: "view" }, link: null }]);
  const middle = { nodes: root.nodes, links: { 4: { origin_id: -10, origin_slot: 0 } }, rootGraph: null };
  const top = { _nodes: [shell.node], links: {} };
  middle.rootGraph = top;
  Object.assign(shell.node, { subgraph: middle, graph: top });
  outside.node.graph = middle;
  outside.node.inputs[0].link = 4;
  const { node, widget, linked } = holderOf(inside.node, "yaw", top);
  assert.deepEqual([node, widget.value, linked], [shell.node, 77, false]);
});
