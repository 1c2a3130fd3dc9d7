/** Between a node's ordinary widgets and a camera: reads them, writes them the way ComfyUI does, takes the node's results. */

import { formatKeys, parseKeys } from "./keyframes.mjs";
import { holderOf } from "./outer.mjs";
import { say } from "./words.mjs";

const PATHS = { fixed: "fixed", orbit: "orbit", "orbit (ease in and out)": "orbit", keyframes: "keyframes" };
const UNKNOWN_LENGTH = 4; // s on the time line before the node has run
export const KEPT = "stereotalker_turntable"; // property of a node: the file of its last strip, saved with the graph

/** The name of a node in ComfyUI's table of results: its id, inside a subgraph with the subgraph's. */
export function locatorOf(node) {
  const root = node.graph?.rootGraph;
  return root && root !== node.graph ? `${node.graph.id}:${node.id}` : node.id;
}

/** A new node repeats its result: a graph that is loaded sets what it has saved after this. */
export function fixSeed(node) {
  const control = node.widgets?.find((one) => one.name === "control_after_generate");
  if (control) control.value = "fixed";
}

/**
 * Host of a CameraPanel for a node. `app` is ComfyUI's; `url` makes an address of a server path; `makeImage` an
 * HTMLImageElement. A node without `path` has `orbit` (true or false), and its keyframes count
 * where there are any; widgets that it lacks are left out.
 */
export function bindCamera(node, app, url, makeImage = () => new Image()) {
  const holder = (name) => holderOf(node, name, node.graph?.rootGraph ?? app.graph); // maybe outside of a subgraph
  const widget = (name) => holder(name).widget;
  const value = (name, otherwise) => widget(name)?.value ?? otherwise;
  const isLinked = (name) => holder(name).linked;
  const result = { duration: null, strip: null, image: null, address: "", lost: "" };

  function mode() {
    if (!widget("path")) return String(value("keyframes", "")).trim() ? "keyframes" : value("orbit", false) ? "orbit" : "fixed";
    return PATHS[value("path")] ?? "fixed";
  }

  function set(name, wanted) {
    const { node: owner, widget: target } = holder(name);
    if (!target || target.value === wanted) return;
    target.value = wanted;
    target.callback?.(wanted, app.canvas, owner);
    node.graph?.setDirtyCanvas?.(true, true);
  }

  function setMode(wanted) {
    if (wanted === mode()) return;
    if (widget("path")) set("path", wanted);
    else if (wanted !== "keyframes") set("orbit", wanted === "orbit"); // there, the text of the keys is the mode
  }

  const host = {
    onChange: null,

    read() {
      // undo, tabs, reload and paste make the node anew: ComfyUI keeps its results, the graph the name of the strip
      take(app.nodeOutputs?.[locatorOf(node)]?.stereotalker_turntable?.[0] ?? node.properties?.[KEPT]);
      const duration = result.duration ?? UNKNOWN_LENGTH;
      const { keys, error } = parseKeys(value("keyframes", ""), duration);
      const number = (name) => Number(value(name, 0)) || 0;
      const camera = {
        mode: mode(),
        ease: String(value("path", "")).includes("ease"),
        yaw: number("yaw"),
        endYaw: number("end_yaw"),
        pitch: number("pitch"),
        keys,
      };
      const linked = ["yaw", "camera_info", "keyframes", "path"].some(isLinked);
      const unreadable = camera.mode === "keyframes" ? error : null; // a drag would write the text without that entry
      const locked = linked || unreadable !== null;
      const note = linked ? say("set by a linked node") : unreadable;
      const durationKnown = result.duration !== null;
      const { strip, image } = result;
      const hint = [say("run once to see"), say("the person here")];
      const canKey = Boolean(widget("keyframes"));
      const advice = say(canKey ? "double click the circle: keyframes" : "switch orbit on to move the camera");
      return { camera, duration, durationKnown, strip, image, hint, advice, locked, note, canKey };
    },

    write(camera) {
      setMode(camera.mode);
      set("yaw", camera.yaw);
      set("end_yaw", camera.endYaw);
      set("pitch", camera.pitch);
      if (camera.mode === "keyframes") set("keyframes", formatKeys(camera.keys, result.duration ?? UNKNOWN_LENGTH));
      host.onChange?.();
    },

    /** Grey out the yaw of an orbit's end while there is no orbit. */
    grey() {
      const { widget: target } = holder("end_yaw");
      const off = mode() !== "orbit";
      if (!target || Boolean(target.disabled) === off) return;
      target.disabled = off;
      if (target.options) target.options.disabled = off; // Nodes 2.0 looks here
      node.graph?.setDirtyCanvas?.(true, true);
    },

    begin: () => app.canvas?.emitBeforeChange?.(),
    end: () => app.canvas?.emitAfterChange?.(),

    /** Take a result of the node: the strip is fetched once, the camera moves over it without asking the server. */
    receive(output) {
      result.lost = ""; // a file that was gone may have been made again
      take(output?.stereotalker_turntable?.[0]);
    },
  };

  /** Show a strip, if it is another one, and remember its file in the graph: the person is there after a reload. */
  function take(strip) {
    if (!strip) return;
    result.duration = Math.max(1, strip.frames - 1) / strip.fps; // the moment of the last frame
    const where = new URLSearchParams({ filename: strip.filename, subfolder: strip.subfolder ?? "", type: strip.type });
    const address = url(`/view?${where}`);
    keep(strip);
    if (address === result.address || address === result.lost) return;
    result.address = address;
    const image = makeImage();
    image.onload = () => {
      if (address !== result.address) return; // a newer one was asked for meanwhile
      Object.assign(result, { strip, image });
      host.onChange?.();
    };
    image.onerror = () => {
      if (address === result.address) Object.assign(result, { address: "", lost: address }); // not asked for again
    };
    image.src = address;
  }

  function keep(strip) {
    const properties = (node.properties ??= {});
    if (JSON.stringify(properties[KEPT]) !== JSON.stringify(strip)) properties[KEPT] = { ...strip };
  }

  return host;
}
