/**
 * Geometry of the camera picture: a circle of camera places around a person who looks down the page, and a time line.
 *
 * Everything here is a pure function over numbers. Lengths are in units of the drawing (SIZE), y down; yaw in signed
 * degrees: 0 = front (bottom of the circle), positive = towards the subject's right side (left of the picture).
 */

export const SIZE = { width: 320, height: 252 };
export const RING = { x: 96, y: 94, radius: 68 };
export const PICTURE = { x: 194, y: 8, size: 118 };
export const TIMELINE = { x: 12, y: 200, width: 296, height: 44 };
export const TRAINED = 90;
const GRAB = 14;

/** Signed degrees in -180..180; -180 stays -180. */
export function wrapYaw(yaw) {
  if (!Number.isFinite(yaw)) throw new RangeError(`yaw ${yaw} is not a number of degrees`);
  if (yaw >= -180 && yaw <= 180) return yaw;
  return ((((yaw + 180) % 360) + 360) % 360) - 180;
}

export function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

/** Nearest multiple of `step` degrees, without a negative zero. */
export function snap(value, step) {
  return Math.round(value / step) * step + 0;
}

/** Place of a camera at `yaw` on the circle. */
export function yawToPoint(yaw, ring = RING) {
  const angle = (yaw * Math.PI) / 180;
  return { x: ring.x - ring.radius * Math.sin(angle), y: ring.y + ring.radius * Math.cos(angle) };
}

/** Yaw of the direction from the person to a point; null at the person itself. */
export function pointToYaw(point, ring = RING) {
  const right = ring.x - point.x;
  const front = point.y - ring.y;
  if (Math.hypot(right, front) < 4) return null;
  return (Math.atan2(right, front) * 180) / Math.PI;
}

/** Mouse or touch place -> drawing units, for a canvas fitted into `rect` with its shape kept (object-fit: contain). */
export function toDrawing(clientX, clientY, rect, size = SIZE) {
  const scale = Math.min(rect.width / size.width, rect.height / size.height) || 1;
  const left = rect.left + (rect.width - size.width * scale) / 2;
  const top = rect.top + (rect.height - size.height * scale) / 2;
  return { x: (clientX - left) / scale, y: (clientY - top) / scale };
}

export function isOnRing(point, ring = RING) {
  return Math.hypot(point.x - ring.x, point.y - ring.y) <= ring.radius + GRAB;
}

export function isOnTimeline(point, line = TIMELINE) {
  return point.x >= line.x - GRAB && point.x <= line.x + line.width + GRAB && point.y >= line.y - 4;
}

/** Index of the handle {x, y} nearest to the point, or -1 when none is within reach. Of equals the later one wins. */
export function nearest(point, handles, reach = GRAB) {
  let found = -1;
  let least = reach;
  handles.forEach((handle, index) => {
    const distance = Math.hypot(point.x - handle.x, point.y - handle.y);
    if (distance <= least) [found, least] = [index, distance];
  });
  return found;
}

export function timeToX(seconds, duration, line = TIMELINE) {
  return line.x + (clamp(seconds, 0, duration) / duration) * line.width;
}

export function xToTime(x, duration, line = TIMELINE) {
  return clamp((x - line.x) / line.width, 0, 1) * duration;
}

/** Height of a yaw on the time line: the trained range fills it, +90 at the top. */
export function yawToY(yaw, line = TIMELINE) {
  return line.y + ((1 - clamp(yaw / TRAINED, -1, 1)) / 2) * line.height;
}

export function yToYaw(y, line = TIMELINE) {
  return clamp(1 - (2 * (y - line.y)) / line.height, -1, 1) * TRAINED;
}

/** Column of the turntable strip {count, yaw_min, yaw_max} that shows a yaw; the nearest end outside its range. */
export function stripColumn(yaw, strip) {
  if (strip.count < 2) return 0;
  const place = ((yaw - strip.yaw_min) / (strip.yaw_max - strip.yaw_min)) * (strip.count - 1);
  return clamp(Math.round(place), 0, strip.count - 1);
}
