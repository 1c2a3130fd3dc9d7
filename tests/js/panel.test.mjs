import assert from "node:assert/strict";
import { test } from "node:test";

import { bindCamera, fixSeed, locatorOf } from "../../js/binding.mjs";
import { TIMELINE, timeToX, yawToPoint, yawToY } from "../../js/orbit.mjs";
import { CameraPanel } from "../../js/panel.mjs";
import { makeDocument, makeNode, onPage } from "./dom.mjs";

const WIDGETS = { path: "fixed", yaw: 0, end_yaw: 0, pitch: 0, keyframes: "" };

function makePanel(changed = {}, inputs = []) {
  const made = makeNode({ ...WIDGETS, ...changed }, inputs);
  const images = [];
  const host = bindCamera(made.node, made.app, (path) => path, () => (images.push({ naturalWidth: 250 }), images.at(-1)));
  const panel = new CameraPanel(makeDocument(), host);
  host.onChange = () => panel.refresh();
  panel.refresh();
  const values = () => Object.fromEntries(made.node.widgets.map((w) => [w.name, w.value]));
  const drag = (...points) => {
    points.forEach((p, i) => panel.canvas.send(i ? "pointermove" : "pointerdown", { ...onPage(p), timeStamp: 9e5 }));
    panel.canvas.send("pointerup", onPage(points.at(-1)));
  };
  const double = (point) => {
    for (const timeStamp of [1000, 1100]) {
      panel.canvas.send("pointerdown", { ...onPage(point), timeStamp });
      panel.canvas.send("pointerup", onPage(point));
    }
  };
  return { ...made, host, panel, canvas: panel.canvas, images, values, drag, double };
}

const drawings = (canvas) => canvas.context.calls.filter(([name]) => name === "clearRect").length;
const pictures = (canvas) => canvas.context.calls.filter(([name]) => name === "drawImage");

test("dragging the camera sets the yaw widget, calls its callback, one undo step", () => {
  const { drag, values, log, panel } = makePanel();
  drag(yawToPoint(0), yawToPoint(-20), yawToPoint(-35.3));
  assert.equal(values().yaw, -35);
  assert.deepEqual(log, [["begin"], ["yaw", -20], ["yaw", -35], ["end"]]);
  assert.equal(panel.canvas.attributes["aria-valuenow"], "-35");
});

test("a drag that starts beside the handle brings it there, a mere click does not; shift snaps to 15 degrees", () => {
  const { canvas, values } = makePanel();
  canvas.send("pointerdown", onPage(yawToPoint(50)));
  assert.equal(values().yaw, 0);
  canvas.send("pointermove", onPage(yawToPoint(51)));
  assert.equal(values().yaw, 51);
  canvas.send("pointermove", { ...onPage(yawToPoint(64)), shiftKey: true });
  assert.equal(values().yaw, 60);
});

test("a drag past the back goes on at the other side", () => {
  const { drag, values } = makePanel({ yaw: 170 });
  drag(yawToPoint(170), yawToPoint(179), yawToPoint(-175));
  assert.equal(values().yaw, -175);
});

test("start and end of an orbit are dragged apart", () => {
  const { drag, values } = makePanel({ path: "orbit", yaw: -40, end_yaw: 40 });
  drag(yawToPoint(40), yawToPoint(70));
  drag(yawToPoint(-40), yawToPoint(-10));
  assert.deepEqual([values().yaw, values().end_yaw, values().path], [-10, 70, "orbit"]);
});

test("an eased orbit stays eased", () => {
  const { drag, values } = makePanel({ path: "orbit (ease in and out)", end_yaw: 40 });
  drag(yawToPoint(40), yawToPoint(60));
  assert.equal(values().path, "orbit (ease in and out)");
});

test("a second finger or another pointer does not move the first one's handle", () => {
  const { canvas, values } = makePanel();
  canvas.send("pointerdown", onPage(yawToPoint(0)));
  canvas.send("pointermove", { ...onPage(yawToPoint(60)), pointerId: 2 });
  assert.equal(values().yaw, 0);
  assert.equal(canvas.captured, 1);
});

