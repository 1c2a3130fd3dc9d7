/**
 * What a node says of its run, as lines of text under its widgets: the quality of a fit, every warning, or why it was refused
 * (newer frontends show that only behind a button).
 */

import { translated } from "./messages.mjs";

const LINE = 18; // px on the canvas
const LETTER = 6; // px a letter takes on average
const BORDER = 24; // px of a node beside its elements, both sides
const MARKS = {
  quality: ["", ""],
  warning: ["\u26a0 ", "var(--warning-background, #e0a030)"],
  error: ["\u2716 ", "var(--error-text, #ff6060)"],
};
const MARGIN = 20; // px that the classic renderer leaves above and below an element

/** The lines of a node's result; none where it says nothing. */
export function linesOf(output) {
  const text = output?.text ?? [];
  return (Array.isArray(text) ? text : [text]).map(String).filter((line) => line.trim()).map(translated);
}

/** Canvas pixels that the lines need on a node of this width; letters of Chinese are twice as wide. */
export function heightOf(lines, width = 240) {
  const room = Math.max(8, Math.floor((width - BORDER) / LETTER));
  const letters = (line) => [...line].reduce((all, letter) => all + (letter > "\u2e80" ? 2 : 1), 2);
  return 8 + LINE * lines.reduce((rows, line) => rows + Math.max(1, Math.ceil(letters(line) / room)), 0);
}

/**
 * Shows the results of a node as text; `graded`: the first line is the quality, else all are warnings. The widget is added
 * with the first text, so that fresh nodes look as they are defined; it holds no value and is not saved. Nodes 2.0 has it from
 * the start, without height: frontend 1.35 sees no later widget on a node that has a linked one.
 */
export function bindReport(node, document, graded = true) {
  let element = null;
  let lines = [];

  function height() {
    if (!lines.length) return 0;
    return heightOf(lines, node.size[0]) + (globalThis.LiteGraph?.vueNodesMode ? 0 : MARGIN);
  }

  function add() {
    element = document.createElement("div");
    element.setAttribute("role", "status");
    Object.assign(element.style, { font: "12px sans-serif", lineHeight: `${LINE}px`, overflow: "hidden auto" });
    const size = { getMinHeight: height, getMaxHeight: height };
    const widget = node.addDOMWidget("fit_report", "STEREOTALKER_REPORT", element, { serialize: false, ...size });
    widget.serialize = false;
  }

  /** Lines with their marks, in the colours of `kinds`. */
  function show(found, kinds) {
    if (found.join("\n") === lines.join("\n")) return;
    lines = found;
    if (!element) add();
    element.replaceChildren();
    lines.forEach((line, row) => {
      const [mark, colour] = MARKS[kinds[row] ?? "warning"];
      const shown = document.createElement("div");
      shown.textContent = `${mark}${line}`;
      shown.style.color = colour;
      element.append(shown);
    });
    const [width, tall] = node.computeSize();
    node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], tall)]);
  }

  if (globalThis.LiteGraph?.vueNodesMode) add();

  return {
    receive(output) {
      const found = linesOf(output);
      if (found.length || (element && output?.text)) show(found, graded ? ["quality"] : []);
    },

    /** An error of a run, as ComfyUI tells it: shown where it is this node's. */
    fail(detail) {
      const id = String(detail?.node_id).split(":").at(-1); // inside a subgraph with the subgraph's in front
      const text = String(detail?.exception_message ?? "").trim();
      if (id !== String(node.id) || detail.node_type !== node.comfyClass || !text) return;
      show([translated(text)], ["error"]);
    },
  };
}
