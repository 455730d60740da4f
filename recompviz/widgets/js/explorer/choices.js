// Choices of the user: budget, plan, objective, solver, pins. A choice changes the state, repaints the page at once and
// is sent to the kernel.

import { rowFor, leastTotal } from "../data/plan_table.js";
import { planName } from "./compare_view.js";
import { curveOf, offered, switchOf, tableName } from "./switches.js";
import { togglePin } from "./pins.js";
import { remember } from "./points.js";
import { rowOfRun } from "./runs_view.js";

/** The actions that choose; `explorer` is made by mount in explorer.js. */
export function makeChoices(explorer) {
  const { model, state, views } = explorer;
  const curve = () => curveOf(explorer.tables, state.table);

  function setBudget(budget, row) {
    ask({ table: curve(), budget, row, settled: false });
  }

  /** Choose a budget that stays as it is, and the plan for it; the leanest plan if none fits it. */
  function setTyped(wanted) {
    objective(curve(), wanted);
  }

  /** @param stepping whether this is a small step, which the next one replaces: only the last one becomes an earlier choice */
  function setRow(row, stepping = false) {
    choose(curve(), row, stepping);
  }

  function choose(table, row, stepping = false) {
    if (row >= 0) ask({ table, row, budget: explorer.tables[table].totalPeaks[row], settled: true, stepping });
  }

  function objective(index, wanted = state.wanted) {
    const budget = Math.max(wanted, leastTotal(explorer.tables[index]));
    ask({ table: index, row: rowFor(explorer.tables[index], budget), budget, wanted, settled: true });
  }

  function solver(family) {
    const now = explorer.tables[state.table];
    const known = explorer.tables.findIndex((table) => table && table.objective === now.objective && table.family === family && table.base < 0);
    if (known >= 0) objective(known);
    else explorer.send({ type: "solve", objective: now.objective, family });
  }

  /** Go to the leanest plan and show what is alive at its peak. @param asked the element that was clicked */
  function binding(asked) {
    setRow(rowFor(explorer.tables[curve()], leastTotal(explorer.tables[curve()])));
    explorer.showPeak(asked);
  }

  function ask(change) {
    const same = (change.table ?? state.table) === state.table && change.row === state.row;
    // the plan that was shown first can be chosen again, too; a plan that a search or pins showed in between is no earlier choice
    const from = state.rested ?? (model.get("_searching") ? null : state.opening);
    const stays = from?.table === (change.table ?? state.table) && from?.row === change.row;
    if (change.settled && from && !stays && !(change.stepping && state.stepping)) state.earlier = remember(state.earlier, from);
    Object.assign(state, { wanted: change.budget, stepping: false, ...change });
    if (change.settled) {
      state.rested = { table: state.table, row: state.row };
      state.opening = null; // it is an earlier choice from now on
    }
    // a drag ends on the total of its plan; asking for that total during the drag saves a second request at its end
    const budget = state.settled ? state.wanted : explorer.tables[state.table].totalPeaks[state.row];
    if (explorer.renumbered || state.table !== explorer.asked.table || state.row !== explorer.asked.row || budget !== explorer.asked.budget) {
      // the request number rises with each choice, so that a reply to an older one is recognised as stale
      // (another view of this Explorer may have made newer choices, which the kernel has not answered yet)
      state.request = Math.max(state.request, model.get("_asked").request ?? 0) + 1;
      state.confirmed = same && state.confirmed;
      explorer.asked = { request: state.request, table: state.table, row: state.row, budget, edition: explorer.edition };
      explorer.renumbered = false;
    }
    explorer.pacer.ask(explorer.asked, state.settled);
    explorer.schedule();
  }

  function setPins(pins) {
    const base = explorer.tables[state.table].base >= 0 ? explorer.tables[state.table].base : Math.max(0, switchOf(explorer.tables, state.table));
    state.pins = { ...pins, request: state.pins.request + 1, base, edition: explorer.edition, lost: "" };
    model.set("_pins", state.pins);
    model.save_changes();
    explorer.schedule();
  }

  function pinNode(v, direction) {
    setPins(togglePin(state.pins, v, direction));
  }

  /** Compare the plan shown with another one, or with none. A comparison begins without a source line; the step chosen stays. */
  function setAgainst(choice) {
    const begins = choice !== null && state.against === null;
    state.against = choice;
    if (begins) {
      state.line = null;
      views.timeline.pause();
    }
    explorer.light();
    views.timeline.setAgainst(choice, choice ? planName(explorer.tables, choice, (number) => tableName(explorer.tables, number, explorer.families)) : "");
    explorer.schedule();
  }

  function showRunOf(run) {
    const found = rowOfRun(run, explorer.tables);
    if (found) choose(found.table, found.row);
    if (run.gap.length) views.drawer.open("gap");
  }

  /** Show or hide the paper's view. Without it the chooser has no objective of the paper. */
  function setTheory(on) {
    model.set("_theory", on);
    model.save_changes();
    explorer.showTheory(on);
    const shown = offered(explorer.fixed, on);
    const at = switchOf(explorer.tables, state.table);
    if (at >= 0 && !shown.includes(at)) objective(shown[0]);
  }

  return { setTheory, setBudget, setTyped, setRow, choose, objective, solver, binding, setPins, pinNode, setAgainst, showRunOf };
}