test("double click makes keyframes, once more on a key removes it", () => {
  const { double, values, drag, panel } = makePanel({ path: "orbit", yaw: -40, end_yaw: 40 });
  drag({ x: timeToX(2, 4), y: TIMELINE.y + 2 }); // the playhead at 2 s
  double(yawToPoint(-80));
  assert.equal(values().path, "keyframes");
  assert.equal(values().keyframes, "0%: -40, 50%: -80, 100%: 40");
  assert.equal(panel.selected, 1);
  double(yawToPoint(-80));
  assert.equal(values().keyframes, "0%: -40, 100%: 40");
});

test("double clicks on the circle of a fixed camera fill the clip: start, end, between", () => {
  const { double, values } = makePanel({ yaw: 10 });
  double(yawToPoint(-80));
  assert.equal(values().keyframes, "0%: 10, 100%: -80");
  double(yawToPoint(60));
  assert.equal(values().keyframes, "0%: 10, 50%: 60, 100%: -80");
});

test("double click on the time line adds a key at that time and yaw; dragging moves it", () => {
  const { double, values, drag } = makePanel({ path: "keyframes", keyframes: "0%: 0, 100%: 60" });
  double({ x: timeToX(1, 4), y: yawToY(-45) });
  assert.equal(values().keyframes, "0%: 0, 25%: -45, 100%: 60");
  drag({ x: timeToX(1, 4), y: yawToY(-45) }, { x: timeToX(3, 4), y: yawToY(30) });
  assert.equal(values().keyframes, "0%: 0, 75%: 30, 100%: 60");
});

test("two slow taps are no double click", () => {
  const { canvas, values } = makePanel();
  for (const timeStamp of [1000, 1600]) {
    canvas.send("pointerdown", { ...onPage(yawToPoint(0)), timeStamp });
    canvas.send("pointerup", onPage(yawToPoint(0)));
  }
  assert.equal(values().path, "fixed");
});

test("a node without a keyframes widget has no keys, its orbit switch is the mode", () => {
  const made = makeNode({ yaw: 10, orbit: true, end_yaw: 20 });
  const host = bindCamera(made.node, made.app, (path) => path);
  const panel = new CameraPanel(makeDocument(), host);
  assert.equal(host.read().camera.mode, "orbit");
  for (const timeStamp of [1000, 1100]) panel.canvas.send("pointerdown", { ...onPage(yawToPoint(-60)), timeStamp });
  panel.canvas.send("pointerup", onPage(yawToPoint(-60)));
  panel.canvas.send("keydown", { key: "Delete" });
  assert.deepEqual(made.node.widgets.map((w) => w.value), [10, true, 20]);
  panel.canvas.send("keydown", { key: "ArrowRight" });
  assert.equal(made.node.widgets[0].value, 9);
});

test("a node without a path, but with keyframes, follows them where there are any", () => {
  const made = makeNode({ yaw: 10, orbit: true, end_yaw: 20, keyframes: "" });
  const host = bindCamera(made.node, made.app, (path) => path);
  const panel = new CameraPanel(makeDocument(), host);
  const text = () => made.node.widgets[3].value;
  assert.equal(host.read().camera.mode, "orbit");
  for (const timeStamp of [1000, 1100]) panel.canvas.send("pointerdown", { ...onPage(yawToPoint(-60)), timeStamp });
  panel.canvas.send("pointerup", onPage(yawToPoint(-60)));
  assert.equal(host.read().camera.mode, "keyframes");
  assert.match(text(), /-60/);
  assert.deepEqual(made.node.widgets.slice(0, 3).map((w) => w.value), [10, true, 20]);
  made.node.widgets[3].value = "";
  assert.equal(host.read().camera.mode, "orbit");
});

