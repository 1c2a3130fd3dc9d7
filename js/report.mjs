/** What a fit says of itself, on its node: the quality and every warning, as lines of text under the widgets. */

import { translated } from "./messages.mjs";

const LINE = 18; // px on the canvas
const WIDTH = 44; // letters of a line at the usual width of a node

/** The lines of a node's result; none where it says nothing. */
export function linesOf(output) {
  const text = output?.text ?? [];
  return (Array.isArray(text) ? text : [text]).map(String).filter((line) => line.trim()).map(translated);
}

/** Canvas pixels that the lines need, wrapped at the usual width of a node. */
export function heightOf(lines) {
  return 8 + LINE * lines.reduce((rows, line) => rows + Math.max(1, Math.ceil(line.length / WIDTH)), 0);
}

/**
 * Shows the results of a node as text. The widget is added with the first result, so that fresh nodes look as they are
 * defined; it holds no value and is not saved.
 */
export function bindReport(node, document) {
  let element = null;
  let lines = [];

  function add() {
    element = document.createElement("div");
    element.setAttribute("role", "status");
    Object.assign(element.style, { font: "12px sans-serif", lineHeight: `${LINE}px`, overflow: "hidden auto" });
    const size = { getMinHeight: () => heightOf(lines), getMaxHeight: () => heightOf(lines) };
    const widget = node.addDOMWidget("fit_report", "STEREOTALKER_REPORT", element, { serialize: false, ...size });
    widget.serialize = false;
  }

  return {
    receive(output) {
      const found = linesOf(output);
      if (!found.length || found.join("\n") === lines.join("\n")) return;
      lines = found;
      if (!element) add();
      element.replaceChildren();
      lines.forEach((line, row) => {
        const shown = document.createElement("div");
        shown.textContent = row ? `\u26a0 ${line}` : line; // the first is the quality, the others are warnings
        if (row) shown.style.color = "var(--warning-background, #e0a030)";
        element.append(shown);
      });
      const [width, height] = node.computeSize();
      node.setSize([Math.max(node.size[0], width), Math.max(node.size[1], height)]);
    },
  };
}
