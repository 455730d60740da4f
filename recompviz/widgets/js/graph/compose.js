// Coordinates of the boxes when some are open. Ranks and orders come from Python and never change. The page gives the
// items their sizes and the columns their widths, and fits the places across, so that opening a box only shifts its
// neighbours. "Along" is the direction of the ranks, "across" the other direction.

import { wrappedLines, ROW_GAP, LANE, U_GAP } from "./wrapped_lines.js";
import { spreadAcross, mainLines } from "./spread_across.js";

const COLUMN_GAP = 8;
const BOX_GAP = 16; // beside a box of several nodes
// steep lines in a narrow gap run into each other: a gap is at least this share of their height, up to MOST_GAP
const SLOPE = 0.25;
const MOST_GAP = 40;
const SIDE = 14; // beside the lines of a wrapped box, for lines that skip rows
const BOX_PAD = 10;
const VIEW = { width: 1060, height: 330 };
export const FRAME_HEAD = 20;

/**
 * The scene with some boxes open.
 * @param tree of makeModuleTree
 * @param open a Set of boxes; the whole graph (box 0) is always open
 * @param mode "wrapped", "right" or "down"
 * @param sizeOf(item) → [width, height] of a closed item
 * @param options { view, the size of the window; breaks, a Map that remembers the lines of each box; room(item), the
 *   length that the text on the lines from an item takes }
 */
