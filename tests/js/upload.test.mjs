import assert from "node:assert/strict";
import test from "node:test";

import { addUpload } from "../../js/upload.mjs";

function make(answer) {
  const sent = [];
  const said = [];
  const chosen = [];
  const list = { name: "motion_file", value: "a.npz", options: { values: ["a.npz"] }, callback: (v) => chosen.push(v) };
  const node = {
    widgets: [list],
    addWidget: (kind, name, value, callback, options) => {
      node.widgets.push({ kind, name, value, callback, options });
      return node.widgets.at(-1);
    },
  };
  const api = { fetchApi: async (path, request) => (sent.push([path, request.method, request.body]), answer) };
  const app = { extensionManager: { toast: { add: (row) => said.push(row.detail) } } };
  const { send } = addUpload(node, "motion_file", ".npz,.bvh", api, app, {});
  return { node, list, sent, said, chosen, send };
}

const stored = { status: 200, json: async () => ({ name: "walk (1).bvh", subfolder: "" }) };

test("an uploaded file is in the list and chosen; the button is not saved", async () => {
  const { node, list, sent, chosen, send } = make(stored);
  await send(new File(["HIERARCHY"], "walk.BVH"));
  assert.deepEqual([sent[0][0], sent[0][1]], ["/upload/image", "POST"]);
  assert.equal(sent[0][2].get("image").name, "walk.BVH");
  assert.equal(list.value, "walk (1).bvh"); // as the server has named it
  assert.deepEqual(list.options.values, ["a.npz", "walk (1).bvh"]);
  assert.deepEqual(chosen, ["walk (1).bvh"]);
  assert.deepEqual([node.widgets[1].serialize, node.widgets[1].options.serialize], [false, false]);
});

test("other files are not sent, and a refusal is said", async () => {
  const wrong = make(stored);
  await wrong.send(new File(["x"], "walk.exe"));
  assert.equal(wrong.sent.length, 0);
  assert.match(wrong.said[0], /walk.exe is none of .npz .bvh/);
  const full = make({ status: 413, statusText: "too large" });
  await full.send(new File(["x"], "walk.npz"));
  assert.match(full.said[0], /413 too large/);
  assert.equal(full.list.value, "a.npz");
});
