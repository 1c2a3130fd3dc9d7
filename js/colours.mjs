/** Colours of the pack's own sockets and links: one a type, apart from each other and from core's. */

export const COLOURS = {
  ST_IDENTITY: "#6ec6ff",
  ST_MOTION: "#8ddb8c",
  ST_CAMERAS: "#e0b84c",
  ST_GUIDES: "#d48fe8",
  ST_REGIONS: "#9fa8da",
  ST_SPEECH: "#f2a65a",
  ST_FACE: "#f48fb1",
  ST_AUDIO_ENCODER: "#c98a4b",
  ST_BAKE_MODEL: "#b86f8d",
  ST_MOTION_MODEL: "#4caf6d",
  ST_MASK_PREDICTOR: "#7e8bd0",
  ST_FACE_MODEL: "#d1618a",
};

/**
 * Tell the classic canvas, its links, and Nodes 2.0, which reads style variables. ComfyUI empties the colours of all types
 * whenever it loads a palette, later than extensions start: an own colour comes back, a palette's own for a type stays.
 */
export function paintSockets(app, canvasClass, document) {
  for (const table of [app.canvas?.default_connection_color_byType, canvasClass?.link_type_colors]) {
    if (table) for (const [type, colour] of Object.entries(COLOURS)) hold(table, type, colour);
  }
  const rules = Object.entries(COLOURS).map(([type, colour]) => `--color-datatype-${type}:${colour}`);
  const style = document.createElement("style"); // below the page's own style, where a palette writes and deletes
  style.textContent = `:root{${rules.join(";")}}`;
  document.head.append(style);
}

function hold(table, type, colour) {
  let chosen = "";
  const options = { enumerable: true, configurable: true };
  Object.defineProperty(table, type, { get: () => chosen || colour, set: (other) => void (chosen = other), ...options });
}
