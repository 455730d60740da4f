// The header: the traced step and the cost of the plan shown. Formula bytes and total bytes stand in separate tiles.

import { html, setText } from "../shared/elements.js";
import { formatBytes, formatCost, formatPercent } from "../shared/units.js";

/** The numbers of a row: name → [value, unit, remark]. `keepAll` is the total peak of the plan that keeps everything. */
export function figures(graph, table, row, kept, keepAll) {
  const forward = graph.time.reduce((sum, t) => sum + t, 0);
  const count = kept.reduce((sum, k) => sum + k, 0);
  const overhead = table.overheads[row];
  return {
    total: [formatBytes(table.totalPeaks[row]), "total bytes", `${formatPercent(table.totalPeaks[row] / keepAll)} of keep-all`],
    formula: [formatBytes(table.formulaPeaks[row]), "formula bytes", "paper's model, no liveness"],
    overhead: [forward ? `+${formatPercent(overhead / forward)}` : "0%", "of the forward", `${formatCost(overhead)} of ${formatCost(forward)} ${graph.timeUnit}`],
    values: [`${graph.count - count}`, "recomputed", `${count} of ${graph.count} values kept`],
  };
}

/** The total peak of the row that keeps everything: the largest of the rows without overhead. */
export function keepAllTotal(table) {
  let best = 0;
  for (let row = 0; row < table.rows; row++) if (table.overheads[row] === 0) best = Math.max(best, table.totalPeaks[row]);
  return best || table.totalPeaks[0];
}

/** The header. A table with pins may not have the plan that keeps everything, so `fixed`, the tables of the objectives, gives its total. */
export function makeHeader(parent, graph, fixed) {
  const keepAll = keepAllTotal(fixed[0]);
  const root = html("header", "rv-header", parent);
  const title = html("div", "rv-title", root);
  html("strong", "", title, graph.title);
  html("span", "rv-subtitle", title, `${graph.count} values · ${graph.edges.length / 2} ${graph.edges.length === 2 ? "edge" : "edges"} · ${graph.device}`);
  const tiles = {};
  for (const [key, name] of [["total", "Peak memory"], ["formula", "Peak by the formula"], ["overhead", "Extra forward time"], ["values", "Values"]]) {
    const tile = html("div", `rv-tile rv-tile-${key}`, root);
    html("div", "rv-tile-name", tile, name);
    const line = html("div", "rv-tile-line", tile);
    tiles[key] = [html("span", "rv-tile-value", line), html("span", "rv-tile-unit", line), html("div", "rv-tile-remark", tile)];
  }
  return {
    update(table, row, kept) {
      for (const [key, texts] of Object.entries(figures(graph, table, row, kept, keepAll))) texts.forEach((text, i) => setText(tiles[key][i], text));
    },
  };
}
