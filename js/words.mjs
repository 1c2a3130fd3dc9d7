/** The words of the pack's elements in the languages of its texts; keys are the English ones, {0} is a value. */

const CHINESE = {
  front: "正面",
  fixed: "固定",
  orbit: "环绕",
  keyframes: "关键帧",
  "yaw {0}\u00b0": "偏航 {0}\u00b0",
  "pitch {0}\u00b0": "俯仰 {0}\u00b0",
  "beyond the trained range": "超出训练范围",
  "at {0} of {1} s": "第 {0} 秒,共 {1} 秒",
  "at {0} % of the clip": "片段的 {0} %",
  "run once to see": "运行一次后",
  "the person here": "在此显示人物",
  "double click the circle: keyframes": "双击圆圈:添加关键帧",
  "switch orbit on to move the camera": "打开环绕以移动相机",
  "set by a linked node": "由相连的节点设定",
  "upload a file": "上传文件",
  "{0} is none of {1}": "{0} 不属于 {1}",
  "the upload failed: {0}": "上传失败:{0}",
  "camera yaw": "相机偏航角",
  "cannot read \"{0}\"": "无法识别“{0}”",
  "Camera around the person. Drag to set the yaw. Double click adds a keyframe, double click on a key removes it. Arrow keys turn and tilt, with Shift by 10 degrees; Enter selects the next handle; Home goes to the front.":
    "围绕人物的相机。拖动以设定偏航角。双击添加关键帧,双击关键帧将其删除。方向键转动和俯仰,按住 Shift 每次 10 度;Enter 选择下一个手柄;Home 回到正面。",
};
const TABLES = { zh: CHINESE };
let table = {};
let language = "en";

/** Choose the language by ComfyUI's setting, such as "zh"; without a table the words stay English. */
export function setLanguage(locale) {
  language = String(locale ?? "en").slice(0, 2);
  table = TABLES[language] ?? {};
}

/** Whether this is the chosen language. */
export const speaks = (locale) => language === locale;

/** A text in the chosen language with its values. */
export function say(text, ...values) {
  return (table[text] ?? text).replace(/\{(\d)\}/g, (_, i) => values[Number(i)]);
}

/** The texts that a language knows, for the tests. */
export const known = (locale) => Object.keys(TABLES[locale] ?? {});
