// Points on the trade-off curve besides the optima: baselines, loaded plans, and earlier choices.

import { svg } from "../shared/elements.js";
import { totalText } from "../data/plan_table.js";
import { formatBytes, formatPercent } from "../shared/units.js";
import { shareText } from "../data/base_time.js";

export const EARLIER = 12;
const SAME = 8; // pixels; marks of baselines that are nearer would cover each other
const NEAR = 22; // pixels between two points whose names could be confused

/** The earlier choices with one more: newest first, each once. */
export function remember(earlier, choice) {
  const others = earlier.filter((other) => other.table !== choice.table || other.row !== choice.row);
  return [choice, ...others].slice(0, EARLIER);
}

/** Draw the points; pointer and keyboard can choose each. `listen` adds the listeners. `scales.standing`: boxes of texts that are there. */
export function drawPoints(layer, tables, state, scales, choose, listen) {
  const { x, y, left, right, base, top, standing } = scales;
  const focused = document.activeElement?.dataset?.point ?? layer.getRootNode().activeElement?.dataset?.point;
  layer.replaceChildren();
  const place = (table, row) => placeWithin(x(table.totalPeaks[row]), y(table.overheads[row]), { left, right, top });
  const words = (table, row) => `${totalText(table, table.totalPeaks[row])} total bytes, extra time ${shareText(table.overheads[row], base)} of ${base.name}`;

  /** One mark for rows [number of the table, row] at one place; `name(number, row)` of each. */
  function point(rows, name, draw) {
    const outside = (turn) => (turn === null ? "" : ", outside of the picture");
    const texts = rows.map(([number, row]) => `${name(number, row)}: ${words(tables[number], row)}${outside(place(tables[number], row)[2])}`);
    if (rows.length > 1) texts.push("each click chooses the next of them");
    const group = svg("g", { class: "rv-point", tabindex: 0, role: "button", "aria-label": texts.join("; ") }, layer);
    group.dataset.point = rows[0].join(":");
    draw(group, ...place(tables[rows[0][0]], rows[0][1]));
    svg("title", {}, group).textContent = texts.join("\n");
    const chooseNext = () => choose(...nextOf(rows, state));
    listen(group, "pointerdown", (event) => event.stopPropagation());
    listen(group, "click", chooseNext);
    listen(group, "keydown", (event) => {
      event.stopPropagation();
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      chooseNext();
    });
    if (group.dataset.point === focused) group.focus({ preventScroll: true });
  }

  state.earlier.forEach(({ table, row, opening }, i) => {
    if (!tables[table] || row >= tables[table].rows || tables[table].objective === "given") return;
    point([[table, row]], () => (opening ? "the plan shown first" : `earlier choice ${i + 1}`), (group, px, py, turn) => {
      const style = { class: "rv-earlier", opacity: Math.max(0.35, 1 - i / EARLIER) };
      if (turn === null) svg("circle", { cx: px, cy: py, r: 3.8, ...style }, group);
      else svg("path", { ...arrowAt(px, py, turn), ...style }, group);
    });
  });
  const nameAt = makeNames(givenMarks(tables, scales), { left, right, top }, standing);
  for (const rows of givenGroups(tables, scales)) {
    point(rows, (number, row) => `baseline ${tables[number].names[row]}`, (group, px, py, turn) => {
      svg("path", { ...(turn === null ? { d: `M${px} ${py - 5.5}l5.5 5.5l-5.5 5.5l-5.5 -5.5Z` } : arrowAt(px, py, turn)), class: "rv-baseline" }, group);
      const names = rows.map(([number, row]) => tables[number].names[row]);
      const facts = rows.map(([number, row]) => nameWithin("", place(tables[number], row)[2], tables[number].totalPeaks[row], base.time ? tables[number].overheads[row] / base.time : 0));
      const text = namesTogether(names, facts, right - left);
      const { x: at, y: line, anchor } = nameAt(px, py, text);
      svg("text", { x: at, y: line, class: "rv-tick rv-halo", "text-anchor": anchor }, group).textContent = text;
    });
  }
}

