// Points on the trade-off curve besides the optima: baselines, loaded plans, and earlier choices.

import { svg } from "../shared/elements.js";
import { formatBytes, formatPercent } from "../shared/units.js";

export const EARLIER = 12;

/** The earlier choices with one more: newest first, each once. */
export function remember(earlier, choice) {
  const others = earlier.filter((other) => other.table !== choice.table || other.row !== choice.row);
  return [choice, ...others].slice(0, EARLIER);
}

/** Draw the points; pointer and keyboard can choose each. `listen` adds the listeners. */
export function drawPoints(layer, tables, state, scales, choose, listen) {
  const { x, y, left, right, forward, top } = scales;
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
  const taken = [];
  tables.forEach((table, number) => {
    if (table?.objective !== "given") return;
    for (let row = 0; row < table.rows; row++) {
      if (table.overheads[row] === 0) continue; // keep-all already has a point
      point(number, row, `baseline ${table.names[row]}`, (group, px, py) => {
        svg("path", { d: `M${px} ${py - 5.5}l5.5 5.5l-5.5 5.5l-5.5 -5.5Z`, class: "rv-baseline" }, group);
        // a name goes above its point, or below it where another name stands
        const free = (at) => !taken.some(([qx, qy]) => Math.abs(qx - px) < 70 && Math.abs(qy - at) < 12);
        const at = [py - 9, py + 16, py + 29, py - 22].find((candidate) => candidate > top + 4 && free(candidate)) ?? py + 16;
        taken.push([px, at]);
        const end = px > right - 60;
        svg("text", { x: end ? px + 4 : px, y: at, class: "rv-tick rv-halo", "text-anchor": end ? "end" : "middle" }, group).textContent = table.names[row];
      });
    }
  });
}
