// The plans to choose from: some of the curve, baselines and earlier choices, with their peaks and times, predicted and measured.

import { html, setText } from "../shared/elements.js";
import { costWithUnit, shareText } from "../data/base_time.js";
import { keepMask, leastTotal, reachableRows, rowFor, totalText } from "../data/plan_table.js";
import { makeDataTable, linkCell } from "../shared/data_table.js";
import { costUnit, keepAllTotal } from "./header.js";
import { planName } from "./compare_view.js";
import { isRunOf, measuredStepText } from "./runs_view.js";
import { curveOf, isOffered } from "./switches.js";

const KEEP_ALL = "keep-all";
const SHARES = [0, 0.25, 0.5, 0.75]; // of the range of totals, at which a plan of the curve is listed

/** The plans, the largest peak first, as [{ table, row, name, peak, overhead, shown }]. @param names(number) the name of a table */
export function planRows(tables, state, names) {
  const found = new Map();
  const add = (table, row, name) => {
    const key = `${table}:${row}`;
    if (row < 0 || found.has(key)) return;
    const { totalPeaks, overheads } = tables[table];
    found.set(key, { table, row, name, peak: totalPeaks[row], overhead: overheads[row], shown: table === state.table && row === state.row });
  };
  tables.forEach((table, number) => {
    if (table?.objective === "given") for (let row = 0; row < table.rows; row++) add(number, row, table.names[row]);
  });
  const curve = curveOf(tables, state.table);
  const [least, most] = [leastTotal(tables[curve]), keepAllTotal(tables[curve])];
  const known = [...found.values()].some(({ name }) => name === KEEP_ALL);
  if (!known) add(curve, reachableRows(tables[curve])[0], KEEP_ALL);
  const named = (table, row) => planName(tables, { table, row }, names);
  add(state.table, state.row, named(state.table, state.row));
  for (const share of SHARES) {
    const row = rowFor(tables[curve], least + share * (most - least));
    if (row >= 0 && tables[curve].overheads[row] > 0) add(curve, row, share ? named(curve, row) : `${named(curve, row)}, the leanest`);
  }
  for (const { table, row } of state.earlier) if (isOffered(tables, table, state.theory) && row < tables[table].rows) add(table, row, named(table, row));
  const rows = [...found.values()];
  const keepAll = rows.filter(({ name }) => name === KEEP_ALL); // several tables have this plan
  const listed = keepAll.find(({ shown }) => shown) ?? keepAll[0];
  return rows.filter((row) => row.name !== KEEP_ALL || row === listed).sort((a, b) => b.peak - a.peak || a.overhead - b.overhead);
}

/** The panel. @param base of baseOf in base_time.js; @param actions { choose(table, row) } */
export function makePlansView(parent, graph, base, actions) {
  const { time } = costUnit(graph.timeUnit);
  const title = html("div", "rv-drawer-title", parent);
  let runs = new Map(); // row → its newest run
  const number = "rv-number-cell";
  const choose = ({ table, row }) => actions.choose(table, row);
  let tables = [];
  const peakOf = ({ table, peak }) => totalText(tables[table], peak);
  const table = makeDataTable(
    parent,
    [
      { name: "plan", fill: (cell, row) => linkCell(cell, row.name, () => choose(row), `Show the plan ${row.name}, ${peakOf(row)}`) },
      { name: "peak", className: number, fill: (cell, row) => cell.append(peakOf(row)) },
      { name: time ? "extra time" : "extra units", className: number, fill: (cell, row) => cell.append(costWithUnit(row.overhead, graph.timeUnit)) },
      { name: `of ${base.name}`, className: number, fill: (cell, row) => cell.append(shareText(row.overhead, base)) },
      { name: "peak measured", className: number, fill: (cell, row) => cell.append(runs.get(row) ? totalText(tables[row.table], runs.get(row).measuredPeak) : "–") },
      { name: "step measured", className: number, fill: (cell, row) => cell.append(runs.get(row) ? measuredStepText(runs.get(row)) : "–") },
    ],
    { caption: "Plans, the largest peak first", noun: "plans", pick: choose, mark: (row) => row.shown },
  );
  return {
    show(all, state, names) {
      tables = all;
      setText(title, "Plans: click one to show it");
      const rows = planRows(tables, state, names);
      const from = JSON.stringify([rows, base, state.runs.map((run) => run.number)]);
      table.setRows(() => {
        runs = new Map(rows.map((row) => [row, state.runs.findLast((run) => isRunOf(run, keepMask(tables[row.table], row.row, graph.count)))]));
        return rows;
      }, [from]);
    },
    entry: table.entry,
    restore: table.restore,
    destroy: table.destroy,
  };
}