/** The rows of baselines and loaded plans, as [number of the table, row]. Keep-all has a point of its own. */
function givenRows(tables) {
  return tables.flatMap((table, number) => (table?.objective === "given" ? Array.from({ length: table.rows }, (_, row) => [number, row]) : []))
    .filter(([number, row]) => tables[number].overheads[row] !== 0);
}

/** The rows of baselines and loaded plans, in groups that have one mark, because their marks would cover each other. @param scales as for drawPoints */
export function givenGroups(tables, scales) {
  const groups = [];
  for (const row of givenRows(tables)) {
    const [px, py] = givenPlace(tables, row, scales);
    const near = groups.find((one) => Math.abs(one.px - px) < SAME && Math.abs(one.py - py) < SAME);
    if (near) near.rows.push(row);
    else groups.push({ px, py, rows: [row] });
  }
  return groups.map(({ rows }) => rows);
}

/** Where the marks of baselines and loaded plans are drawn, as [x, y]. @param scales as for drawPoints */
export function givenMarks(tables, scales) {
  return givenGroups(tables, scales).map(([row]) => givenPlace(tables, row, scales));
}

function givenPlace(tables, [number, row], { x, y, ...edges }) {
  return placeWithin(x(tables[number].totalPeaks[row]), y(tables[number].overheads[row]), edges).slice(0, 2);
}

/** The row [number of the table, row] that a click on a mark of several rows chooses: the one after the plan shown, else the first. */
export function nextOf(rows, state) {
  const shown = rows.findIndex(([number, row]) => number === state.table && row === state.row);
  return rows[(shown + 1) % rows.length];
}

/**
 * One text for the names at one mark: "chen +33%, per-module +28%"; a fact that all share is said once, at the end.
 * @param facts of nameWithin, one for each name, without the name; @param wide the room in pixels
 */
export function namesTogether(names, facts, wide) {
  const shared = facts.every((fact) => fact === facts[0]);
  const each = names.map((name, i) => (facts[i] && !(shared && i < names.length - 1) ? `${name} ${facts[i]}` : name));
  for (let count = each.length; count > 1; count--) {
    const text = each.slice(0, count).join(", ") + (count < each.length ? ` and ${each.length - count} more` : "");
    if (6.2 * text.length <= wide) return text;
  }
  return each.length > 1 ? `${each[0]} and ${each.length - 1} more` : each[0];
}

/**
 * The place of a point in a picture with some edges, as [x, y, turn]. A point that lies outside is shown at the edge by an
 * arrow towards it; `turn` is the direction of the arrow in degrees, 0 for up, or null inside.
 */
export function placeWithin(px, py, { left, right, top }) {
  const [dx, dy] = [px < left - 1 ? -1 : px > right + 1 ? 1 : 0, py < top - 1 ? -1 : 0];
  const turn = dx || dy ? (Math.atan2(dx, -dy) * 180) / Math.PI : null;
  return [dx < 0 ? left : dx > 0 ? right : px, dy ? top : Math.max(top, py), turn];
}

/** The attributes of the path of an arrow. */
export function arrowAt(px, py, turn) {
  return { d: `M${px} ${py - 5}l6 9h-12Z`, ...(turn && { transform: `rotate(${turn} ${px} ${py})` }) };
}

/** The name of a point with the numbers that its place does not show. */
export function nameWithin(name, turn, bytes, share) {
  if (turn === null) return name;
  return [name, Math.abs(turn) < 90 && `+${formatPercent(share)}`, turn !== 0 && formatBytes(bytes)].filter(Boolean).join(" ");
}

/**
 * The first of some heights at which a text covers no point and not the curve; the first one if it covers one everywhere.
 * @param marks of givenMarks; @param heightAt(x) the y of the curve, which falls to the right
 */
export function freeHeight(text, at, heights, marks, heightAt = () => Infinity) {
  const free = (y) => {
    const [left, right, top, bottom] = textBox(text, { ...at, y });
    const clear = heightAt(left) > bottom + 2 || heightAt(right) < top - 2;
    return clear && !marks.some(([px, py]) => left < px + 6 && px - 6 < right && top < py + 6 && py - 6 < bottom);
  };
  return heights.find(free) ?? heights[0];
}

