// Points on the trade-off curve besides the optima: baselines, loaded plans, and earlier choices.

import { svg } from "../shared/elements.js";
import { formatBytes, formatPercent } from "../shared/units.js";

export const EARLIER = 12;

/** The earlier choices with one more: newest first, each once. */
export function remember(earlier, choice) {
  const others = earlier.filter((other) => other.table !== choice.table || other.row !== choice.row);
  return [choice, ...others].slice(0, EARLIER);
}

/** Draw the points; pointer and keyboard can choose each. `listen` adds the listeners. `scales.standing`: boxes of texts that are there. */
export function drawPoints(layer, tables, state, scales, choose, listen) {
  const { x, y, left, right, forward, top, standing } = scales;
  const focused = document.activeElement?.dataset?.point ?? layer.getRootNode().activeElement?.dataset?.point;
  layer.replaceChildren();
  const place = (table, row) => [x(table.totalPeaks[row]), Math.max(top, y(table.overheads[row]))];
  const words = (table, row) => `${formatBytes(table.totalPeaks[row])} total bytes, extra time ${formatPercent(table.overheads[row] / forward)}`;

  function point(number, row, name, draw) {
    const [px, py] = place(tables[number], row);
    if (px < left - 1 || px > right + 1) return;
    const group = svg("g", { class: "rv-point", tabindex: 0, role: "button", "aria-label": `${name}: ${words(tables[number], row)}` }, layer);
    group.dataset.point = `${number}:${row}`;
    draw(group, px, py);
    svg("title", {}, group).textContent = `${name}: ${words(tables[number], row)}`;
    listen(group, "pointerdown", (event) => event.stopPropagation());
    listen(group, "click", () => choose(number, row));
    listen(group, "keydown", (event) => {
      event.stopPropagation();
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      choose(number, row);
    });
    if (group.dataset.point === focused) group.focus({ preventScroll: true });
  }

  state.earlier.forEach(({ table, row }, i) => {
    if (!tables[table] || row >= tables[table].rows || tables[table].objective === "given") return;
    point(table, row, `earlier choice ${i + 1}`, (group, px, py) => svg("circle", { cx: px, cy: py, r: 3.8, class: "rv-earlier", opacity: Math.max(0.35, 1 - i / EARLIER) }, group));
  });
  const given = givenRows(tables);
  const nameAt = makeNames(givenMarks(tables, scales), { left, right, top }, standing);
  for (const [number, row] of given) {
    const name = tables[number].names[row];
    point(number, row, `baseline ${name}`, (group, px, py) => {
      svg("path", { d: `M${px} ${py - 5.5}l5.5 5.5l-5.5 5.5l-5.5 -5.5Z`, class: "rv-baseline" }, group);
      const { x: at, y: base, anchor } = nameAt(px, py, name);
      svg("text", { x: at, y: base, class: "rv-tick rv-halo", "text-anchor": anchor }, group).textContent = name;
    });
  }
}

/** The rows of baselines and loaded plans, as [number of the table, row]. Keep-all has a point of its own. */
function givenRows(tables) {
  return tables.flatMap((table, number) => (table?.objective === "given" ? Array.from({ length: table.rows }, (_, row) => [number, row]) : []))
    .filter(([number, row]) => tables[number].overheads[row] !== 0);
}

/** Where baselines and loaded plans are drawn, as [x, y]. @param scales as for drawPoints */
export function givenMarks(tables, { x, y, top }) {
  return givenRows(tables).map(([number, row]) => [x(tables[number].totalPeaks[row]), Math.max(top, y(tables[number].overheads[row]))]);
}

/** The first of some heights at which a text covers no point; the first one if all do. @param marks of givenMarks */
export function freeHeight(text, at, heights, marks) {
  const free = (y) => {
    const [left, right, top, bottom] = textBox(text, { ...at, y });
    return !marks.some(([px, py]) => left < px + 6 && px - 6 < right && top < py + 6 && py - 6 < bottom);
  };
  return heights.find(free) ?? heights[0];
}

/**
 * Places for names: above the point, below it or beside it, where neither a point nor another name stands.
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
    ];
    const box = (one) => textBox(name, one);
    const free = ([a, b, c, d]) => a >= left && b <= right && c >= top - 8 && !taken.some(([p, q, r, s]) => a < q && p < b && c < s && r < d);
    const found = candidates.find((one) => free(box(one))) ?? candidates[1];
    taken.push(box(found));
    return found;
  };
}

/** The box of a text of 11 px, as [left, right, top, bottom]. */
export function textBox(text, { x, y, anchor }) {
  const width = 6.2 * text.length;
  const start = x - { start: 0, middle: width / 2, end: width }[anchor];
  return [start, start + width, y - 9, y + 2];
}
