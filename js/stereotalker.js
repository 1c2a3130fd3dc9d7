/**
 * Adds the camera picture and the report of a run to Stereo-Talker's nodes; new seeds are fixed. The nodes' ordinary widgets
 * hold the truth; the picture mirrors them.
 */

import { api } from "../../scripts/api.js";
import { app } from "../../scripts/app.js";
import { bindCamera, fixSeed, locatorOf } from "./binding.mjs";
import { paintSockets } from "./colours.mjs";
import { SIZE } from "./orbit.mjs";
import { explainErrors, labelChoices } from "./messages.mjs";
import { CameraPanel } from "./panel.mjs";
import { bindReport } from "./report.mjs";
import { addUpload } from "./upload.mjs";
import { setLanguage } from "./words.mjs";

const NODES = ["StereoTalkerCameraTrajectory", "StereoTalker"];
const GRADED = ["StereoTalkerFitPortrait", "StereoTalker"]; // their first line is the quality of the fit
const UPLOADS = {
  StereoTalkerLoadMotion: ["motion_file", ".safetensors,.npz,.csv,.bvh"],
  StereoTalkerLoadIdentity: ["identity_file", ".safetensors"],
};
const MARGIN = 20; // that the classic renderer leaves around elements, both sides together
const ROW = 24; // a widget with the space below it
const POLL_MS = 150; // undo, promoted widgets and links change values without telling anyone

/** Pictures of removed nodes, by node id. */
const orphans = new Map();

/**
 * Undo and a change of the workflow make nodes anew, but Nodes 2.0 keeps a component whose node id stayed the same, with
 * the picture of the removed node in it: put the living one in its place.
 */
function takeOver(node, element) {
  const orphan = orphans.get(node.id);
  if (element.isConnected || !orphan?.isConnected) return;
  orphan.replaceWith(element);
  orphans.delete(node.id);
}

function attach(node) {
  const host = bindCamera(node, app, (path) => api.apiURL(path));
  const panel = new CameraPanel(document, host);
  const widget = node.addDOMWidget("camera_view", "STEREOTALKER_CAMERA", panel.element, {
    serialize: false,
    hideOnZoom: false,
    getMinHeight: () => SIZE.height + MARGIN,
    getMaxHeight: () => SIZE.height + MARGIN,
  });
  widget.serialize = false;
  putFirst(node, widget);
  makeRoom(node);
  host.onChange = () => panel.refresh();
  const timer = setInterval(() => {
    takeOver(node, panel.element);
    host.grey();
    if (panel.element.isConnected) panel.refresh();
  }, POLL_MS);
  const executed = node.onExecuted;
  node.onExecuted = function (output) {
    executed?.apply(this, arguments);
    host.receive(output);
  };
  const removed = node.onRemoved;
  node.onRemoved = function () {
    removed?.apply(this, arguments);
    clearInterval(timer);
    panel.dispose();
    if (panel.element.isConnected) orphans.set(node.id, panel.element);
  };
  forwardToGraph(panel.canvas);
  panel.refresh();
}

/**
 * The picture stands above the numbers. ComfyUI saves values by the place of their widget and leaves a hole for one that is
 * not saved, but reads them without holes: closed, files are as they were with the picture below.
 */
function putFirst(node, widget) {
  node.widgets.splice(node.widgets.indexOf(widget), 1);
  node.widgets.unshift(widget);
  const serialize = node.onSerialize;
  node.onSerialize = function (data) {
    serialize?.apply(this, arguments);
    const values = data.widgets_values;
    if (Array.isArray(values) && node.widgets?.[0] === widget && !(0 in values)) values.shift();
  };
}

/** Shows what a node says, after a run, also a failed one, and when the node is made anew while ComfyUI keeps its results. */
function report(node) {
  const text = bindReport(node, document, GRADED.includes(node.comfyClass));
  const executed = node.onExecuted;
  node.onExecuted = function (output) {
    executed?.apply(this, arguments);
    text.receive(output);
  };
  const configured = node.onConfigure;
  node.onConfigure = function () {
    configured?.apply(this, arguments);
    text.receive(app.nodeOutputs?.[locatorOf(node)]);
  };
  const failed = ({ detail }) => text.fail(detail);
  api.addEventListener("execution_error", failed);
  const removed = node.onRemoved;
  node.onRemoved = function () {
    removed?.apply(this, arguments);
    api.removeEventListener("execution_error", failed);
  };
}

/**
 * ComfyUI has chosen the new node's size already: let it hold the picture, as wide as it is drawn. Nodes 2.0 folds away what
 * is marked as advanced, and would stretch the rest over the room that was counted for it.
 */
function makeRoom(node) {
  const [width, height] = node.computeSize();
  const folded = globalThis.LiteGraph?.vueNodesMode ? node.widgets.filter((one) => one.options?.advanced).length : 0;
  const tall = folded ? height - ROW * folded : Math.max(node.size[1], height);
  node.setSize([Math.max(node.size[0], width, SIZE.width + MARGIN), tall]);
}

/** In the classic renderer an element on a node hides the graph below it: hand over the wheel and the middle button. */
function forwardToGraph(canvas) {
  const classic = () => !globalThis.LiteGraph?.vueNodesMode;
  canvas.addEventListener("wheel", (event) => classic() && app.canvas.processMouseWheel(event), { passive: false });
  canvas.addEventListener("pointerdown", (e) => classic() && e.button === 1 && app.canvas.processMouseDown(e));
  canvas.addEventListener("pointermove", (e) => classic() && e.buttons & 4 && app.canvas.processMouseMove(e));
  canvas.addEventListener("pointerup", (e) => classic() && e.button === 1 && app.canvas.processMouseUp(e));
}

app.registerExtension({
  name: "StereoTalker.Camera",
  init() {
    setLanguage(app.ui?.settings?.getSettingValue?.("Comfy.Locale"));
  },
  setup() {
    paintSockets(app, globalThis.LGraphCanvas, document);
    explainErrors(api, app);
  },
  nodeCreated(node) {
    if (node.comfyClass?.startsWith("StereoTalker")) {
      fixSeed(node);
      labelChoices(node);
      report(node);
    }
    if (NODES.includes(node.comfyClass)) attach(node);
    const upload = UPLOADS[node.comfyClass];
    if (upload) addUpload(node, ...upload, api, app, document);
  },
});
