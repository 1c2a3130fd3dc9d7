import assert from "node:assert/strict";
import { test } from "node:test";

import * as orbit from "../../js/orbit.mjs";

const near = (a, b, within = 1e-9) => assert.ok(Math.abs(a - b) <= within, `${a} is not ${b}`);

test("the front is at the bottom, positive yaw on the left of the page (the subject's right side)", () => {
  const { x, y, radius } = orbit.RING;
  assert.deepEqual(orbit.yawToPoint(0), { x, y: y + radius });
  const right = orbit.yawToPoint(90);
  near(right.x, x - radius);
  near(right.y, y);
});

test("yaw -> point -> yaw is the same yaw, all around", () => {
  for (let yaw = -179.5; yaw <= 180; yaw += 0.5) near(orbit.pointToYaw(orbit.yawToPoint(yaw)), yaw, 1e-9);
});

test("the middle of the person has no yaw", () => {
  assert.equal(orbit.pointToYaw(orbit.RING), null);
});

test("wrapYaw keeps -180..180 and the direction", () => {
  for (const yaw of [-180, -90, 0, 90, 180]) assert.equal(orbit.wrapYaw(yaw), yaw);
  assert.equal(orbit.wrapYaw(190), -170);
  assert.equal(orbit.wrapYaw(-190), 170);
  assert.equal(orbit.wrapYaw(725), 5);
  assert.throws(() => orbit.wrapYaw(NaN), /not a number/);
});

test("snap has no negative zero", () => {
  assert.ok(Object.is(orbit.snap(-0.3, 1), 0));
  assert.equal(orbit.snap(-22.4, 15), -15);
});

test("a place of the page lands on the drawing whatever the box around it is", () => {
  const { width, height } = orbit.SIZE;
  for (const [w, h] of [[width, height], [2 * width, 2 * height], [900, height], [width, 900], [160, 500]]) {
    const rect = { left: 30, top: 40, width: w, height: h };
    const middle = orbit.toDrawing(30 + w / 2, 40 + h / 2, rect);
    near(middle.x, width / 2);
    near(middle.y, height / 2);
    const scale = Math.min(w / width, h / height);
    near(orbit.toDrawing(30 + w / 2 + 10 * scale, 40, rect).x, width / 2 + 10);
  }
});

test("nearest finds the handle within reach, the later of two that coincide", () => {
  const handles = [{ x: 0, y: 0 }, { x: 50, y: 0 }, { x: 50, y: 0 }];
  assert.equal(orbit.nearest({ x: 3, y: 4 }, handles), 0);
  assert.equal(orbit.nearest({ x: 48, y: 1 }, handles), 2);
  assert.equal(orbit.nearest({ x: 25, y: 0 }, handles), -1);
  assert.equal(orbit.nearest({ x: 20, y: 0 }, handles, Infinity), 0);
});

test("time line and back", () => {
  for (const time of [0, 0.4, 3.2]) near(orbit.xToTime(orbit.timeToX(time, 3.2), 3.2), time);
  for (const yaw of [-90, -10, 90]) near(orbit.yToYaw(orbit.yawToY(yaw)), yaw);
  assert.equal(orbit.xToTime(-500, 2), 0);
  assert.equal(orbit.yToYaw(orbit.yawToY(140)), 90);
});

test("the strip's column is the view nearest to the yaw", () => {
  const strip = { count: 25, yaw_min: -90, yaw_max: 90 };
  assert.equal(orbit.stripColumn(-90, strip), 0);
  assert.equal(orbit.stripColumn(0, strip), 12);
  assert.equal(orbit.stripColumn(4, strip), 13);
  assert.equal(orbit.stripColumn(170, strip), 24);
  assert.equal(orbit.stripColumn(20, { count: 1, yaw_min: 0, yaw_max: 0 }), 0);
});
