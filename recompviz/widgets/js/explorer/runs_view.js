// The history of runs: budget, predicted and measured peaks and step times, certificate.

import { html, setText } from "../shared/elements.js";
import { formatBytes, formatPercent, formatTime } from "../shared/units.js";
import { ENOUGH_PAIRS, measuredShare, shareText } from "../data/base_time.js";
import { badgeText, timesLines } from "./run_view.js";
import { rowWithMask } from "../data/plan_table.js";
import { OBJECTIVES } from "./switches.js";
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

/** The name of the plan of a run; "best found, +4.3% of the step" if no other column says the extra time. */
export function runName(run, base) {
  const name = OBJECTIVES[run.name]?.[0] ?? run.name;
  return run.predictedShare != null ? name : `${name}, ${shareText(run.overhead, base)} of ${base.name}`;
}

/** What the table of runs shows, or why there is none. @param sized whether the step can be shown at other sizes */
export function aboutRuns(runs, can, sized) {
  if (!runs.length) return can ? "No run yet: the button above runs the plan shown and measures its memory." : "This Explorer cannot run plans.";
  return `Runs on ${runs.at(-1).device}${sized ? " at the size shown; choose another size to see its runs" : ""}`;
}

/** A predicted time of a run and how much longer it is than the eager step: "160 ms (+14%)"; "–" if the run has none. */
export function stepText(step, eager, share = step / eager - 1) {
  if (!eager || step === null) return "–";
  const more = formatPercent(Math.abs(share));
  return `${formatTime(step)} (${Number.parseFloat(more) ? `${share < 0 ? "−" : "+"}${more}` : "±0%"})`;
}

/** The measured time of a planned step: "160 ms (+14%)", "150 ms (within noise)", "150 ms (no slower)" or "160 ms (+14%, 3 pairs)"; "–" if the run has none. */
export function measuredStepText(run) {
  if (!run.eagerStep) return "–";
  const few = run.spread && run.pairs < ENOUGH_PAIRS ? `, ${run.pairs} pair${run.pairs === 1 ? "" : "s"}` : "";
  return `${formatTime(run.plannedStep)} (${measuredShare(run).text}${few})`;
}

/** The panel; `actions` has run(number). */
export function makeRunsView(parent, base, actions) {
  const title = html("div", "rv-drawer-title", parent);
  const table = makeDataTable(
    parent,
    [
      { name: "run", fill: (cell, run) => linkCell(cell, `Run ${run.number}`, () => actions.run(run), `Show run ${run.number}`) },
      { name: "plan", fill: (cell, run) => cell.append(runName(run, base)) },
      { name: "budget", className: "rv-number-cell", fill: (cell, run) => cell.append(run.budget === null ? "–" : formatBytes(run.budget)) },
      { name: "peak predicted", className: "rv-number-cell", fill: (cell, run) => cell.append(formatBytes(run.predictedPeak)) },
      { name: "peak measured", className: "rv-number-cell", fill: (cell, run) => cell.append(formatBytes(run.measuredPeak)) },
      { name: "off", className: "rv-number-cell", fill: (cell, run) => cell.append(`${((Math.abs(run.measuredPeak - run.predictedPeak) / (run.measuredPeak || 1)) * 100).toFixed(2)}%`) },
      { name: "eager step", className: "rv-number-cell", fill: (cell, run) => cell.append(run.eagerStep ? formatTime(run.eagerStep) : "–") },
      { name: "step predicted", className: "rv-number-cell", fill: (cell, run) => cell.append(stepText(run.predictedStep, run.eagerStep, run.predictedShare)) },
      { name: "step measured", className: "rv-number-cell", fill: (cell, run) => (cell.append(measuredStepText(run)), (cell.title = timesLines(run).join("\n"))) },
      {
        name: "certificate",
        className: "rv-why",
        fill: (cell, run) => {
          const badge = html("span", `rv-badge ${run.certified ? "rv-badge-ok" : "rv-badge-bad"}`, cell, badgeText(run));
          badge.title = `${run.certificate}\nthe whole run, with all its measurements, took ${run.seconds.toFixed(1)} s`;
          if (run.notes.length) html("span", "", cell, ` ${run.notes.join("; ")}`);
        },
      },
    ],
    { caption: "Runs so far, the newest first", noun: "runs", pick: (run) => actions.run(run) },
  );
  return {
    show(runs, can, sized) {
      setText(title, aboutRuns(runs, can, sized));
      table.hide(!runs.length);
      table.setRows(() => [...runs].reverse(), [runs]);
    },
    entry: table.entry,
    restore: table.restore,
    destroy: table.destroy,
  };
}
