// The shapes of the values, written on the lines that carry them: once for each box, on the first line that leaves it.

const SHAPE_SIZE = 12.5; // px
const SHAPE_CHARACTER = 8.6; // px, the mean width in DejaVu Sans, the widest of the usual fonts
const SHAPE_PAD = 10;
const SHAPE_MOST = 20; // characters
/** The length of the text of most shapes. */
export const SHAPE_ROOM = 125;

/** The text for the values with these numbers. */
function shapeOf(values, graph) {
  const texts = new Set(values.map((v) => graph.nodes[v].shape).filter(Boolean));
  if (texts.size !== 1) return texts.size ? `${values.length} values` : "";
  const [text] = texts;
  return text.length <= SHAPE_MOST ? text : `${text.slice(0, SHAPE_MOST - 1)}…`;
}

/** The length that the text on the lines from a node or a closed box takes. */
export function roomOf(item, graph, tree) {
  const values = item < graph.count ? [item] : tree.nodes[item - graph.count];
  const longest = values.reduce((most, v) => Math.max(most, Math.min(SHAPE_MOST, graph.nodes[v].shape.length)), 0);
  return longest ? longest * SHAPE_CHARACTER + SHAPE_PAD : 0;
}

/** The texts of a scene and where they begin: { x, y, text } of every item from which a line leaves. */
export function shapeTexts(scene, graph) {
  const found = [];
  const seen = new Map(); // item → the values on its lines
  const shown = new Set(scene.items); // not the frames of open modules, whose last values have the same shapes
  scene.lineFrom?.forEach((item, line) => {
    if (!shown.has(item)) return;
    const values = scene.lineEdges[line].map((e) => graph.edges[2 * e]);
    if (seen.has(item)) return void values.forEach((v) => seen.get(item).values.add(v));
    const p = scene.offsets[line];
    seen.set(item, { x: scene.points[2 * p] + 5, y: scene.points[2 * p + 1] - 3, values: new Set(values) });
  });
  for (const { x, y, values } of seen.values()) {
    const text = shapeOf([...values], graph);
    if (text) found.push({ x, y, text });
  }
  return found;
}

export const SHAPE_FONT = `${SHAPE_SIZE}px system-ui, sans-serif`;
