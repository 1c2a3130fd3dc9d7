import assert from "node:assert/strict";
import test from "node:test";

import { bindReport, heightOf, linesOf } from "../../js/report.mjs";
import { makeDocument } from "./dom.mjs";

function makeNode() {
  const node = {
    size: [200, 100], widgets: [],
    computeSize: () => [210, 80 + node.widgets.reduce((all, one) => all + one.options.getMinHeight(), 0)],
    setSize: (size) => (node.size = size),
    addDOMWidget: (name, type, element, options) => {
      node.widgets.push({ name, type, element, options });
      return node.widgets.at(-1);
    },
  };
  return node;
}

test("a node shows the quality and every warning of its result, and only the newest", () => {
  const node = makeNode();
  const report = bindReport(node, makeDocument());
  report.receive(undefined);
  report.receive({ stereotalker_turntable: [{}] });
  assert.equal(node.widgets.length, 0); // a fresh node looks as it is defined
  report.receive({ text: ["fit quality 0.61 (of 1)", "2 people found, the largest is taken"] });
  const [widget] = node.widgets;
  const texts = () => widget.element.children.map((line) => line.textContent);
  assert.deepEqual(texts(), ["fit quality 0.61 (of 1)", "\u26a0 2 people found, the largest is taken"]);
  assert.equal(widget.serialize, false);
  assert.ok(node.size[1] >= 80 + heightOf(["a", "b"])); // room for the lines
  report.receive({ text: ["fit quality 0.93 (of 1)"] });
  assert.deepEqual(texts(), ["fit quality 0.93 (of 1)"]);
  assert.equal(node.widgets.length, 1);
});

test("a refusal stands on its own node until something else is said", () => {
  const node = Object.assign(makeNode(), { id: 7, comfyClass: "StereoTalkerFitPortrait" });
  const report = bindReport(node, makeDocument());
  const error = { node_id: "7", node_type: "StereoTalkerFitPortrait", exception_message: "no person found: a face\n" };
  report.fail({ ...error, node_id: "8" });
  report.fail({ ...error, node_type: "KSampler" });
  report.fail(undefined);
  assert.equal(node.widgets.length, 0);
  report.fail({ ...error, node_id: "3:7" }); // in a subgraph
  const texts = () => node.widgets[0].element.children.map((line) => line.textContent);
  assert.deepEqual(texts(), ["\u2716 no person found: a face"]);
  report.receive({ text: ["fit quality 0.93 (of 1)"] });
  assert.deepEqual(texts(), ["fit quality 0.93 (of 1)"]);
});

test("a node without a grade shows warnings alone, and none when there are none any more", () => {
  const node = makeNode();
  const report = bindReport(node, makeDocument(), false);
  report.receive({ text: [] });
  assert.equal(node.widgets.length, 0);
  report.receive({ text: ["the recording is silent"] });
  const texts = () => node.widgets[0].element.children.map((line) => line.textContent);
  assert.deepEqual(texts(), ["\u26a0 the recording is silent"]);
  report.receive({ images: [] }); // another kind of result
  assert.equal(texts().length, 1);
  report.receive({ text: [] });
  assert.deepEqual(texts(), []);
});

test("in Nodes 2.0 the widget is there from the start, without height", (t) => {
  globalThis.LiteGraph = { vueNodesMode: true };
  t.after(() => delete globalThis.LiteGraph);
  const node = makeNode();
  const report = bindReport(node, makeDocument());
  const [widget] = node.widgets;
  assert.equal(widget.options.getMinHeight(), 0);
  report.receive({ text: ["fit quality 0.61 (of 1)"] });
  assert.equal(node.widgets.length, 1);
  assert.equal(widget.options.getMinHeight(), heightOf(["fit quality 0.61 (of 1)"], 200));
});

test("lines of a result", () => {
  assert.deepEqual(linesOf({ text: "one" }), ["one"]);
  assert.deepEqual(linesOf({ text: ["a", " ", ""] }), ["a"]);
  assert.deepEqual(linesOf(null), []);
  assert.ok(heightOf(["x".repeat(200)]) > heightOf(["x"]));
  assert.ok(heightOf(["x".repeat(200)], 200) > heightOf(["x".repeat(200)], 400));
  assert.ok(heightOf(["\u7167".repeat(40)]) > heightOf(["x".repeat(40)]));
});
