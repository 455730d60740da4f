// Coordinates of the boxes when some are open. Ranks and orders come from Python and never change. The page gives the
// items their sizes and the columns their widths, and fits the places across, so that opening a box only shifts its
// neighbours. "Along" is the direction of the ranks, "across" the other direction.

import { lineBreaks } from "./line_breaks.js";
import { spreadAcross, mainLines } from "./spread_across.js";

const COLUMN_GAP = 8;
const BOX_GAP = 16; // beside a box of several nodes
const TEXT_GAP = 22; // between the lines of a wrapped box
const BOX_PAD = 10;
export const FRAME_HEAD = 20;

/**
 * The scene with some boxes open.
 * @param tree of makeModuleTree
 * @param open a Set of boxes; the whole graph (box 0) is always open
 * @param mode "wrapped", "right" or "down"
 * @param sizeOf(item) → [width, height] of a closed item
 */
export function compose(tree, open, mode, sizeOf) {
  const down = mode === "down";
  const size = (item) => {
    const [width, height] = sizeOf(item);
    return down ? [height, width] : [width, height];
  };
  const linesOf = Array.from({ length: tree.boxes }, () => []);
  for (let i = 0; i < tree.lines.length / 3; i++) linesOf[tree.lines[3 * i]].push(i);
  const whole = placeBox(tree, 0, open, mode, size, linesOf);
  const scene = { mode, engine: "modules", items: [], x: [], y: [], w: [], h: [], frames: [], points: [], offsets: [0], lineEdges: [] };
  const put = (along, across) => (down ? [across, along] : [along, across]);
  const walk = (box, along, across) => {
    for (const line of box.lines) {
      for (const [a, c] of line.points) scene.points.push(...put(along + a, across + c));
      scene.offsets.push(scene.points.length / 2);
      scene.lineEdges.push(tree.edgesOfLine[line.number]);
    }
    for (const item of box.items) {
      const [x, y] = put(along + item.along, across + item.across);
      const [w, h] = put(item.length, item.breadth);
      if (item.inner) {
        scene.frames.push({ m: item.item - tree.count, x, y, w, h });
        walk(item.inner, along + item.along, across + item.across);
      } else {
        scene.items.push(item.item);
        scene.x.push(x + w / 2);
        scene.y.push(y + h / 2);
        scene.w.push(w);
        scene.h.push(h);
      }
    }
  };
  walk(whole, 0, 0);
  [scene.width, scene.height] = put(whole.length, whole.breadth);
  return scene;
}