test("the end of an orbit is grey while there is none", () => {
  const { host, node } = makePanel();
  const end = node.widgets.find((w) => w.name === "end_yaw");
  end.options = {};
  host.grey();
  assert.deepEqual([end.disabled, end.options.disabled], [true, true]);
  node.widgets.find((w) => w.name === "path").value = "orbit (ease in and out)";
  host.grey();
  assert.deepEqual([end.disabled, end.options.disabled], [false, false]);
});

test("a result inside a subgraph is looked up by the name that ComfyUI gives it", () => {
  const { node } = makePanel();
  assert.equal(locatorOf(node), 7);
  node.graph = { id: "abc", rootGraph: {} };
  assert.equal(locatorOf(node), "abc:7");
});

test("arrow keys turn and tilt; ComfyUI does not see them", () => {
  const { canvas, values, log } = makePanel();
  assert.ok(canvas.send("keydown", { key: "ArrowLeft" }).stopped);
  canvas.send("keydown", { key: "ArrowLeft", shiftKey: true });
  canvas.send("keydown", { key: "ArrowUp" });
  assert.deepEqual([values().yaw, values().pitch], [11, 1]);
  assert.equal(log.filter(([name]) => name === "begin").length, log.filter(([name]) => name === "end").length);
  canvas.send("keydown", { key: "Home" });
  assert.equal(values().yaw, 0);
});

test("keys that are not ours go to ComfyUI", () => {
  const { canvas, log } = makePanel();
  for (const event of [{ key: "z", ctrlKey: true }, { key: "a" }, { key: "ArrowLeft", ctrlKey: true }]) {
    const sent = canvas.send("keydown", event);
    assert.ok(!sent.stopped && !sent.prevented);
  }
  assert.deepEqual(log, []);
});

test("Enter selects the next key, Delete removes it, the last one stays", () => {
  const { canvas, values } = makePanel({ path: "keyframes", keyframes: "0%: 10, 25%: 20" });
  canvas.send("keydown", { key: "Enter" });
  canvas.send("keydown", { key: "ArrowRight" });
  assert.equal(values().keyframes, "0%: 10, 25%: 19");
  canvas.send("keydown", { key: "Delete" });
  canvas.send("keydown", { key: "Delete" });
  assert.equal(values().keyframes, "0%: 10");
});

test("numbers typed into the widgets, and undo, are drawn at the next look", () => {
  const { node, canvas, panel } = makePanel();
  const before = drawings(canvas);
  panel.refresh();
  assert.equal(drawings(canvas), before, "nothing changed, nothing drawn");
  node.widgets.find((w) => w.name === "yaw").value = 33; // undo and promoted widgets call no callback
  panel.refresh();
  assert.equal(drawings(canvas), before + 1);
  assert.equal(canvas.attributes["aria-valuenow"], "33");
});

test("the picture follows the yaw on the strip without asking the server again", () => {
  const { host, images, canvas, drag } = makePanel();
  assert.equal(pictures(canvas).length, 0);
  const strip = { filename: "s.jpg", subfolder: "", type: "temp", count: 25, frames: 81, fps: 25, yaw_min: -90, yaw_max: 90 };
  host.receive({ stereotalker_turntable: [strip] });
  images[0].onload();
  assert.equal(pictures(canvas).at(-1)[2], 120, "view 12 of ten pixels: the front");
  drag(yawToPoint(0), yawToPoint(45));
  assert.equal(pictures(canvas).at(-1)[2], 180);
  assert.equal(images.length, 1);
  assert.equal(images[0].src, "/view?filename=s.jpg&subfolder=&type=temp");
  assert.equal(host.read().duration, 3.2);
});

test("a new result replaces the strip; ComfyUI's kept results give it back after undo", () => {
  const { app, node, images, host } = makePanel();
  const strip = { filename: "a.jpg", type: "temp", count: 2, frames: 9, fps: 25, yaw_min: -90, yaw_max: 90 };
  app.nodeOutputs[node.id] = { stereotalker_turntable: [strip] };
  host.read();
  app.nodeOutputs[node.id] = { stereotalker_turntable: [{ ...strip, filename: "b.jpg" }] };
  host.read();
  host.read();
  assert.deepEqual(images.map((i) => i.src.slice(15, 20)), ["a.jpg", "b.jpg"]);
});

