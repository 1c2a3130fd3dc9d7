/** The camera picture as an element: pointer, touch and keyboard become changes of a camera, which `host` keeps. */

import { addKey, deleteKey, handlesOf, keyAction, slide, tilt, turn } from "./editing.mjs";
import { yawAt } from "./keyframes.mjs";
import {
  SIZE, TIMELINE, clamp, isOnRing, isOnTimeline, nearest, pointToYaw, snap, timeToX, toDrawing, xToTime, yToYaw, yawToY,
} from "./orbit.mjs";
import { draw, palette } from "./view.mjs";
import { say } from "./words.mjs";

const SHARPNESS = 2; // canvas pixels per unit of the drawing
const DOUBLE_MS = 350;
const DOUBLE_REACH = 8;
const HELP =
  "Camera around the person. Drag to set the yaw. Double click adds a keyframe, double click on a key removes it. " +
  "Arrow keys turn and tilt, with Shift by 10 degrees; Enter selects the next handle; Home goes to the front.";

/**
 * host: {read() -> {camera, duration, durationKnown, strip, image, hint, advice, locked, note, canKey}, write(camera),
 * begin(), end()}; begin and end enclose one step of undo. `locked`: nothing can be dragged, `note` says why; canKey: keys
 * can be stored; hint: where there is no picture of the person yet; advice: what a camera that stands still could do.
 */
export class CameraPanel {
  constructor(document, host) {
    this.host = host;
    this.selected = 0;
    this.playhead = 0;
    this.drag = null; // {kind: "handle" | "key" | "playhead", pointer}
    this.lastTap = null;
    this.scrubbed = false; // the playhead, not a handle, says which yaw is shown
    this.drawn = "";
    this.element = document.createElement("div");
    this.element.style.cssText = `width:100%;height:${SIZE.height}px;overflow:hidden`;
    this.canvas = document.createElement("canvas");
    this.canvas.width = SIZE.width * SHARPNESS;
    this.canvas.height = SIZE.height * SHARPNESS;
    this.canvas.style.cssText =
      "width:100%;height:100%;object-fit:contain;display:block;touch-action:none;cursor:grab;outline:none";
    this.canvas.tabIndex = 0;
    this.canvas.title = say(HELP);
    this.canvas.setAttribute("role", "slider");
    this.canvas.setAttribute("aria-label", say("camera yaw"));
    this.canvas.setAttribute("aria-valuemin", "-180");
    this.canvas.setAttribute("aria-valuemax", "180");
    this.element.append(this.canvas);
    this.listeners = {
      pointerdown: (event) => this.press(event),
      pointermove: (event) => this.move(event),
      pointerup: (event) => this.release(event),
      pointercancel: (event) => this.release(event),
      lostpointercapture: (event) => this.release(event),
      keydown: (event) => this.type(event),
      dblclick: (event) => event.stopPropagation(), // ours is two taps, so that touch has it too
      focus: () => this.refresh(),
      blur: () => this.refresh(),
    };
    for (const [name, listener] of Object.entries(this.listeners)) this.canvas.addEventListener(name, listener);
  }

  /** Stop listening; the element may be thrown away. */
  dispose() {
    this.finish();
    for (const [name, listener] of Object.entries(this.listeners)) this.canvas.removeEventListener(name, listener);
  }

  /** Draw again if anything that is seen has changed. */
  refresh() {
    const state = this.host.read();
    const handles = handlesOf(state.camera, state.duration);
    this.selected = clamp(this.selected, 0, handles.length - 1);
    this.playhead = clamp(this.playhead, 0, state.duration);
    const yaw = this.scrubbed ? yawAt(state.camera, this.playhead, state.duration) : handles[this.selected].yaw;
    const focused = this.canvas.ownerDocument?.activeElement === this.canvas;
    const scene = { ...state, handles, selected: this.selected, focused, shownYaw: yaw, playhead: this.playhead };
    const style = this.canvas.ownerDocument?.defaultView?.getComputedStyle?.(this.canvas);
    const colours = palette(style);
    const seen = JSON.stringify([{ ...scene, image: state.image?.src ?? null }, colours]);
    if (seen === this.drawn) return;
    this.drawn = seen;
    this.canvas.setAttribute("aria-valuenow", String(Math.round(yaw * 10) / 10));
    this.canvas.setAttribute("aria-valuetext", `${handles[this.selected].label}: ${yaw.toFixed(1)} degrees`);
    const context = this.canvas.getContext("2d");
    context.setTransform(SHARPNESS, 0, 0, SHARPNESS, 0, 0);
    draw(context, scene, colours);
  }

  place(event) {
    return toDrawing(event.clientX, event.clientY, this.canvas.getBoundingClientRect());
  }

