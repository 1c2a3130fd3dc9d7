/**
 * What the hand does to a camera: turn a handle, add, move and delete keys. Pure functions; nothing is drawn here.
 *
 * A camera is {mode: "fixed" | "orbit" | "keyframes", ease, yaw, endYaw, pitch, keys}. Its handles are the places on the
 * circle that can be dragged: the camera; start and end of an orbit; or one for every key.
 */

import { freeTime, moveKey, putKey, removeKey } from "./keyframes.mjs";
import { clamp, wrapYaw, yawToPoint } from "./orbit.mjs";

export const PITCH_LIMIT = 45;

/** [{label, yaw, time (s), x, y}] in the order in which they are reached by keyboard. */
export function handlesOf(camera, duration) {
  const handle = (label, yaw, time) => ({ label, yaw, time, ...yawToPoint(yaw) });
  if (camera.mode === "keyframes" && camera.keys.length) {
    return camera.keys.map((key, i) => handle(String(i + 1), key.yaw, key.time));
  }
  const start = handle(camera.mode === "orbit" ? "start" : "camera", camera.yaw, 0);
  return camera.mode === "orbit" ? [start, handle("end", camera.endYaw, duration)] : [start];
}

/** The camera with handle `index` at another yaw. */
export function turn(camera, index, yaw) {
  const to = wrapYaw(yaw);
  if (camera.mode === "keyframes" && camera.keys.length) {
    return { ...camera, keys: camera.keys.map((key, i) => (i === index ? { ...key, yaw: to } : key)) };
  }
  if (camera.mode === "keyframes") return { ...camera, yaw: to, keys: putKey([], 0, to).keys };
  return index === 1 ? { ...camera, endYaw: to } : { ...camera, yaw: to };
}

export function tilt(camera, pitch) {
  return { ...camera, pitch: clamp(pitch, -PITCH_LIMIT, PITCH_LIMIT) };
}

/**
 * Add a key -> {camera, index of the key}; where there is one at `time` already, at a free moment. A fixed camera or an
 * orbit first becomes the keys that it stands for.
 */
export function addKey(camera, time, yaw, duration) {
  let keys = camera.mode === "keyframes" ? camera.keys : putKey([], 0, camera.yaw).keys;
  if (camera.mode === "orbit") keys = putKey(keys, duration, camera.endYaw).keys;
  const put = putKey(keys, freeTime(keys, clamp(time, 0, duration), duration), wrapYaw(yaw));
  return { camera: { ...camera, mode: "keyframes", keys: put.keys }, index: put.index };
}

/** The camera without key `index`; the last key stays. */
export function deleteKey(camera, index) {
  if (camera.mode !== "keyframes" || camera.keys.length < 2) return camera;
  return { ...camera, keys: removeKey(camera.keys, index) };
}

/** Drag handle `index` on the time line to {time, yaw}: keys move in time; start and end of an orbit keep theirs. */
export function slide(camera, index, place, duration) {
  if (camera.mode === "keyframes" && camera.keys.length) {
    return { ...camera, keys: moveKey(camera.keys, index, place, duration) };
  }
  return turn(camera, index, place.yaw);
}

/** What a key press does: {turn, tilt (degrees), next, delete} or null for a key that is not ours. */
export function keyAction({ key, shiftKey, ctrlKey, metaKey, altKey }) {
  if (ctrlKey || metaKey || altKey) return null;
  const step = shiftKey ? 10 : 1;
  // the handle moves the way the arrow points while the camera is in front: left on the page is positive yaw
  const actions = {
    ArrowLeft: { turn: step },
    ArrowRight: { turn: -step },
    ArrowUp: { tilt: step },
    ArrowDown: { tilt: -step },
    Enter: { next: true },
    " ": { next: true },
    Home: { front: true },
    Delete: { delete: true },
    Backspace: { delete: true },
  };
  return actions[key] ?? null;
}
