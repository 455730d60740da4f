// The gap between the formula and a measured run, split into causes that add up.

import { html, setText } from "../shared/elements.js";
import { formatBytes } from "../shared/units.js";
import { makeDataTable } from "../shared/data_table.js";

/** Start and length of the bar of step i, as fractions of the largest total. */
export function gapBar(steps, i) {
  const most = Math.max(...steps.map((step) => step.total), 1);
  const from = i === 0 ? 0 : steps[i - 1].total;
  return [Math.min(from, steps[i].total) / most, Math.abs(steps[i].total - from) / most];
}

/** Bytes with their sign. */
export function signedBytes(bytes) {
  return `${bytes < 0 ? "−" : "+"}${formatBytes(Math.abs(bytes))}`;
}

/** The panel. */
export function makeGapView(parent) {
  const title = html("div", "rv-drawer-title", parent, "Run a plan to compare its measured bytes with the predicted ones and with the paper's formula.");
  let steps = [];
  const table = makeDataTable(
    parent,
    [
      { name: "cause", fill: (cell, row) => cell.append(row.name) },
      { name: "change", className: "rv-number-cell", fill: (cell, row) => cell.append(row.at ? signedBytes(row.change) : formatBytes(row.change)) },
      { name: "then", className: "rv-number-cell", fill: (cell, row) => cell.append(formatBytes(row.total)) },
      {
        name: "",
        className: "rv-gap-cell",
        fill: (cell, row) => {
          const [left, width] = gapBar(steps, row.at);
          const bar = html("span", `rv-gap-bar${row.change < 0 ? " rv-falls" : row.at ? " rv-rises" : ""}`, cell);
          bar.style.left = `${left * 100}%`;
          bar.style.width = `max(2px, ${width * 100}%)`;
        },
      },
      { name: "why", className: "rv-why", fill: (cell, row) => cell.append(row.why) },
      { name: "most of it", className: "rv-why", fill: (cell, row) => cell.append(row.behind.slice(0, 2).map(([name, bytes]) => `${name} ${formatBytes(bytes)}`).join(", ")) },
    ],
    { caption: "From the formula to the measured peak", noun: "causes" },
  );
  table.setRows(() => []);
  return {
    show(run) {
      steps = run?.gap ?? [];
      setText(title, !run ? "Run this plan to compare its measured bytes with the predicted ones and with the paper's formula." : steps.length ? `Run ${run.number}: predicted ${formatBytes(run.predictedPeak)}, measured ${formatBytes(run.measuredPeak)}; the paper's formula gives ${formatBytes(steps[0].total)}, because:` : "No gap is kept for this run: run the plan again.");
      table.setRows(() => steps.map((step, at) => ({ ...step, at })), [steps]);
    },
    destroy: table.destroy,
  };
}
