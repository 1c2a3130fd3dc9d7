import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import test from "node:test";

import { CHOICES, explainErrors, labelChoices, translated } from "../../js/messages.mjs";
import { bindReport, linesOf } from "../../js/report.mjs";
import { setLanguage } from "../../js/words.mjs";

const SAID = [
  ["fit quality 0.61 (of 1)", "拟合质量 0.61"],
  ["2 people found, the largest is taken; choose another by number (1: left)", "找到 2 个人"],
  ["no person found: a face must be seen", "没有找到人物"],
  ["the mask is 512 x 128 px and the portrait 256 x 256: it belongs", "遮罩为 512 x 128 像素,照片为 256 x 256 像素"],
  ["first_frame 90 is behind the clip, which has 15 frames", "first_frame 90 超出片段,片段共 15 帧"],
  ["no model file 'my set.safetensors'; put it into ComfyUI/models/vae", "找不到模型 'my set.safetensors':请放入 ComfyUI/models/vae"],
  ["900 frames of 512x512 need 9.4 GB, 2.0 GB are free: render a shorter piece", "需要 9.4 GB 内存,只剩 2.0 GB"],
];

test("warnings and errors are said in the chosen language, with their values", () => {
  for (const [english] of SAID) assert.equal(translated(english), english);
  setLanguage("zh");
  for (const [english, chinese] of SAID) assert.ok(translated(english).startsWith(chinese), translated(english));
  assert.equal(translated("something new"), "something new");
  const other = "a.safetensors is a full-size denoiser: put it into a folder of models/stereotalker, and choose that folder";
  assert.equal(translated(other), other); // another fault than a file that is missing
  assert.match(linesOf({ text: ["fit quality 0.61 (of 1)"] })[0], /拟合质量/);
  setLanguage("en");
});

test("an error of one of our nodes gets a window of its own, others and English none", () => {
  const shown = [];
  let tell;
  const api = { addEventListener: (name, listener) => (tell = (detail) => listener({ detail })) };
  explainErrors(api, { extensionManager: { toast: { add: (one) => shown.push(one.detail) } } });
  const error = { node_type: "StereoTalkerFitPortrait", exception_message: "no person found: a face must be seen" };
  tell(error);
  setLanguage("zh");
  tell({ ...error, node_type: "KSampler" });
  tell({ ...error, exception_message: "unheard of" });
  tell(error);
  setLanguage("en");
  assert.deepEqual(shown.length, 1);
  assert.match(shown[0], /没有找到人物/);
});

test("choices are labelled, values stay", () => {
  const widget = { type: "combo", value: "orbit", options: { values: ["fixed", "orbit"] } };
  labelChoices({ widgets: [widget, { type: "number", options: {} }] });
  assert.equal(widget.options.getOptionLabel, undefined);
  setLanguage("zh");
  labelChoices({ widgets: [widget] });
  setLanguage("en");
  assert.equal(widget.options.getOptionLabel("orbit"), "环绕");
  assert.equal(widget.options.getOptionLabel("W011"), "W011");
  assert.equal(widget.value, "orbit");
});

test("every word of the nodes' lists has its Chinese", () => {
  const words = JSON.parse(readFileSync(new URL("../nodes/choices.json", import.meta.url), "utf8"));
  assert.deepEqual(words.filter((word) => !CHOICES[word]), []);
  assert.equal(typeof bindReport, "function");
});