  press(event) {
    if (event.button !== 0) return; // the middle button pans the graph, the right one opens its menu
    event.stopPropagation();
    const { camera, duration, locked } = this.host.read();
    const point = this.place(event);
    const handles = handlesOf(camera, duration);
    this.canvas.focus?.({ preventScroll: true });
    const again = this.isSecondTap(event, point);
    if (isOnTimeline(point)) this.pressTimeline(point, handles, again, locked, camera.mode);
    else if (isOnRing(point) && !locked) this.pressRing(point, handles, again);
    else return;
    if (this.drag) {
      this.drag.pointer = event.pointerId;
      this.canvas.setPointerCapture?.(event.pointerId);
      this.canvas.style.cursor = "grabbing";
    }
    event.preventDefault();
    this.refresh();
  }

  isSecondTap(event, point) {
    const now = event.timeStamp;
    const last = this.lastTap;
    const again = last !== null && now - last.now < DOUBLE_MS &&
      Math.hypot(point.x - last.x, point.y - last.y) < DOUBLE_REACH;
    this.lastTap = again ? null : { now, ...point };
    return again;
  }

  pressRing(point, handles, again) {
    const hit = nearest(point, handles);
    const yaw = pointToYaw(point);
    if (again) return this.addOrDelete(hit, this.playhead, yaw, handles);
    this.scrubbed = false;
    // a drag that starts beside every handle takes the nearest one along: nobody has to hit nine pixels with a finger
    this.selected = hit >= 0 ? hit : nearest(point, handles, Infinity);
    this.start("handle");
  }

  pressTimeline(point, handles, again, locked, mode) {
    const { duration } = this.host.read();
    const places = handles.map((h) => ({ x: timeToX(h.time, duration), y: yawToY(h.yaw) }));
    const hit = locked || mode === "fixed" ? -1 : nearest(point, places);
    const time = xToTime(point.x, duration);
    if (again && !locked) return this.addOrDelete(hit, time, yToYaw(point.y), handles);
    if (hit >= 0) {
      [this.selected, this.scrubbed] = [hit, false];
      this.start("key");
    } else {
      [this.playhead, this.scrubbed] = [time, true];
      this.drag = { kind: "playhead" };
    }
  }

  /** The second tap: on a key it goes, elsewhere one is added. */
  addOrDelete(hit, time, yaw, handles) {
    const { camera, canKey } = this.host.read();
    this.finish();
    if (yaw === null || !canKey) return;
    this.start("handle");
    if (hit >= 0 && camera.mode === "keyframes" && handles.length > 1) {
      this.change((before) => deleteKey(before, hit));
      this.finish();
      return;
    }
    this.change((before, duration) => {
      const added = addKey(before, time, snap(yaw, 1), duration);
      [this.selected, this.scrubbed] = [added.index, false];
      return added.camera;
    });
  }

  move(event) {
    if (!this.drag || event.pointerId !== this.drag.pointer) return;
    event.stopPropagation();
    const point = this.place(event);
    const step = event.shiftKey ? 15 : 1;
    const yaw = pointToYaw(point);
    if (this.drag.kind === "playhead") this.playhead = xToTime(point.x, this.host.read().duration);
    else if (this.drag.kind === "handle" && yaw !== null) {
      this.change((camera) => turn(camera, this.selected, snap(yaw, step)));
    } else if (this.drag.kind === "key") {
      const height = clamp(point.y, TIMELINE.y, TIMELINE.y + TIMELINE.height);
      this.change((camera, duration) => {
        const place = { time: xToTime(point.x, duration), yaw: snap(yToYaw(height), step) };
        return slide(camera, this.selected, place, duration);
      });
    }
    this.refresh();
  }

  release(event) {
    if (!this.drag || event.pointerId !== this.drag.pointer) return;
    event.stopPropagation();
    this.finish();
    this.refresh();
  }

  type(event) {
    const action = keyAction(event);
    if (!action) return;
    event.stopPropagation(); // Delete would remove the whole node, arrows would move it
    event.preventDefault();
    const { camera, duration, locked } = this.host.read();
    const handles = handlesOf(camera, duration);
    this.scrubbed = false;
    if (action.next) this.selected = (this.selected + 1) % handles.length;
    else if (!locked) {
      this.start("keyboard");
      const yaw = handles[this.selected].yaw;
      if (action.turn) this.change((before) => turn(before, this.selected, yaw + action.turn));
      if (action.front) this.change((before) => turn(before, this.selected, 0));
      if (action.tilt) this.change((before) => tilt(before, before.pitch + action.tilt));
      if (action.delete) this.change((before) => deleteKey(before, this.selected));
      this.finish();
    }
    this.refresh();
  }

  start(kind) {
    this.finish();
    this.drag = { kind };
    this.host.begin();
  }

  /** End the running drag, and with it one step of undo. */
  finish() {
    const kind = this.drag?.kind;
    this.drag = null;
    this.canvas.style.cursor = "grab";
    if (kind && kind !== "playhead") this.host.end();
  }

  change(edit) {
    const { camera, duration } = this.host.read();
    const after = edit(camera, duration);
    if (JSON.stringify(after) !== JSON.stringify(camera)) this.host.write(after);
  }
}
