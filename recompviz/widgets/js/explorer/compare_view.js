// Two plans compared: the values that they treat differently.

import { html, listeners, setText } from "../shared/elements.js";
import { stateChip } from "./state_chip.js";
import { STATE } from "../data/value_states.js";
import { costUnit } from "./header.js";
import { formatBytes } from "../shared/units.js";
import { costWithUnit, shareText } from "../data/base_time.js";
import { keepMask, rowFor, totalText } from "../data/plan_table.js";
import { isOffered } from "./switches.js";
import { rowOfRun } from "./runs_view.js";
import { signedBytes } from "./gap_view.js";
import { makeDataTable, linkCell } from "../shared/data_table.js";

/** The nodes whose states differ, largest first, as [{ node, bytes, time, here, there }]. */
export function differences(graph, here, there) {
  const rows = [];
  for (let v = 0; v < graph.count; v++) if (here[v] !== there[v]) rows.push({ node: v, bytes: graph.memory[v], time: graph.time[v], here: here[v], there: there[v] });
  return rows.sort((a, b) => b.bytes - a.bytes || a.node - b.node);
}

/** 1 where only the first plan keeps, −1 where only the second does; null where nothing differs. */
export function differenceMask(here, there) {
  const keeps = (state) => (state === STATE.kept ? 1 : 0);
  const mask = Int8Array.from(here, (state, v) => keeps(state) - keeps(there[v]));
  return mask.some((bit) => bit) ? mask : null;
}

/** The name of a plan { table, row }; `names(number)` gives the name of a table. */
export function planName(tables, { table, row }, names) {
  if (tables[table].objective === "given") return tables[table].names[row];
  if (table === 0 && row === 0) return "keep-all";
  return `${totalText(tables[table], tables[table].totalPeaks[row])}, ${names(table)}`;
}

/** The plans to compare with, as [{ value, text, group }]: plans that were run, baselines, other objectives, earlier choices; those of the paper only in its view. */
export function rivals(tables, state, names) {
  const found = [];
  tables.forEach((table, number) => {
    if (!isOffered(tables, number, state.theory)) return;
    if (table.objective === "given") {
      for (let row = 0; row < table.rows; row++) found.push({ value: `${number}:${row}`, text: table.names[row], group: "baselines and loaded plans" });
    } else if (number !== state.table) {
      const row = rowFor(table, state.budget);
      if (row >= 0) found.push({ value: `${number}:${row}`, text: names(number), group: "at this budget" });
    }
  });
  const ran = [];
  for (const run of state.runs.toReversed()) {
    const at = rowOfRun(run, tables);
    if (!at || !isOffered(tables, at.table, state.theory) || (at.table === state.table && at.row === state.row)) continue;
    ran.push({ value: `${at.table}:${at.row}`, text: `run ${run.number}, measured ${formatBytes(run.measuredPeak)}`, group: "plans that were run" });
  }
  const given = new Set(found.map(({ text }) => text));
  if (isOffered(tables, 0, state.theory) && !given.has("keep-all")) found.push({ value: "0:0", text: "keep-all", group: "baselines and loaded plans" });
  state.earlier.forEach(({ table, row }) => {
    const other = isOffered(tables, table, state.theory) && tables[table];
    const text = other && row < other.rows ? planName(tables, { table, row }, names) : "";
    if (text && !given.has(text)) found.push({ value: `${table}:${row}`, text, group: "earlier choices" });
  });
  const seen = new Set();
  return [...ran, ...found].filter(({ value }) => !seen.has(value) && seen.add(value));
}

/**
 * The panel.
 * @param base of baseOf in base_time.js
 * @param actions { against({table, row} or null), select(node) }
 */
