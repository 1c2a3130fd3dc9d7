/** What the pack's Python says, in the languages of its texts: errors and warnings are English there, with values in them. */

import { speaks } from "./words.mjs";

/** [pattern of the English text, Chinese with {0}, {1} for its groups]; the first that fits is taken. */
const CHINESE = [
  [/^fit quality ([\d.]+) \(of 1\)/, "拟合质量 {0}(满分 1)"],
  [/^the face is only (\d+) px high; a closer/, "人脸只有 {0} 像素高;更近或更大的照片能看到更多细节"],
  [/the face is only (\d+) px high, at least (\d+)/, "人脸只有 {0} 像素高,至少需要 {1} 像素"],
  [/the face was found with little certainty \(([\d.]+)\)/, "人脸的把握不大({0}):可能是画,或看不清楚"],
  [/the mask marks the background/, "遮罩标出的是背景(人物应为白色):已改用其反相"],
  [/^(\d+) people found/, "找到 {0} 个人,已选最大的一个;用 person 选择其他人"],
  [/^(\d+) people in the keypoints/, "关键点里有 {0} 个人,已选最大的一个;用 person 选择其他人"],
  [/^person (\d+) does not exist/, "没有第 {0} 个人;1 是最大的一个"],
  [/no person found/, "没有找到人物:请使用正面、看得见脸的照片,或连接关键点和遮罩"],
  [/the body does not fit the portrait \(quality ([\d.]+), ([\d.]+) is needed\)/,
    "身体与照片不符(质量 {0},需要 {1}):请用一个人的正面照片,检查遮罩(白色 = 人物)"],
  [/leaves? the face out/, "遮罩不含人脸:白色应为人物"],
  [/the transcript \((\d+) words\) does not fit/, "文稿({0} 个词)与声音不符,已不使用文稿"],
  [/the mask is (\d+ x \d+) px and the portrait (\d+ x \d+)/,
    "遮罩为 {0} 像素,照片为 {1} 像素:遮罩属于另一张图片;请连接这张照片的遮罩,或不连接"],
  [/the recording is silent/, "录音没有声音:请检查麦克风或音轨"],
  [/^(\d+) pictures came in one batch/, "一个批次里有 {0} 张图片,此节点只接受一张;前面接上 batch_size 为 1 的 Rebatch Images"],
  [/^(\d+) (recordings|masks|pictures' keypoints) came in one batch/, "一个批次里有 {0} 份,此节点只接受一份"],
  [/first_frame (\d+) is behind the clip, which has (\d+) frames/, "first_frame {0} 超出片段,片段共 {1} 帧"],
  [/sides must be (\S+) px and multiples of (\d+)/, "边长必须为 {0} 像素,且为 {1} 的倍数"],
  [/the motion has (\d+) frames but the cameras (\d+)/, "动作有 {0} 帧,相机有 {1} 帧:请给两者连接同一个动作"],
  [/the MODEL and the VAE are of different renderers/, "MODEL 与 VAE 属于不同的渲染器:请连接同一个“加载渲染器”的两个输出"],
  [/this VAE lacks the guides/, "此 VAE 缺少视频的引导、遮罩和背景:请把 Stereo-Talker Conditioning 的 vae 输出接到 VAE Decode"],
  [/the latents are (\d+) frames of (\S+ x \S+) px, the conditioning is for (\d+) frames of (\S+ x \S+) px/,
    "潜变量为 {0} 帧 {1} 像素,条件为 {2} 帧 {3} 像素:请把 Stereo-Talker Conditioning 的 latent 输出接到 KSampler 的 latent_image"],
  [/are not this VAE's/, "这些潜变量不属于此 VAE:请解码 Stereo-Talker Conditioning 之后 KSampler 的结果,并用它的 vae 输出"],
  [/source is empty/, "source 为空:请填写输入文件夹中的文件名,或 data:audio/wav;base64,..."],
  [/this node fetches nothing/, "此节点不从网络读取:请以 data:...;base64 给出声音"],
  [/a label needs a picture behind it/, "标签需要背景:请关闭 label,或选择 mp4"],
  [/camera stands inside the person or looks away/, "相机在人物之内或没有朝向人物:位置以米为单位,臀部为原点,y 轴向上"],
  [/looks straight up or down/, "相机垂直向上或向下,无法得出偏航角:请减小俯仰"],
  [/need ([\d.]+) GB, ([\d.]+) GB are free/, "需要 {0} GB 内存,只剩 {1} GB:请渲染更短的片段或更小的尺寸,或用“渲染视频到文件”"],
  [/^no file (\S+) in ComfyUI's (\w+) folder/, "ComfyUI 的 {1} 文件夹中没有文件 {0};请先在那里保存一个"],
  [/part of the face lies outside the picture/, "部分人脸在画面之外;缺少的部分将被补全"],
  [/the head is turned (\d+) degrees/, "头部偏离相机 {0} 度;看不见的一侧将被补全"],
  [/no body was found below the face/, "人脸下方没有找到身体;肩膀和手臂将被补全"],
  [/^no model (?:file|folder) (.+); put it into (\S+)/, "找不到模型 {0}:请放入 {1}"],
  [/outside of the (\w+) folder/, "路径在 {0} 文件夹之外"],
];

/** Words of the nodes' lists; names of formats, files and speakers stay. */
export const CHOICES = {
  portrait: "照片",
  photo: "照片视角",
  body: "身体",
  grey: "灰色",
  green: "绿色",
  white: "白色",
  black: "黑色",
  play: "播放(快)",
  diffusion: "扩散",
  auto: "自动",
  avatar: "数字人",
  on: "开",
  off: "关",
  low: "低",
  medium: "中",
  high: "高",
  neutral: "中性",
  happy: "高兴",
  sad: "悲伤",
  angry: "愤怒",
  surprised: "惊讶",
  fear: "恐惧",
  disgusted: "厌恶",
  contempt: "轻蔑",
  all: "全部",
  head: "头部",
  hands: "双手",
  face: "面部",
  "cut to the shorter": "裁到较短的",
  "stretch b to a": "把 b 拉伸到 a",
  "npz (exact)": "npz(精确)",
  turntable: "转台",
  "orbit (ease in and out)": "环绕(缓入缓出)",
  half_body: "半身",
  direction: "方向",
  "place in metres": "位置(米)",
  "webm (transparent)": "webm(透明)",
  "mov, ProRes 4444 (transparent)": "mov,ProRes 4444(透明)",
  "bottom left": "左下",
  "bottom right": "右下",
  "top left": "左上",
  "top right": "右上",
  "nano (embedded)": "nano(内置)",
  none: "无",
  fixed: "固定",
  orbit: "环绕",
  keyframes: "关键帧",
};

/** A text of the pack in the chosen language; without a fitting sentence, or in English, as it came. */
export function translated(text) {
  if (!speaks("zh")) return text;
  for (const [pattern, chinese] of CHINESE) {
    const found = pattern.exec(text);
    if (found) return chinese.replace(/\{(\d)\}/g, (_, i) => found[Number(i) + 1]);
  }
  return text;
}

/** Shows the errors of the pack's own nodes in the chosen language, beside ComfyUI's own English window. */
export function explainErrors(api, app) {
  api.addEventListener("execution_error", ({ detail }) => {
    const text = detail?.exception_message ?? "";
    const shown = translated(text.trim());
    if (!String(detail?.node_type).startsWith("StereoTalker") || shown === text.trim()) return;
    app.extensionManager?.toast?.add?.({ severity: "error", summary: "Stereo-Talker", detail: shown, life: 15000 });
  });
}

/** Choices of a node's lists in the chosen language; the values that are saved and sent stay as they are. */
export function labelChoices(node) {
  if (!speaks("zh")) return;
  for (const widget of node.widgets ?? []) {
    if (widget.type === "combo" && widget.options) widget.options.getOptionLabel = (value) => CHOICES[value] ?? String(value ?? "");
  }
}
