/**
 * Where the value of a node's widget is kept: in the widget, or, inside a subgraph whose input feeds it, in a widget of
 * the subgraph's node outside. Fields are those of ComfyUI's graph library (frontend 1.27 and newer).
 */

const INPUTS = -10; // id of the node that stands for a subgraph's inputs inside of it

/** All nodes of a graph and of the subgraphs in it, each subgraph once. */
function* nodesOf(graph, seen = new Set()) {
  if (!graph || seen.has(graph)) return;
  seen.add(graph);
  for (const node of graph.nodes ?? graph._nodes ?? []) {
    yield node;
    if (node.subgraph) yield* nodesOf(node.subgraph, seen);
  }
}

function linkOf(graph, id) {
  return graph?.getLink?.(id) ?? graph?.links?.get?.(id) ?? graph?.links?.[id] ?? null;
}

const widgetNamed = (node, name) => node.widgets?.find((one) => one.name === name);

/**
 * -> {node, widget, linked}: the widget that holds the value of `name`, its node, and whether another node, or several
 * places at once, set it. `widget` is undefined where the node has none of this name.
 */
export function holderOf(node, name, root = node.graph?.rootGraph, depth = 0) {
  const widget = widgetNamed(node, name);
  const slot = node.inputs?.find((one) => (one.widget?.name ?? one.name) === name);
  return follow(node, widget, slot, root, depth);
}

function follow(node, widget, slot, root, depth) {
  const here = { node, widget, linked: slot?.link != null };
  if (!here.linked) return here;
  const link = linkOf(node.graph, slot.link);
  if (Number(link?.origin_id) !== INPUTS || depth > 8) return here; // a number, or its text in newer frontends
  const places = [...nodesOf(root)].filter((one) => one.subgraph && one.subgraph === node.graph);
  if (places.length !== 1) return here; // one picture cannot show the values of several copies
  const [outer] = places;
  const input = outer.inputs?.[link.origin_slot];
  if (!input) return here;
  const outside = input._widget ?? widgetNamed(outer, input.widget?.name ?? input.name);
  const found = follow(outer, outside, input, root, depth + 1);
  return found.widget || found.linked ? found : here;
}
