/**
 * Keyframes of a camera: text <-> list, editing, and the yaw at a moment.
 *
 * A key is {time (s), yaw, pitch (degrees), distance (factor), unit}. The text is `0%: -40, 1.5s: 20 5 1.1`: a place in
 * the clip in percent or seconds, then yaw [pitch [distance]]; keys apart by ",", ";" or a new line, as the node's
 * `keyframes` input reads it. Lists are never changed in place.
 */

import { say } from "./words.mjs";

const NEAR = 0.02; // s; half a frame: two keys cannot be closer
const ENTRY = /^([^:\s]+?)\s*(%|s)\s*:\s*([^:]+)$/;

/** Text -> {keys by time, error} for a clip of `duration` s. Unreadable entries are left out, `error` names the last. */
export function parseKeys(text, duration) {
  const keys = [];
  let error = null;
  for (const entry of String(text ?? "").split(/[,;\n]/).map((part) => part.trim())) {
    if (!entry) continue;
    const [, at, unit, rest] = ENTRY.exec(entry) ?? [];
    const numbers = at ? [at, ...rest.trim().split(/\s+/)].map(Number) : [];
    if (numbers.length < 2 || numbers.length > 4 || !numbers.every(Number.isFinite) || numbers[0] < 0) {
      error = say('cannot read "{0}"', entry);
      continue;
    }
    const time = unit === "%" ? (numbers[0] / 100) * duration : numbers[0];
    keys.push({ time, yaw: numbers[1], pitch: numbers[2] ?? null, distance: numbers[3] ?? null, unit });
  }
  return { keys: keys.sort((a, b) => a.time - b.time), error };
}

const number = (value) => String(Math.round(value * 100) / 100);

/** List -> text. Pitch and distance appear where a key has them. */
export function formatKeys(keys, duration) {
  return keys
    .map(({ time, yaw, pitch, distance, unit }) => {
      const place = unit === "%" ? `${number((100 * time) / duration)}%` : `${number(time)}s`;
      const values = [yaw];
      if (pitch !== null || distance !== null) values.push(pitch ?? 0);
      if (distance !== null) values.push(distance);
      return `${place}: ${values.map(number).join(" ")}`;
    })
    .join(", ");
}

/** A key at {time, yaw}: replaces the yaw of a key that is there already. -> {keys, index of that key}. */
export function putKey(keys, time, yaw) {
  const there = keys.findIndex((key) => Math.abs(key.time - time) <= NEAR);
  const changed = there >= 0
    ? keys.map((key, i) => (i === there ? { ...key, yaw } : key))
    : [...keys, { time, yaw, pitch: null, distance: null, unit: "%" }].sort((a, b) => a.time - b.time);
  return { keys: changed, index: changed.findIndex((key) => Math.abs(key.time - time) <= NEAR) };
}

/** A moment without a key: the wanted one, else the end of the clip, else the middle of the widest gap. */
export function freeTime(keys, wanted, duration) {
  const taken = (time) => keys.some((key) => Math.abs(key.time - time) <= NEAR * 2);
  if (!taken(wanted)) return wanted;
  if (!taken(duration) && keys[keys.length - 1].time < duration) return duration;
  const gaps = keys.slice(1).map((key, i) => ({ middle: (key.time + keys[i].time) / 2, width: key.time - keys[i].time }));
  return gaps.reduce((widest, gap) => (gap.width > widest.width ? gap : widest), { middle: wanted, width: 0 }).middle;
}

/** Move key `index` to {time, yaw}; it cannot pass its neighbours or leave 0..duration. */
export function moveKey(keys, index, { time, yaw }, duration) {
  const low = index > 0 ? keys[index - 1].time + NEAR * 2 : 0;
  const high = index < keys.length - 1 ? keys[index + 1].time - NEAR * 2 : duration;
  const wanted = time ?? keys[index].time;
  const moment = high < low ? keys[index].time : Math.min(high, Math.max(low, wanted));
  return keys.map((key, i) => (i === index ? { ...key, time: moment, yaw: yaw ?? key.yaw } : key));
}

export function removeKey(keys, index) {
  return keys.filter((_, i) => i !== index);
}

/** Tangents of the monotone cubic (Fritsch and Carlson 1980) through the keys, level at both ends. */
function tangents(times, values) {
  const steps = times.slice(1).map((t, i) => t - times[i]);
  const slopes = steps.map((step, i) => (values[i + 1] - values[i]) / step);
  return values.map((_, i) => {
    const [before, after] = [slopes[i - 1], slopes[i]];
    if (before === undefined || after === undefined || before * after <= 0) return 0;
    const w1 = 2 * steps[i] + steps[i - 1];
    const w2 = steps[i] + 2 * steps[i - 1];
    return (w1 + w2) / (w1 / before + w2 / after);
  });
}

/** Yaw at a moment, as the node computes it: smooth, no overshoot, constant outside the keys. Needs one key. */
export function yawOfKeys(keys, time) {
  if (!keys.length) throw new RangeError("a keyframed camera needs at least one key");
  const last = keys.length - 1;
  if (time <= keys[0].time) return keys[0].yaw;
  if (time >= keys[last].time) return keys[last].yaw;
  const times = keys.map((key) => key.time);
  const values = keys.map((key) => key.yaw);
  const slope = tangents(times, values);
  const i = times.findIndex((t, k) => t <= time && time < times[k + 1]);
  const width = times[i + 1] - times[i];
  const t = (time - times[i]) / width;
  const [h00, h10] = [(1 + 2 * t) * (1 - t) ** 2, t * (1 - t) ** 2];
  const [h01, h11] = [t * t * (3 - 2 * t), t * t * (t - 1)];
  return h00 * values[i] + h10 * width * slope[i] + h01 * values[i + 1] + h11 * width * slope[i + 1];
}

/** Yaw at a moment of any camera {mode: fixed | orbit | keyframes, ease, yaw, endYaw, keys} that lasts `duration` s. */
export function yawAt(camera, time, duration) {
  if (camera.mode === "keyframes" && camera.keys.length) return yawOfKeys(camera.keys, time);
  if (camera.mode !== "orbit") return camera.yaw;
  const t = Math.min(1, Math.max(0, time / duration));
  return camera.yaw + (camera.endYaw - camera.yaw) * (camera.ease ? t * t * (3 - 2 * t) : t);
}
