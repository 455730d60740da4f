// The header: the traced step and the cost of the plan shown. The tile of formula bytes belongs to the paper's view.

import { html, setText } from "../shared/elements.js";
import { formatBytes, formatPercent } from "../shared/units.js";
import { totalText } from "../data/plan_table.js";
import { ENOUGH_PAIRS, baseOf, costWithUnit, forwardTime, measuredShare, shareText } from "../data/base_time.js";

/** The unit of the costs: whether it is time, its short name, and where the times come from. */
export function costUnit(text = "ms") {
  const found = /^(ns|µs|ms|s)(?: \((\w+)\))?$/.exec(text);
  if (!found) return { time: false, unit: text, from: "not time" };
  const from = { estimated: "predicted by a roofline", measured: "predicted", scaled: "predicted, scaled times" };
  return { time: true, unit: found[1], from: from[found[2]] ?? found[2] ?? "" };
}

/** Whether enough pairs of steps were timed, and they do not show how much longer the planned step takes. */
export function isNoise(run) {
  return Boolean(run?.eagerStep) && run.pairs >= ENOUGH_PAIRS && (!run.resolved || measuredShare(run).noise);
}

/**
 * The numbers of a row: name → [value, unit, remark].
 * @param states of value_states.js
 * @param keepAll the total peak of the plan that keeps everything
 * @param searching whether a search for better plans goes on, so that the overhead is an upper bound
 * @param base of baseOf in base_time.js
 * @param run the last run of the plan, or null: its measured time is shown with the predicted one beside it, if the run
 *   timed enough pairs of steps, otherwise the predicted one; "within noise" or "no slower" if the pairs do not show the extra time
 */
export function figures(graph, table, row, states, keepAll, searching = false, base = baseOf(graph), run = null) {
  const cost = costUnit(graph.timeUnit);
  const counts = [0, 0, 0];
  for (const state of states) counts[state] += 1;
  const [recomputed, kept, unneeded] = counts;
  const overhead = table.overheads[row];
  searching &&= overhead > 0; // no search finds less than nothing
  const measured = run?.eagerStep ? measuredShare(run) : null;
  const predicted = [`${searching ? "≤ " : ""}${shareText(overhead, base)}`, searching ? "searching …" : `of ${base.name}${overhead ? ` · ${costWithUnit(overhead, graph.timeUnit)}` : ""}`, cost.from];
  return {
    total: [totalText(table, table.totalPeaks[row]), "total bytes", `${formatPercent(table.totalPeaks[row] / keepAll)} of keep-all`],
    formula: [formatBytes(table.formulaPeaks[row]), "formula bytes", "paper's model, no liveness"],
    overhead: !measured ? predicted : isNoise(run)
      ? [measured.text, `measured ${measured.range}`, `predicted ${shareText(overhead, base)}`]
      : run.resolved
        ? [measured.text, "of the step · measured", `predicted ${shareText(overhead, base)}`]
        : [predicted[0], `of ${base.name} · predicted`, `only ${run.pairs} pair${run.pairs === 1 ? "" : "s"} measured`],
    values: [`${recomputed}`, "recomputed", unneeded ? `${kept} kept, ${unneeded} not needed later` : `${kept} of ${graph.count} values kept`],
  };
}

/** The bases of the extra time in words: the step, and the forward pass in the second place. */
export function aboutOverhead(graph, overhead, base) {
  const { time } = costUnit(graph.timeUnit);
  const forward = { time: forwardTime(graph), name: "the forward pass" };
  const step = base.name === "the step" ? [`${shareText(overhead, base)} of the eager step, which takes ${costWithUnit(base.time, graph.timeUnit)} (predicted)`] : [];
  const bare = `${time ? "extra time of recomputation" : "recomputation"}: ${costWithUnit(overhead, graph.timeUnit)}`;
  return [bare, ...step, `${shareText(overhead, forward)} of the forward pass alone`].join("\n");
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
  const root = html("div", "rv-header", parent); // no <header>: it would be a banner landmark inside another landmark
  const title = html("div", "rv-title", root);
  html("strong", "", title, graph.title);
  const size = `${graph.count} values · ${graph.edges.length / 2} ${graph.edges.length === 2 ? "edge" : "edges"} · ${graph.device}`;
  html("span", "rv-subtitle", title, size);
  title.title = `${graph.title}\n${size}`;
  const tiles = {};
  const row = html("div", "rv-tiles", root); // one line: a longer remark is cut and does not move what is below
  for (const [key, name] of [["total", "Peak memory"], ["formula", "Peak by the formula"], ["overhead", costUnit(graph.timeUnit).time ? "Extra time" : "Extra units"], ["values", "Values"]]) {
    const tile = html("div", `rv-tile rv-tile-${key}${key === "formula" ? " rv-theory-only" : ""}`, row);
    html("div", "rv-tile-name", tile, name);
    const line = html("div", "rv-tile-line", tile);
    tiles[key] = [html("span", "rv-tile-value", line), html("span", "rv-tile-unit", line), html("div", "rv-tile-remark", tile)];
  }
  const theory = html("button", "rv-button rv-theory-switch", root, "Paper's view");
  theory.title = "Show lower sets, boundaries, segments, the peak formula and the paper's objectives";
  return {
    theory,
    title,
    /** @param searching whether a search for better plans goes on; @param run the last run of the plan, or null */
    update(table, row, states, searching, base, run) {
      root.classList.toggle("rv-interim", searching);
      root.classList.toggle("rv-noise", isNoise(run)); // nothing to point at
      tiles.overhead[1].parentNode.parentNode.title = aboutOverhead(graph, table.overheads[row], base);
      for (const [key, texts] of Object.entries(figures(graph, table, row, states, keepAll, searching, base, run))) {
        texts.forEach((text, i) => setText(tiles[key][i], text));
        tiles[key][2].title = texts[2]; // where the remark is cut
      }
    },
  };
}
