import assert from "node:assert/strict";
import { test } from "node:test";

import * as keyframes from "../../js/keyframes.mjs";

const TEXT = "0%: -40, 1.5s: 0, 75%: 40 5 1.1";
const key = (time, yaw, pitch = null, distance = null, unit = "%") => ({ time, yaw, pitch, distance, unit });

test("text -> keys -> text", () => {
  const { keys, error } = keyframes.parseKeys(TEXT, 4);
  assert.equal(error, null);
  assert.deepEqual(keys, [key(0, -40), key(1.5, 0, null, null, "s"), key(3, 40, 5, 1.1)]);
  assert.equal(keyframes.formatKeys(keys, 4), TEXT);
});

test("percents follow the length of the clip, seconds do not", () => {
  assert.deepEqual(keyframes.parseKeys(TEXT, 8).keys.map((k) => k.time), [0, 1.5, 6]);
});

test("new lines, semicolons, spaces and disorder are read", () => {
  const { keys } = keyframes.parseKeys("50 %:10 5\n\n 1s :  -3 ;", 4);
  assert.deepEqual(keys, [key(1, -3, null, null, "s"), key(2, 10, 5)]);
  assert.deepEqual(keyframes.parseKeys("", 4), { keys: [], error: null });
});

for (const bad of ["nonsense", "1s", "1s:", ":4", "1: 4", "1s: x", "1s: 2: 3", "1s: 1 2 3 4", "-1s: 0", "x%: 1", "1s: Infinity"]) {
  test(`"${bad}" is named, the rest is kept`, () => {
    const { keys, error } = keyframes.parseKeys(`0%: 5, ${bad}`, 4);
    assert.deepEqual(keys, [key(0, 5)]);
    assert.ok(error.includes(bad));
  });
}

test("a key is put in order; one at the same moment is replaced", () => {
  const keys = [key(0, 1), key(2, 3, 4)];
  const put = keyframes.putKey(keys, 1, 9);
  assert.deepEqual(put, { keys: [key(0, 1), key(1, 9), key(2, 3, 4)], index: 1 });
  assert.deepEqual(keyframes.putKey(keys, 2.01, 9), { keys: [key(0, 1), key(2, 9, 4)], index: 1 });
  assert.deepEqual(keys, [key(0, 1), key(2, 3, 4)], "the list given is not changed");
});

test("a free moment is the wanted one, the end, or the middle of the widest gap", () => {
  assert.equal(keyframes.freeTime([key(0, 0)], 1, 4), 1);
  assert.equal(keyframes.freeTime([key(0, 0)], 0, 4), 4);
  assert.equal(keyframes.freeTime([key(0, 0), key(1, 0), key(4, 0)], 0, 4), 2.5);
});

test("a moved key stays between its neighbours and within the clip", () => {
  const keys = [key(0, 0), key(1, 10), key(2, 20)];
  assert.equal(keyframes.moveKey(keys, 1, { time: 5, yaw: 7 }, 4)[1].time, 1.96);
  assert.equal(keyframes.moveKey(keys, 1, { time: -5 }, 4)[1].time, 0.04);
  assert.equal(keyframes.moveKey(keys, 2, { time: 9 }, 4)[2].time, 4);
  assert.equal(keyframes.moveKey(keys, 1, { time: 1.2, yaw: 7 }, 4)[1].yaw, 7);
});

test("the path goes through every key, never beyond its neighbours, constant outside", () => {
  const keys = [key(0.5, -60), key(1, 40), key(1.4, 38), key(3, -20)];
  for (const { time, yaw } of keys) assert.ok(Math.abs(keyframes.yawOfKeys(keys, time) - yaw) < 1e-9);
  for (let i = 0; i < keys.length - 1; i += 1) {
    const [low, high] = [keys[i], keys[i + 1]].map((k) => k.yaw).sort((a, b) => a - b);
    for (let t = keys[i].time; t <= keys[i + 1].time; t += 0.01) {
      const yaw = keyframes.yawOfKeys(keys, t);
      assert.ok(yaw >= low - 1e-9 && yaw <= high + 1e-9);
    }
  }
  assert.equal(keyframes.yawOfKeys(keys, 0), -60);
  assert.equal(keyframes.yawOfKeys(keys, 9), -20);
  assert.throws(() => keyframes.yawOfKeys([], 0), /at least one key/);
});

test("yawAt of a fixed camera and of an orbit, even and eased", () => {
  const camera = { mode: "fixed", ease: false, yaw: -40, endYaw: 40, keys: [] };
  assert.equal(keyframes.yawAt(camera, 1, 2), -40);
  assert.equal(keyframes.yawAt({ ...camera, mode: "orbit" }, 0.5, 2), -20);
  assert.equal(keyframes.yawAt({ ...camera, mode: "orbit", ease: true }, 0.5, 2), -40 + 80 * 0.15625);
  assert.equal(keyframes.yawAt({ ...camera, mode: "keyframes" }, 1, 2), -40, "without a key the yaw counts");
});
