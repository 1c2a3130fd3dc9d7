/** As much of a browser as the camera picture touches: elements with listeners, a canvas context that records calls. */

export function makeContext() {
  const calls = [];
  const target = { calls };
  return new Proxy(target, {
    get: (_, name) => (name === "calls" ? calls : (target[name] ?? ((...values) => calls.push([name, ...values])))),
    set: (_, name, value) => {
      calls.push([`set ${String(name)}`, value]);
      return true;
    },
  });
}

class Element {
  constructor(document, tag) {
    Object.assign(this, { ownerDocument: document, tag, style: {}, attributes: {}, children: [], listeners: {} });
    this.context = makeContext();
  }
  append(child) {
    this.children.push(child);
  }
  replaceChildren() {
    this.children = [];
  }
  setAttribute(name, value) {
    this.attributes[name] = value;
  }
  addEventListener(name, listener) {
    (this.listeners[name] ??= new Set()).add(listener);
  }
  removeEventListener(name, listener) {
    this.listeners[name]?.delete(listener);
  }
  getContext() {
    return this.context;
  }
  focus() {
    this.ownerDocument.activeElement = this;
  }
  setPointerCapture(pointer) {
    this.captured = pointer;
  }
  /** The canvas at 100, 50 on the page, shown at twice the drawing's size. */
  getBoundingClientRect() {
    return { left: 100, top: 50, width: 640, height: 504 };
  }
  send(name, fields = {}) {
    const event = {
      button: 0, pointerId: 1, timeStamp: 0, shiftKey: false, ctrlKey: false, metaKey: false, altKey: false,
      stopped: false, prevented: false, ...fields,
      stopPropagation() { this.stopped = true; },
      preventDefault() { this.prevented = true; },
    };
    for (const listener of this.listeners[name] ?? []) listener(event);
    return event;
  }
}

export function makeDocument() {
  return {
    activeElement: null,
    defaultView: { getComputedStyle: () => ({ getPropertyValue: () => "" }) },
    createElement(tag) {
      return new Element(this, tag);
    },
  };
}

/** Page place of a place of the drawing, on the canvas of getBoundingClientRect. */
export const onPage = ({ x, y }) => ({ clientX: 100 + 2 * x, clientY: 50 + 2 * y });

/** A node as ComfyUI makes it, with widgets {name: value} whose callbacks are counted, and its app with an undo log. */
export function makeNode(values, inputs = []) {
  const log = [];
  const widgets = Object.entries(values).map(([name, value]) => ({
    name,
    value,
    callback: (wanted) => log.push([name, wanted]),
  }));
  const app = {
    nodeOutputs: {},
    canvas: {
      emitBeforeChange: () => log.push(["begin"]),
      emitAfterChange: () => log.push(["end"]),
    },
  };
  return { node: { id: 7, widgets, inputs, graph: { setDirtyCanvas() {} } }, app, log };
}