test("the person is there after a reload, a load or a paste: the graph keeps the name of the strip", () => {
  const first = makePanel();
  const strip = { filename: "a.jpg", type: "temp", count: 25, frames: 81, fps: 25, yaw_min: -90, yaw_max: 90 };
  first.host.receive({ stereotalker_turntable: [strip] });
  const saved = JSON.parse(JSON.stringify(first.node.properties)); // what a graph file holds
  const second = makePanel();
  assert.equal(second.images.length, 0);
  second.node.properties = saved;
  second.panel.refresh();
  second.images[0].onload();
  assert.equal(second.images[0].src, first.images[0].src);
  assert.equal(pictures(second.canvas).length, 1);
  assert.equal(second.host.read().duration, 3.2);
});

test("a strip that is gone from the server is asked for once, and shown when a run makes it again", () => {
  const { node, panel, images, canvas, host } = makePanel();
  const strip = { filename: "a.jpg", type: "temp", count: 25, frames: 81, fps: 25, yaw_min: -90, yaw_max: 90 };
  node.properties = { stereotalker_turntable: strip };
  panel.refresh();
  images[0].onerror();
  panel.refresh();
  panel.refresh();
  assert.equal(images.length, 1);
  assert.equal(pictures(canvas).length, 0);
  host.receive({ stereotalker_turntable: [strip] });
  images[1].onload();
  assert.equal(pictures(canvas).length, 1);
});

test("a linked yaw cannot be dragged, and the picture says so", () => {
  const { drag, log, host } = makePanel({}, [{ name: "yaw", widget: { name: "yaw" }, link: 12 }]);
  drag(yawToPoint(0), yawToPoint(45));
  assert.deepEqual(log, []);
  assert.equal(host.read().note, "set by a linked node");
});

test("a text that cannot be read is not overwritten by a drag", () => {
  const { drag, values, host } = makePanel({ path: "keyframes", keyframes: "0%: 10, 25%: twenty" });
  drag(yawToPoint(10), yawToPoint(45));
  assert.equal(values().keyframes, "0%: 10, 25%: twenty");
  assert.match(host.read().note, /twenty/);
});

test("the right and the middle button are left to the graph", () => {
  const { canvas, log } = makePanel();
  for (const button of [1, 2]) assert.ok(!canvas.send("pointerdown", { ...onPage(yawToPoint(0)), button }).stopped);
  assert.deepEqual(log, []);
});

test("the wheel is never listened to", () => {
  assert.equal(makePanel().canvas.listeners.wheel, undefined);
});

test("a drag cut short by the system ends its undo step; after dispose nothing listens", () => {
  const { canvas, log, panel } = makePanel();
  canvas.send("pointerdown", onPage(yawToPoint(0)));
  canvas.send("lostpointercapture", {});
  canvas.send("pointermove", onPage(yawToPoint(45)));
  assert.deepEqual(log, [["begin"], ["end"]]);
  panel.dispose();
  canvas.send("pointerdown", onPage(yawToPoint(45)));
  assert.deepEqual(log, [["begin"], ["end"]]);
});

test("a drag step takes well under 50 ms", () => {
  const { canvas } = makePanel({ path: "keyframes", keyframes: "0%: 0, 25%: 40, 50%: -40, 75%: 80" });
  canvas.send("pointerdown", onPage(yawToPoint(0)));
  const start = performance.now();
  for (let i = 0; i < 100; i += 1) canvas.send("pointermove", onPage(yawToPoint(-i * 0.8)));
  assert.ok((performance.now() - start) / 100 < 50);
});

test("the seed of a fresh node is fixed, nodes without one are left alone", () => {
  const seeded = makeNode({ seed: 0, control_after_generate: "randomize", mode: "play" }).node;
  fixSeed(seeded);
  assert.deepEqual(seeded.widgets.map((w) => w.value), [0, "fixed", "play"]);
  fixSeed({});
});