export function makeCompareView(parent, graph, base, actions, id) {
  const { listen, release } = listeners();
  const head = html("div", "rv-drawer-title", parent);
  const label = html("label", "", head, "Compare the plan shown with ");
  label.htmlFor = `${id}-against`;
  const choice = html("select", "rv-select", head);
  choice.id = `${id}-against`;
  listen(choice, "change", () => {
    const [table, row] = choice.value.split(":").map(Number);
    actions.against(choice.value ? { table, row } : null);
  });
  listen(choice, "keydown", (event) => event.stopPropagation());
  const summary = html("div", "rv-compare-summary", parent);
  summary.setAttribute("role", "status");
  let selected = -1;
  const table = makeDataTable(
    parent,
    [
      { name: "value", fill: (cell, row) => linkCell(cell, graph.nodes[row.node].key, () => actions.select(row.node)) },
      { name: "size", className: "rv-number-cell", fill: (cell, row) => cell.append(formatBytes(row.bytes)) },
      { name: costUnit(graph.timeUnit).time ? "time" : "cost", className: "rv-number-cell", fill: (cell, row) => cell.append(costWithUnit(row.time, graph.timeUnit)) },
      { name: "this plan", fill: (cell, row) => stateChip(cell, row.here) },
      { name: "the other", fill: (cell, row) => stateChip(cell, row.there) },
    ],
    { caption: "Values that the two plans treat differently", noun: "values differ", one: "value differs", pick: (row) => actions.select(row.node), mark: (row) => row.node === selected },
  );
  let offered = "";
  let simulated = null; // the most bytes of kept values of the two plans compared last

  return {
    /**
     * Show the comparison. Returns the mask for the graph, or null.
     * @param shown { kept, states } of the plan shown; @param others the states of values by the other plan, or null
     * @param most(kept) the most bytes of kept values at one step; or null
     */
    show(tables, state, names, { kept, states }, others, most) {
      const found = rivals(tables, state, names);
      const signature = JSON.stringify(found);
      if (signature !== offered) {
        offered = signature;
        choice.replaceChildren(html("option", ""));
        choice.firstChild.value = "";
        choice.firstChild.textContent = "nothing";
        const groups = new Map();
        for (const { value, text, group } of found) {
          if (!groups.has(group)) groups.set(group, Object.assign(html("optgroup", "", choice), { label: group }));
          html("option", "", groups.get(group), text).value = value;
        }
      }
      const against = state.against;
      choice.value = against ? `${against.table}:${against.row}` : "";
      table.hide(!against);
      const other = against && tables[against.table];
      if (!other || against.row >= other.rows) {
        summary.replaceChildren();
        html("span", "rv-muted", summary, "Choose a plan: the table lists the values that the two plans treat differently, and the graph marks those that only one keeps.");
        table.setRows(() => [], [null]);
        return null;
      }
      const mine = tables[state.table];
      const there = keepMask(other, against.row, graph.count);
      const plans = [mine, state.row, other, against.row, Boolean(most)];
      if (!simulated || plans.some((value, i) => value !== simulated.plans[i])) simulated = { plans, bytes: most ? [most(kept), most(there)] : null };
      summary.replaceChildren();
      for (const [name, here, than, text] of [
        ["peak", mine.totalPeaks[state.row], other.totalPeaks[against.row], (b) => `${totalText(mine, b)} total bytes`],
        ...(state.theory ? [["formula", mine.formulaPeaks[state.row], other.formulaPeaks[against.row], (b) => `${formatBytes(b)} formula bytes`]] : []),
        ...(simulated.bytes ? [["kept values, at most at once", ...simulated.bytes, formatBytes]] : []),
      ]) {
        html("span", "", summary, `${name} ${text(here)}, the other ${text(than)} (${signedBytes(than - here)})`);
      }
      const [a, b] = [mine.overheads[state.row], other.overheads[against.row]].map((overhead) => shareText(overhead, base));
      html("span", "", summary, `extra time ${a}, the other ${b} of ${base.name}`);
      html("span", "rv-muted", summary, "on the graph: ① kept by this plan only, ② by the other only; the numbers count the values of a closed module, and its outline is of the side with more bytes");
      table.setRows(() => differences(graph, states, others), [mine, state.row, other, against.row, state.theory, Boolean(most)]);
      return differenceMask(states, others);
    },
    select(v) {
      selected = v;
      table.mark();
    },
    entry: table.entry,
    restore: table.restore,
    destroy() {
      table.destroy();
      release();
    },
  };
}
