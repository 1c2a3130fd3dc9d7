/** Draws the camera picture: circle, person from above, handles, the person as seen, time line. Reads, never changes. */

import { PICTURE, RING, SIZE, TIMELINE, TRAINED, stripColumn, timeToX, yawToPoint, yawToY } from "./orbit.mjs";
import { yawAt } from "./keyframes.mjs";
import { say } from "./words.mjs";

const FONT = "11px system-ui, sans-serif";
export const FALLBACK = { ink: "#ddd", faint: "#8a8a8a", ground: "#26282c", line: "#4a4d55", accent: "#4aa3ff", end: "#ff9f43" };

/** Colours of ComfyUI's theme at an element. */
export function palette(style) {
  const read = (name, fallback) => style?.getPropertyValue(name)?.trim() || fallback;
  return {
    ...FALLBACK,
    ink: read("--input-text", FALLBACK.ink),
    faint: read("--descrip-text", FALLBACK.faint),
    ground: read("--comfy-input-bg", FALLBACK.ground),
    line: read("--border-color", FALLBACK.line),
  };
}

/**
 * scene: {camera, handles, selected, focused, shownYaw, playhead (s), duration (s), durationKnown, strip, image, hint,
 * advice, note}.
 * Returns nothing; the whole canvas is drawn again.
 */
export function draw(context, scene, colours) {
  context.clearRect(0, 0, SIZE.width, SIZE.height);
  context.fillStyle = colours.ground;
  context.beginPath();
  context.roundRect(0, 0, SIZE.width, SIZE.height, 8);
  context.fill();
  context.font = FONT;
  context.lineCap = "round";
  drawCircle(context, colours);
  drawPerson(context, colours);
  drawSweep(context, scene, colours);
  scene.handles.forEach((handle, index) => drawHandle(context, handle, index, scene, colours));
  drawPicture(context, scene, colours);
  drawTimeline(context, scene, colours);
  drawNumbers(context, scene, colours);
}

function arc(context, from, to) {
  // canvas angles run clockwise from the right; yaw runs clockwise from the bottom
  context.beginPath();
  context.arc(RING.x, RING.y, RING.radius, ((90 + from) * Math.PI) / 180, ((90 + to) * Math.PI) / 180, to < from);
  context.stroke();
}

function text(context, words, x, y, colour, align = "left") {
  context.fillStyle = colour;
  context.textAlign = align;
  context.fillText(words, x, y);
}

function drawCircle(context, colours) {
  context.strokeStyle = colours.line;
  context.lineWidth = 1.5;
  arc(context, -180, 180);
  context.lineWidth = 5;
  arc(context, -TRAINED, TRAINED);
  for (let yaw = -90; yaw <= 90; yaw += 30) {
    const { x, y } = yawToPoint(yaw, { ...RING, radius: RING.radius - 9 });
    context.fillStyle = colours.faint;
    context.fillRect(x - 1, y - 1, 2, 2);
  }
  text(context, say("front"), RING.x, RING.y + RING.radius + 22, colours.faint, "center");
  text(context, "+90", RING.x - RING.radius - 24, RING.y - 8, colours.faint);
  text(context, "-90", RING.x + RING.radius + 8, RING.y - 8, colours.faint);
}

/** From above, looking down the page: shoulders, head, nose. */
function drawPerson(context, colours) {
  const { x, y } = RING;
  context.fillStyle = colours.line;
  context.beginPath();
  context.ellipse(x, y, 26, 11, 0, 0, 2 * Math.PI);
  context.fill();
  context.fillStyle = colours.faint;
  context.beginPath();
  context.ellipse(x, y + 2, 10, 12, 0, 0, 2 * Math.PI);
  context.fill();
  context.beginPath();
  context.moveTo(x - 4, y + 12);
  context.lineTo(x, y + 19);
  context.lineTo(x + 4, y + 12);
  context.fill();
}

/** Where the camera goes during the clip, and where it is at the playhead. */
function drawSweep(context, { camera, duration, playhead }, colours) {
  if (camera.mode !== "fixed") {
    context.strokeStyle = colours.accent;
    context.globalAlpha = 0.45;
    context.lineWidth = 5;
    context.beginPath();
    for (let i = 0; i <= 60; i += 1) {
      const { x, y } = yawToPoint(yawAt(camera, (duration * i) / 60, duration));
      if (i === 0) context.moveTo(x, y);
      else context.lineTo(x, y);
    }
    context.stroke();
    context.globalAlpha = 1;
  }
  drawView(context, yawToPoint(yawAt(camera, playhead, duration)), colours);
}

/** What the camera at `eye` sees: a wedge that ends behind the person. */
function drawView(context, eye, colours) {
  const { ahead, aside } = directions(eye);
  context.fillStyle = colours.accent;
  context.globalAlpha = 0.16;
  polygon(context, [[0, 0], [RING.radius + 18, -30], [RING.radius + 18, 30]], eye, ahead, aside);
  context.globalAlpha = 1;
}

