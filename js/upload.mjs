/** A button that brings a file of the user's computer into ComfyUI's input folder and chooses it in a node's list. */

import { say } from "./words.mjs";

/**
 * node: the node; name: its list of files; accept: suffixes, as an <input type="file"> takes them. `api` and `app` are
 * ComfyUI's. The button holds no value and is not saved.
 */
export function addUpload(node, name, accept, api, app, document) {
  const widget = node.addWidget("button", say("upload a file"), null, () => choose(), { serialize: false });
  widget.serialize = false;

  function choose() {
    const input = document.createElement("input");
    Object.assign(input, { type: "file", accept });
    input.onchange = () => input.files.length && send(input.files[0]);
    input.click();
  }

  async function send(file) {
    const suffix = file.name.slice(file.name.lastIndexOf(".")).toLowerCase();
    if (!accept.split(",").includes(suffix)) return tell(say("{0} is none of {1}", file.name, accept.replaceAll(",", " ")));
    const body = new FormData();
    body.append("image", file); // the name of the field, whatever the file holds
    const answer = await api.fetchApi("/upload/image", { method: "POST", body });
    if (answer.status !== 200) return tell(say("the upload failed: {0}", `${answer.status} ${answer.statusText}`));
    const { name: stored, subfolder } = await answer.json();
    take(subfolder ? `${subfolder}/${stored}` : stored);
  }

  function take(stored) {
    const list = node.widgets.find((one) => one.name === name);
    const values = list.options?.values;
    if (Array.isArray(values) && !values.includes(stored)) values.push(stored);
    list.value = stored;
    list.callback?.(stored, app.canvas, node);
    node.graph?.setDirtyCanvas?.(true, true);
  }

  function tell(text) {
    app.extensionManager?.toast?.add?.({ severity: "error", summary: "Stereo-Talker", detail: text, life: 8000 });
  }

  return { send };
}