/** The side of a point that is away from its nearest neighbour: 1 for the right, −1 for the left, 0 if none is near. */
export function sideAway(px, py, marks) {
  const near = marks.map(([x, y]) => [x - px, y - py]).filter(([dx, dy]) => (dx || dy) && Math.abs(dx) < NEAR && Math.abs(dy) < NEAR);
  if (!near.length) return 0;
  return -Math.sign(near.reduce((a, b) => (Math.hypot(...b) < Math.hypot(...a) ? b : a))[0]);
}

/**
 * Places for names: above the point, below it or beside it, where neither a point nor another name stands. The name of a
 * point with a near neighbour stands on the side away from it, so that one sees whose name it is.
 * @param marks the points as [x, y]; @param edges { left, right, top } of the picture
 * @param standing boxes of texts that are there, of textBox
 * @returns (x, y, name) → { x, y, anchor } of the text; each call takes the place that it returns
 */
export function makeNames(marks, { left, right, top }, standing = []) {
  const taken = [...standing, ...marks.map(([x, y]) => [x - 6, x + 6, y - 6, y + 6])];
  return (px, py, name) => {
    const candidates = [
      { x: px, y: py - 9, anchor: "middle" },
      { x: px, y: py + 17, anchor: "middle" },
      { x: px + 9, y: py + 4, anchor: "start" },
      { x: px - 9, y: py + 4, anchor: "end" },
      { x: px, y: py + 30, anchor: "middle" },
      { x: px - 7, y: py + 17, anchor: "start" },
      { x: px + 7, y: py + 17, anchor: "end" },
      { x: px - 7, y: py + 30, anchor: "start" },
      { x: px + 7, y: py + 30, anchor: "end" },
      { x: px, y: py + 43, anchor: "middle" },
      { x: px, y: py + 56, anchor: "middle" },
    ];
    if (py <= top) candidates.unshift(candidates[2], candidates[3]); // no room above: the two places beside the mark come first
    const side = sideAway(px, py, marks);
    if (side) candidates.unshift({ x: px + 9 * side, y: py + 4, anchor: side > 0 ? "start" : "end" });
    const places = candidates.map((one) => shiftedInside(name, one, left, right));
    const box = (one) => textBox(name, one);
    const free = ([a, b, c, d]) => a >= left && b <= right && c >= top - 8 && !taken.some(([p, q, r, s]) => a < q && p < b && c < s && r < d);
    const found = places.find((one) => free(box(one))) ?? places[1];
    taken.push(box(found));
    return found;
  };
}

/**
 * Where the name of the bound begins: at `left`, else beside the line of the budget; null if it would cover the line, another
 * text or the curve everywhere.
 * @param edges { left, right, y }; @param line the x of the line of the budget; @param taken boxes of texts, of textBox
 * @param heightAt(x) the y of the curve, which falls to the right
 */
export function boundPlace(text, { left, right, y }, line, taken, heightAt) {
  const [, wide] = textBox(text, { x: 0, y, anchor: "start" });
  const places = [left, line + 6, line - 6 - wide].filter((x) => x >= left && x + wide <= right && !(x - 4 < line && line < x + wide + 4));
  const free = (x) => {
    const [from, to, top, bottom] = textBox(text, { x, y, anchor: "start" });
    return heightAt(to) < top - 1 && !taken.some(([p, q, r, s]) => from < q && p < to && top < s && r < bottom);
  };
  return places.find(free) ?? null;
}

/** A place of a text, shifted between two edges. */
function shiftedInside(text, place, left, right) {
  const [from, to] = textBox(text, place);
  return { ...place, x: place.x + Math.max(left - from, Math.min(0, right - to)) };
}

/** The box of a text of 11 px, as [left, right, top, bottom]. */
export function textBox(text, { x, y, anchor }) {
  const width = 6.2 * text.length;
  const start = x - { start: 0, middle: width / 2, end: width }[anchor];
  return [start, start + width, y - 9, y + 2];
}