/** Unit vectors at a place on the circle: towards the person, and to the right of that. */
function directions({ x, y }) {
  const ahead = { x: (RING.x - x) / RING.radius, y: (RING.y - y) / RING.radius };
  return { ahead, aside: { x: -ahead.y, y: ahead.x } };
}

/** Fill the polygon of points [ahead, aside] as seen from `from`. */
function polygon(context, points, from, ahead, aside) {
  context.beginPath();
  points.forEach(([a, b], i) => {
    const place = [from.x + a * ahead.x + b * aside.x, from.y + a * ahead.y + b * aside.y];
    if (i === 0) context.moveTo(...place);
    else context.lineTo(...place);
  });
  context.closePath();
  context.fill();
}

function drawHandle(context, handle, index, { selected, focused, camera }, colours) {
  const chosen = index === selected;
  const radius = chosen ? 10 : 8;
  context.fillStyle = camera.mode === "orbit" && index === 1 ? colours.end : colours.accent;
  context.strokeStyle = chosen && focused ? "#fff" : colours.ground;
  context.lineWidth = 2;
  context.beginPath();
  context.arc(handle.x, handle.y, radius, 0, 2 * Math.PI);
  context.fill();
  context.stroke();
  const { ahead, aside } = directions(handle);
  if (camera.mode === "keyframes") return text(context, handle.label, handle.x, handle.y + 4, "#111", "center");
  context.fillStyle = "#111"; // a little camera that looks at the person
  polygon(context, [[-4.5, -3], [1, -3], [1, 3], [-4.5, 3]], handle, ahead, aside);
  polygon(context, [[0.5, 0], [4.5, -3], [4.5, 3]], handle, ahead, aside);
  if (camera.mode !== "orbit") return;
  const inside = yawToPoint(handle.yaw, { ...RING, radius: RING.radius - 24 });
  text(context, handle.label, inside.x, inside.y + 4, colours.ink, "center");
}

/** The person at the shown yaw, from the turntable strip; a hint while there is none. */
function drawPicture(context, { image, strip, shownYaw, hint }, colours) {
  const { x, y, size } = PICTURE;
  context.fillStyle = colours.line;
  context.fillRect(x, y, size, size);
  if (image && strip) {
    const side = image.naturalWidth / strip.count;
    context.drawImage(image, stripColumn(shownYaw, strip) * side, 0, side, side, x, y, size, size);
  } else {
    hint.forEach((line, i) => text(context, line, x + size / 2, y + size / 2 - 8 + 16 * i, colours.faint, "center"));
  }
}

function drawTimeline(context, scene, colours) {
  const { camera, duration, playhead, handles, selected, advice } = scene;
  const { x, y, width, height } = TIMELINE;
  context.strokeStyle = colours.line;
  context.lineWidth = 1;
  context.strokeRect(x, y, width, height);
  context.beginPath();
  context.moveTo(x, yawToY(0));
  context.lineTo(x + width, yawToY(0));
  context.stroke();
  context.strokeStyle = colours.accent;
  context.lineWidth = 2;
  context.beginPath();
  for (let i = 0; i <= 80; i += 1) {
    const time = (duration * i) / 80;
    const place = [timeToX(time, duration), yawToY(yawAt(camera, time, duration))];
    if (i === 0) context.moveTo(...place);
    else context.lineTo(...place);
  }
  context.stroke();
  if (camera.mode === "fixed") {
    text(context, advice, x + width / 2, camera.yaw > 0 ? y + height - 6 : y + 14, colours.faint, "center");
  }
  handles.forEach((handle, index) => {
    if (camera.mode === "fixed") return;
    const side = index === selected ? 5 : 4;
    context.fillStyle = camera.mode === "orbit" && index === 1 ? colours.end : colours.accent;
    context.fillRect(timeToX(handle.time, duration) - side, yawToY(handle.yaw) - side, 2 * side, 2 * side);
  });
  context.strokeStyle = colours.ink;
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(timeToX(playhead, duration), y - 3);
  context.lineTo(timeToX(playhead, duration), y + height + 3);
  context.stroke();
}

function drawNumbers(context, { camera, shownYaw, playhead, duration, durationKnown, note }, colours) {
  const x = PICTURE.x;
  text(context, say("yaw {0}\u00b0", Math.round(shownYaw * 10) / 10), x, 143, colours.ink);
  text(context, say("pitch {0}\u00b0", Math.round(camera.pitch * 10) / 10), x + PICTURE.size, 143, colours.faint, "right");
  const warning = Math.abs(shownYaw) > TRAINED ? say("beyond the trained range") : "";
  const line = note || warning || say(camera.mode);
  text(context, line, x, 160, note || warning ? colours.end : colours.faint);
  const moment = durationKnown // once the graph has run
    ? say("at {0} of {1} s", playhead.toFixed(2), duration.toFixed(2))
    : say("at {0} % of the clip", Math.round((100 * playhead) / duration));
  text(context, moment, x, 177, colours.faint);
}