export function compose(tree, open, mode, sizeOf, { view = VIEW, breaks = new Map(), room = () => 0 } = {}) {
  const down = mode === "down";
  const size = (item) => {
    const [width, height] = sizeOf(item);
    return down ? [height, width] : [width, height];
  };
  const linesOf = Array.from({ length: tree.boxes }, () => []);
  for (let i = 0; i < tree.lines.length / 3; i++) linesOf[tree.lines[3 * i]].push(i);
  const skipsOf = Array.from({ length: tree.boxes }, () => []);
  for (const i of tree.skips ?? []) skipsOf[tree.lines[3 * i]].push(i);
  const whole = placeBox(0, { tree, open, mode, size, linesOf, skipsOf, view, breaks, room }, view.width);
  const scene = { mode, engine: "modules", items: [], x: [], y: [], w: [], h: [], frames: [], points: [], offsets: [0], lineEdges: [], lineFrom: [] };
  const put = (along, across) => (down ? [across, along] : [along, across]);
  const walk = (box, along, across) => {
    for (const line of box.lines) {
      for (const [a, c] of line.points) scene.points.push(...put(along + a, across + c));
      scene.offsets.push(scene.points.length / 2);
      scene.lineEdges.push(tree.edgesOfLine[line.number]);
      scene.lineFrom.push(tree.lines[3 * line.number + 1]);
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

/** The coordinates within a box; `width` is that of the window less the margins of the frames around the box. */
function placeBox(m, given, width) {
  const { tree, open, mode, size, linesOf, skipsOf, room } = given;
  const view = { ...given.view, width };
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
    const inner = box >= 0 && open.has(box) ? placeBox(box, given, width - 2 * (BOX_PAD + SIDE)) : null;
    const [length, breadth] = inner ? [inner.length, inner.breadth] : size(item);
    const port = inner ? [inner.portIn, inner.portOut] : [breadth / 2, breadth / 2];
    add(item, tree.rank[item], tree.across[item], { item, inner, length, breadth, into: port[0], out: port[1], box: box >= 0 });
  }
  const lines = linesOf[m];
  const rankOf = (i, end) => things.get(tree.lines[3 * i + end]).rank;
  const used = (port, end) => lines.some((i) => tree.lines[3 * i + end] === port);
  const portElement = () => ({ item: -1, length: 0, breadth: 0, into: 0, out: 0, port: true });
  if (used(-1, 1)) add(-1, 0, tree.ports[3 * m], portElement());
  if (used(-2, 2)) add(-2, tree.ports[3 * m + 2], tree.ports[3 * m + 1], portElement());
  for (let r = 0; r < columns.length; r++) columns[r] ??= [];

  // along: column by column, broken into lines where wrapped
  const widths = columns.map((column) => column.reduce((most, element) => Math.max(most, element.length), 0));
  const rooms = columns.map((column) => Math.max(0, ...column.map((e) => (e.port || down ? 0 : room(e.item)))));
  const gapAfter = columns.map((column, r) => (column.some((e) => e.box) || columns[r + 1]?.some((e) => e.box) ? BOX_GAP : COLUMN_GAP) + rooms[r]);
  const breadths = columns.map((column) => column.reduce((sum, e) => sum + e.breadth + 8, 0));
  let parts = [{ first: 0, last: columns.length - 1, row: 0, shift: 0 }];
  if (mode === "wrapped") {
    const spans = lines.map((i) => [rankOf(i, 1), rankOf(i, 2)]);
    const chosen = wrappedLines({ widths, gapAfter, breadths, spans, chain: skipsOf[m].map((i) => [rankOf(i, 1), rankOf(i, 2)]) }, view, given.breaks.get(m));
    given.breaks.set(m, chosen.breaks);
    parts = chosen.parts;
  }
  const lineOf = parts.flatMap((part, line) => Array(part.last - part.first + 1).fill(line));

  // across: the points that lines pass are elements too
  const routes = [];
  const threads = new Map(); // lines that pass the same point share its element
  const main = mainLines(tree, lines, things);
  for (const i of lines) {
    const from = things.get(tree.lines[3 * i + 1]);
    const to = things.get(tree.lines[3 * i + 2]);
    const path = [from];
    const passed = [];
    if (lineOf[from.rank] === lineOf[to.rank]) {
      for (let p = tree.offsets[i]; p < tree.offsets[i + 1]; p++) {
        const key = `${tree.passed[2 * p]},${tree.passed[2 * p + 1]}`;
        const element = threads.get(key) ?? { item: -1, length: 0, breadth: 0, into: 0, out: 0, thread: true };
        if (!threads.has(key)) add(null, tree.passed[2 * p], tree.passed[2 * p + 1], element);
        threads.set(key, element);
        path.push(element);
        passed.push(element);
      }
      path.push(to);
      if (passed.length || to.rank - from.rank <= 1) {
        for (let j = 1; j < path.length; j++) {
          const passes = (path[j - 1].thread ? 1 : 0) + (path[j].thread ? 1 : 0);
          const weight = passes === 2 ? 8 : main.has(i) ? 60 : passes ? 0.02 : 0.3;
          path[j - 1].near.push([path[j], path[j - 1].out - path[j].into, weight, true]);
          path[j].near.push([path[j - 1], path[j].into - path[j - 1].out, weight, false]);
        }
      }
    }
    routes.push({ number: i, from, to, passed });
  }
  const rowOf = (element) => parts[lineOf[element.rank]].row;
  const rows = parts.reduce((most, part) => Math.max(most, part.row), 0) + 1;
  // lines within a row of a U: straight if nothing lies between their ends, else above the row
  const straight = ({ from, to }) => from.rank === parts[lineOf[from.rank]].last && to.rank === parts[lineOf[to.rank]].first;
  const beside = routes.filter(({ from, to }) => lineOf[from.rank] !== lineOf[to.rank] && rowOf(from) === rowOf(to));
  const heights = parts.map((part) => spreadAcross(columns.slice(part.first, part.last + 1)));
  // along: a gap that steep lines cross is wider
  for (const { from, to, passed } of routes) {
    if (lineOf[from.rank] !== lineOf[to.rank] || down) continue;
    const path = [from, ...passed, to];
    for (let j = 1; j < path.length; j++) {
      const rise = Math.abs(path[j].at + path[j].into - path[j - 1].at - path[j - 1].out);
      const r = path[j - 1].rank;
      gapAfter[r] = Math.max(gapAfter[r], Math.min(MOST_GAP, SLOPE * rise));
    }
  }
  const side = inset.along + (parts.length > 1 ? SIDE : 0);
  const start = [];
  const ends = []; // of the lines so far of each row
  let length = 0;
  parts.forEach((part) => {
    let at = Math.max(side + part.shift, (ends[part.row] ?? -Infinity) + U_GAP);
    for (let r = part.first; r <= part.last; r++) {
      start.push(at);
      length = Math.max(length, at + widths[r] + Math.max(0, rooms[r] - side));
      ends[part.row] = at + widths[r];
      at += widths[r] + gapAfter[r];
    }
  });
  length += side - (down && m ? FRAME_HEAD : 0);

  const lowered = parts.map(() => 0);
  for (const { from, to } of beside.filter(straight).reverse()) {
    const rise = from.at + from.out - to.at - to.into;
    lowered[lineOf[to.rank]] = Math.max(0, rise);
    lowered[lineOf[from.rank]] = Math.max(0, -rise);
  }
  const tops = []; // of each row, and the lower side of its lines
  const bottoms = [];
  let top = inset.across;
  for (let row = 0; row < rows; row++) {
    const within = beside.filter((route) => rowOf(route.from) === row && !straight(route)).sort((a, b) => a.to.rank - a.from.rank - b.to.rank + b.from.rank);
    tops.push(top);
    top += within.length * LANE;
    within.forEach((route, i) => (route.lane = top - LANE * (i + 0.5)));
    let below = top;
    parts.forEach((part, line) => {
      if (part.row !== row) return;
      for (let r = part.first; r <= part.last; r++) for (const element of columns[r]) element.at += top + lowered[line];
      below = Math.max(below, top + lowered[line] + heights[line]);
    });
    bottoms.push(below);
    top = below + ROW_GAP;
  }
  const breadth = top - ROW_GAP + BOX_PAD;

  const points = (route) => {
    const { from, to, passed, lane } = route;
    const out = from.port ? [0, from.at] : [start[from.rank] + (widths[from.rank] + from.length) / 2, from.at + from.out];
    const into = to.port ? [length, to.at] : [start[to.rank] + (widths[to.rank] - to.length) / 2, to.at + to.into];
    const edge = (element, end, across) => [start[element.rank] + (end ? widths[element.rank] : 0), across];
    if (lineOf[from.rank] === lineOf[to.rank]) return [out, edge(from, 1, out[1]), ...passed.flatMap((e) => [edge(e, 0, e.at), edge(e, 1, e.at)]), edge(to, 0, into[1]), into];
    const right = edge(from, 1, out[1])[0] + 4;
    const left = edge(to, 0, into[1])[0] - 4;
    const [a, b] = [rowOf(from), rowOf(to)];
    let middle;
    if (a === b) middle = lane === undefined ? [] : [[right, lane], [left, lane]];
    else {
      const leave = a < b ? bottoms[a] + ROW_GAP / 2 : tops[a] - ROW_GAP / 2;
      const arrive = a < b ? tops[b] - ROW_GAP / 2 : bottoms[b] + ROW_GAP / 2;
      const aside = inset.along + 2 - 3 * (route.number % 3);
      middle = Math.abs(a - b) === 1 ? [[right, leave], [left, leave]] : [[right, leave], [aside, leave], [aside, arrive], [left, arrive]];
    }
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
