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

/**
 * The parts that are shown: without the paper's view they begin with the bytes of all tensors alive, in which the formula and
 * what it leaves out are one.
 */
export function partsShown(steps, theory) {
  const at = steps.findIndex(({ name }) => name === "liveness");
  if (theory || at < 0) return steps;
  const { total } = steps[at];
  return [{ name: "tensors", change: total, total, why: "tensors alive at the predicted peak, parameters included", behind: [] }, ...steps.slice(at + 1)];
}

/** The title of the parts of a run. */
export function gapTitle(run, theory) {
  if (!run) return `Run this plan to compare its measured bytes with the predicted ones${theory ? " and with the paper's formula" : ""}.`;
  if (!run.gap.length) return "No gap is kept for this run: run the plan again.";
  const formula = theory ? `; the paper's formula gives ${formatBytes(run.gap[0].total)}, because:` : ", by cause:";
  return `Run ${run.number}: predicted ${formatBytes(run.predictedPeak)}, measured ${formatBytes(run.measuredPeak)}${formula}`;
}

/** Bytes with their sign. */
export function signedBytes(bytes) {
  return `${bytes < 0 ? "−" : "+"}${formatBytes(Math.abs(bytes))}`;
}

/** The panel. */
export function makeGapView(parent) {
  const title = html("div", "rv-drawer-title", parent);
  let steps = [];
  const table = makeDataTable(
    parent,
    [
      { name: "cause", fill: (cell, row) => cell.append(row.name) },
      { name: "change", className: "rv-number-cell", fill: (cell, row) => cell.append(row.at ? signedBytes(row.change) : formatBytes(row.change)) },
      { name: "then", className: "rv-number-cell", fill: (cell, row) => cell.append(formatBytes(row.total)) },
      {
        name: "as a bar",
        className: "rv-gap-cell",
        fill: (cell, row) => {
          const [left, width] = gapBar(steps, row.at);
          const bar = html("span", `rv-gap-bar${row.change < 0 ? " rv-falls" : row.at ? " rv-rises" : ""}`, cell);
          bar.style.left = `${left * 100}%`;
          bar.style.width = `max(2px, ${width * 100}%)`;
        },
      },
      { name: "why", className: "rv-why", fill: (cell, row) => cell.append(row.why) },
      { name: "most of it", className: "rv-why", fill: (cell, row) => cell.append(row.behind.slice(0, 2).map(([name, bytes]) => `${name} ${bytes < 0 ? signedBytes(bytes) : formatBytes(bytes)}`).join(", ")) },
    ],
    { caption: "From the predicted to the measured peak", noun: "causes" },
  );
  table.setRows(() => []);
  return {
    show(run, theory) {
      steps = partsShown(run?.gap ?? [], theory);
      setText(title, gapTitle(run, theory));
      table.setRows(() => steps.map((step, at) => ({ ...step, at })), [run?.gap, theory]);
    },
    entry: table.entry,
    restore: table.restore,
    destroy: table.destroy,
  };
}
