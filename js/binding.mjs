/** Between a node's ordinary widgets and a camera: reads them, writes them the way ComfyUI does, takes the node's results. */

import { formatKeys, parseKeys } from "./keyframes.mjs";

const PATHS = { fixed: "fixed", orbit: "orbit", "orbit (ease in and out)": "orbit", keyframes: "keyframes" };
const UNKNOWN_LENGTH = 4; // s on the time line before the node has run

/**
 * Host of a CameraPanel for a node. `app` is ComfyUI's; `url` makes an address of a server path; `makeImage` an
 * HTMLImageElement. A node without `path` has `orbit` (true or false); widgets that it lacks are left out.
 */
export function bindCamera(node, app, url, makeImage = () => new Image()) {
  const widget = (name) => node.widgets?.find((one) => one.name === name);
  const value = (name, otherwise) => widget(name)?.value ?? otherwise;
  const isLinked = (name) => node.inputs?.some((slot) => (slot.widget?.name ?? slot.name) === name && slot.link != null);
  const result = { duration: null, strip: null, image: null, address: "" };

  function mode() {
    if (!widget("path")) return value("orbit", false) ? "orbit" : "fixed";
    return PATHS[value("path")] ?? "fixed";
  }

  function set(name, wanted) {
    const target = widget(name);
    if (!target || target.value === wanted) return;
    target.value = wanted;
    target.callback?.(wanted, app.canvas, node);
    node.graph?.setDirtyCanvas?.(true, true);
  }

  function setMode(wanted) {
    if (wanted === mode()) return;
    if (widget("path")) set("path", wanted);
    else set("orbit", wanted === "orbit");
  }

  const host = {
    onChange: null,

    read() {
      host.receive(app.nodeOutputs?.[node.id]); // undo and tab switches make the node anew, ComfyUI keeps its results
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
      const note = linked ? "set by a linked node" : unreadable;
      const durationKnown = result.duration !== null;
      const { strip, image } = result;
      const hint = ["run once to see", "the person here"];
      const canKey = Boolean(widget("keyframes"));
      const advice = canKey ? "double click the circle: keyframes" : "switch orbit on to move the camera";
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

    begin: () => app.canvas?.emitBeforeChange?.(),
    end: () => app.canvas?.emitAfterChange?.(),

    /** Take a result of the node: the strip is fetched once, the camera moves over it without asking the server. */
    receive(output) {
      const strip = output?.stereotalker_turntable?.[0];
      if (!strip) return;
      result.duration = Math.max(1, strip.frames - 1) / strip.fps; // the moment of the last frame
      const where = new URLSearchParams({ filename: strip.filename, subfolder: strip.subfolder ?? "", type: strip.type });
      const address = url(`/view?${where}`);
      if (address === result.address) return;
      result.address = address;
      const image = makeImage();
      image.onload = () => {
        Object.assign(result, { strip, image });
        host.onChange?.();
      };
      image.src = address;
    },
  };
  return host;
}