function placeBox(tree, m, open, mode, size, linesOf) {
  const down = mode === "down";
  const inset = m === 0 ? { along: BOX_PAD, across: BOX_PAD } : down ? { along: BOX_PAD + FRAME_HEAD, across: BOX_PAD } : { along: BOX_PAD, across: BOX_PAD + FRAME_HEAD };
  const things = new Map(); // item (−1 and −2 for the ports) → its element
  const columns = [];
  const add = (key, rank, order, element) => {
    (columns[rank] ??= []).push(element);
    Object.assign(element, { rank, order, near: [], at: 0 });
    if (key !== null) things.set(key, element);
  };
  for (const item of tree.children[m]) {
    const box = item - tree.count;
    const inner = box >= 0 && open.has(box) ? placeBox(tree, box, open, mode, size, linesOf) : null;
    const [length, breadth] = inner ? [inner.length, inner.breadth] : size(item);
    const port = inner ? [inner.portIn, inner.portOut] : [breadth / 2, breadth / 2];
    add(item, tree.rank[item], tree.across[item], { item, inner, length, breadth, into: port[0], out: port[1], box: box >= 0 });
  }
  const lines = linesOf[m];
  const used = (port, end) => lines.some((i) => tree.lines[3 * i + end] === port);
  const portElement = () => ({ item: -1, length: 0, breadth: 0, into: 0, out: 0, port: true });
  if (used(-1, 1)) add(-1, 0, tree.ports[3 * m], portElement());
  if (used(-2, 2)) add(-2, tree.ports[3 * m + 2], tree.ports[3 * m + 1], portElement());
  for (let r = 0; r < columns.length; r++) columns[r] ??= [];

  // along: column by column, broken into lines where wrapped
  const widths = columns.map((column) => column.reduce((most, element) => Math.max(most, element.length), 0));
  const gapAfter = columns.map((column, r) => (column.some((e) => e.box) || columns[r + 1]?.some((e) => e.box) ? BOX_GAP : COLUMN_GAP));
  const breaks = mode === "wrapped" ? lineBreaks(tree, lines, things, widths, gapAfter) : [0];
  const lineOf = [];
  const start = [];
  let length = 0;
  let at = 0;
  for (let r = 0; r < columns.length; r++) {
    if (breaks.includes(r)) at = inset.along + (breaks.length > 1 ? 14 : 0);
    lineOf.push((lineOf[r - 1] ?? -1) + (breaks.includes(r) ? 1 : 0));
    start.push(at);
    length = Math.max(length, at + widths[r]);
    at += widths[r] + gapAfter[r];
  }
  length += inset.along + (breaks.length > 1 ? 14 : 0) - (down && m ? FRAME_HEAD : 0);

  // across: the points that lines pass are elements too
  const routes = [];
  const main = mainLines(tree, lines, things);
  for (const i of lines) {
    const from = things.get(tree.lines[3 * i + 1]);
    const to = things.get(tree.lines[3 * i + 2]);
    const path = [from];
    const passed = [];
    if (lineOf[from.rank] === lineOf[to.rank]) {
      for (let p = tree.offsets[i]; p < tree.offsets[i + 1]; p++) {
        const element = { item: -1, length: 0, breadth: 0, into: 0, out: 0, thread: true };
        add(null, tree.passed[2 * p], tree.passed[2 * p + 1], element);
        path.push(element);
        passed.push(element);
      }
      path.push(to);
      if (passed.length || to.rank - from.rank <= 1) {
        for (let j = 1; j < path.length; j++) {
          const threads = (path[j - 1].thread ? 1 : 0) + (path[j].thread ? 1 : 0);
          const weight = threads === 2 ? 8 : main.has(i) ? 60 : threads ? 0.02 : 0.3;
          path[j - 1].near.push([path[j], path[j - 1].out - path[j].into, weight, true]);
          path[j].near.push([path[j - 1], path[j].into - path[j - 1].out, weight, false]);
        }
      }
    }
    routes.push({ number: i, from, to, passed });
  }
  let top = inset.across;
  const tops = [];
  const bottoms = [];
  breaks.forEach((first, line) => {
    const part = columns.slice(first, breaks[line + 1] ?? columns.length);
    const breadth = spreadAcross(part);
    for (const column of part) for (const element of column) element.at += top;
    tops.push(top);
    bottoms.push(top + breadth);
    top += breadth + TEXT_GAP;
  });
  const breadth = top - TEXT_GAP + BOX_PAD;

  const points = (route) => {
    const { from, to, passed } = route;
    const out = from.port ? [0, from.at] : [start[from.rank] + (widths[from.rank] + from.length) / 2, from.at + from.out];
    const into = to.port ? [length, to.at] : [start[to.rank] + (widths[to.rank] - to.length) / 2, to.at + to.into];
    const edge = (element, side, across) => [start[element.rank] + (side ? widths[element.rank] : 0), across];
    const a = lineOf[from.rank];
    const b = lineOf[to.rank];
    if (a === b) return [out, edge(from, 1, out[1]), ...passed.flatMap((e) => [edge(e, 0, e.at), edge(e, 1, e.at)]), edge(to, 0, into[1]), into];
    const leave = bottoms[a] + TEXT_GAP / 2;
    const arrive = bottoms[b - 1] + TEXT_GAP / 2;
    const right = edge(from, 1, out[1])[0] + 4;
    const left = edge(to, 0, into[1])[0] - 4;
    const lane = inset.along + 2 - 3 * (route.number % 3);
    const middle = leave === arrive ? [[right, leave], [left, leave]] : [[right, leave], [lane, leave], [lane, arrive], [left, arrive]];
    return [out, [right, out[1]], ...middle, [left, into[1]], into];
  };
  return {
    length,
    breadth,
    portIn: things.get(-1)?.at ?? breadth / 2,
    portOut: things.get(-2)?.at ?? breadth / 2,
    items: [...things.values()].filter((e) => !e.port).map((e) => ({ item: e.item, inner: e.inner, length: e.length, breadth: e.breadth, along: start[e.rank] + (widths[e.rank] - e.length) / 2, across: e.at })),
    lines: routes.map((route) => ({ number: route.number, points: points(route) })),
  };
}
