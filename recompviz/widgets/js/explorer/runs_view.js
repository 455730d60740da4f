// The history of runs: predicted and measured peaks, device, time, certificate.

import { html, setText } from "../shared/elements.js";
import { formatBytes, formatPercent } from "../shared/units.js";
import { badgeText } from "./run_view.js";
import { rowWithMask } from "../data/plan_table.js";
import { makeDataTable, linkCell } from "../shared/data_table.js";

/** Whether a run executed a plan: its packed keep mask equals the keep mask of the plan. */
export function isRunOf(run, kept) {
  return kept.every((bit, v) => ((run.kept[v >> 3] >> (v & 7)) & 1) === bit);
}

/** The table and row with the keep mask of a run, or null. */
export function rowOfRun(run, tables) {
  for (const [number, table] of tables.entries()) {
    const row = table ? rowWithMask(table, run.kept) : -1;
    if (row >= 0) return { table: number, row };
  }
  return null;
}

/** The panel; `actions` has run(number). */
export function makeRunsView(parent, graph, actions) {
  const forward = graph.time.reduce((sum, t) => sum + t, 0) || 1;
  const title = html("div", "rv-drawer-title", parent);
  const table = makeDataTable(
    parent,
    [
      { name: "run", fill: (cell, run) => linkCell(cell, `Run ${run.number}`, () => actions.run(run), `Show run ${run.number}`) },
      { name: "plan", fill: (cell, run) => cell.append(`${run.name}, +${formatPercent(run.overhead / forward)}`) },
      { name: "predicted", className: "rv-number-cell", fill: (cell, run) => cell.append(formatBytes(run.predictedPeak)) },
      { name: "measured", className: "rv-number-cell", fill: (cell, run) => cell.append(formatBytes(run.measuredPeak)) },
      { name: "off", className: "rv-number-cell", fill: (cell, run) => cell.append(`${((Math.abs(run.measuredPeak - run.predictedPeak) / (run.measuredPeak || 1)) * 100).toFixed(2)}%`) },
      { name: "device", fill: (cell, run) => cell.append(run.device) },
      { name: "took", className: "rv-number-cell", fill: (cell, run) => cell.append(`${run.seconds.toFixed(1)} s`) },
      {
        name: "certificate",
        fill: (cell, run) => {
          const badge = html("span", `rv-badge ${run.certified ? "rv-badge-ok" : "rv-badge-bad"}`, cell, badgeText(run));
          badge.title = run.certificate;
        },
      },
      { name: "notes", className: "rv-why", fill: (cell, run) => cell.append(run.notes.join("; ")) },
    ],
    { caption: "Runs so far, the newest first", noun: "runs", pick: (run) => actions.run(run) },
  );
  return {
    show(runs, can) {
      setText(title, runs.length ? "" : can ? "No run yet: the button above runs the plan shown and measures its memory." : "This Explorer cannot run plans.");
      table.hide(!runs.length);
      table.setRows(() => [...runs].reverse(), [runs]);
    },
    destroy: table.destroy,
  };
}
