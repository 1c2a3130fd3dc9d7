import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import test from "node:test";

import { COLOURS, paintSockets } from "../../js/colours.mjs";
import { parseKeys } from "../../js/keyframes.mjs";
import { known, say, setLanguage } from "../../js/words.mjs";

const JS = new URL("../../js/", import.meta.url);

test("every text that an element says has its Chinese, and no other", () => {
  const sources = readdirSync(JS).filter((name) => /\.m?js$/.test(name) && name !== "words.mjs");
  const text = sources.map((name) => readFileSync(new URL(name, JS), "utf8")).join("\n");
  const said = [...text.matchAll(/\bsay\((?:\w+ \? )?(["'])((?:(?!\1).)*)\1(?: : (["'])((?:(?!\3).)*)\3)?/g)];
  const found = new Set(said.flatMap((match) => [match[2], match[4]]).filter(Boolean).map((one) => one.replace("\\u00b0", "\u00b0")));
  for (const mode of ["fixed", "orbit", "keyframes"]) found.add(mode); // say(camera.mode)
  const help = /const HELP =\s*((?:"[^"]*"\s*\+?\s*)+);/.exec(text)[1];
  found.add([...help.matchAll(/"([^"]*)"/g)].map((match) => match[1]).join(""));
  assert.deepEqual([...found].sort(), [...known("zh")].sort());
});

test("texts follow the language, values are put in, other languages stay English", () => {
  setLanguage("zh-TW");
  assert.equal(say("at {0} of {1} s", "1.00", "3.20"), "第 1.00 秒,共 3.20 秒");
  assert.match(parseKeys("soon", 4).error, /无法识别“soon”/);
  setLanguage("fr");
  assert.equal(say("front"), "front");
  setLanguage(undefined);
  assert.equal(say("yaw {0}\u00b0", -35), "yaw -35\u00b0");
});

test("every socket type of the pack has a colour of its own", () => {
  const golden = readFileSync(new URL("../nodes/inputs.json", import.meta.url), "utf8");
  assert.deepEqual(Object.keys(COLOURS).sort(), [...new Set(golden.match(/ST_[A-Z_]+/g))].sort());
  assert.equal(new Set(Object.values(COLOURS)).size, Object.keys(COLOURS).length);
  const app = { canvas: { default_connection_color_byType: { IMAGE: "#64B5F6" } } };
  const links = { link_type_colors: {} };
  const page = makePage();
  paintSockets(app, links, page);
  const sockets = app.canvas.default_connection_color_byType;
  assert.equal(sockets.IMAGE, "#64B5F6");
  assert.equal(links.link_type_colors.ST_MOTION, COLOURS.ST_MOTION);
  assert.match(page.text(), new RegExp(`--color-datatype-ST_MOTION:${COLOURS.ST_MOTION}`));
  Object.assign(sockets, { ST_MOTION: "", ST_FACE: "#fff" }); // as a palette does that is loaded later
  assert.deepEqual([sockets.ST_MOTION, sockets.ST_FACE], [COLOURS.ST_MOTION, "#fff"]);
  assert.ok(Object.keys(sockets).includes("ST_MOTION"));
  paintSockets({}, undefined, makePage()); // a newer frontend may lack both
});

function makePage() {
  const added = [];
  return {
    createElement: () => ({ textContent: "" }),
    head: { append: (element) => added.push(element) },
    text: () => added.map((element) => element.textContent).join(),
  };
}
