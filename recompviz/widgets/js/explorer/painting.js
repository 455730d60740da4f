// Painting the Explorer: at most once per frame, every view from the state.

import { setText } from "../shared/elements.js";
import { shareText } from "../data/base_time.js";
import { keepMask, segmentsOf, totalText, totalWriter } from "../data/plan_table.js";
import { lowerSetOf, boundaryOf } from "../data/lower_sets.js";
import { mayImprove, pinArray, pinOf, pinsText } from "./pins.js";
import { planGapText } from "./fit.js";
import { mostKept } from "../data/held_bytes.js";
import { makeSchedule } from "../data/schedule.js";
import { valueStates } from "../data/value_states.js";
import { readReply } from "../data/wire.js";
import { simulateReply } from "../data/simulated_reply.js";
import { isRunOf, rowOfRun } from "./runs_view.js";
import { replacedRun } from "./run_view.js";
import { nodeReading } from "./card.js";
import { tableName } from "./switches.js";

/** The status of a run, without its end if the reader has chosen something since: a failure would hide an earlier run. */
export function statusNow(status, ended, now) {
  const over = status.state === "failed" || status.state === "cancelled";
  return over && ended !== now ? { ...status, state: "idle", text: "", offer: null } : status;
}

/** The text of the live region. */
export function announcement(table, row, budget, base) {
  return `Budget ${totalText(table, budget)} total bytes, peak ${totalText(table, table.totalPeaks[row])} total bytes, extra time ${shareText(table.overheads[row], base)} of ${base.name}`;
}

/** The functions that paint; `explorer` is made by mount in explorer.js. */
export function makePainting(explorer) {
  const { model, graph, state, views } = explorer;
  const nameOf = (number) => tableName(explorer.tables, number, explorer.families);
  let frame = 0;
  let ended = { status: null, choice: "" }; // the status of the run, and what was chosen when it came
  let pinWords = ""; // what the pins cost
  let simulated = null; // the plan whose timeline was simulated last
  let rival = {}; // the plan compared with last, and its states
  let scheduled = {}; // the plan whose order of calls was made last, and that order

  function schedule() {
    if (!frame) frame = requestAnimationFrame(paint);
  }

  function paint() {
    frame = 0;
    const start = performance.now();
    const table = explorer.tables[state.table];
    explorer.kept = keepMask(table, state.row, graph.count);
    explorer.states = statesOf(explorer.kept, order(table));
    explorer.segments = segmentsOf(table, state.row, graph.count);
    const changed = views.graph.paint(explorer.states, explorer.segments);
    const pinned = explorer.tables.find((other) => other?.base >= 0);
    const free = pinned && explorer.tables[pinned.base];
    const improves = table === pinned && mayImprove(model.get("_solving"), free, pinned, state.budget);
    state.searching = Boolean(model.get("_searching")) || improves;
    state.unsearched = model.get("_waiting") !== ""; // a search goes on, or ended before it found plans
    views.header.update(table, state.row, explorer.states, state.searching, explorer.base, runShown());
    state.bound = boundText(table);
    views.budget.update(state, state.settled);
    views.fit.update(state, explorer.reply, views.kernel.shown);
    simulate();
    views.timeline.update(state, state.confirmed || explorer.joint !== null);
    showRun();
    pinWords = pinsText(state.pins, model.get("_solving"), views.kernel.shown, free, pinned, state.budget, explorer.base);
    showCard();
    explorer.repaints.push([performance.now() - start, changed]);
    if (explorer.repaints.length > 1000) explorer.repaints.shift();
    if (!state.settled) return;
    views.graph.setPins?.(pinArray(state.pins, graph.count));
    views.pins.update(state.pins, model.get("_solving"), pinWords, views.kernel.shown);
    showDrawer();
    setText(explorer.live, announcement(table, state.row, state.budget, explorer.base));
  }

  /** The order of calls of the plan shown, or null while the joint graph is not known. */
  function order(table) {
    const { joint } = explorer;
    if (!joint) return null;
    if (scheduled.joint !== joint || scheduled.table !== table || scheduled.row !== state.row) scheduled = { joint, table, row: state.row, of: makeSchedule(joint, explorer.kept) };
    return scheduled.of;
  }

  /**
   * What a plan does with each value. In the paper's view a value is kept or recomputed, as its formula counts them.
   * @param calls the order of calls, or null while the joint graph is not known
   */
  function statesOf(kept, calls) {
    return calls && !state.theory ? valueStates(explorer.joint, kept, calls) : kept;
  }

  /** How close the plan is to the best possible one. */
  function boundText(table) {
    return planGapText(explorer.fixed[0], explorer.bound, table, state.row, explorer.base);
  }

  /** Show the timeline of a plan that the kernel has not confirmed yet, simulated in the page. */
  function simulate() {
    if (state.confirmed || !explorer.joint) {
      simulated = null;
      return;
    }
    if (simulated?.table === explorer.tables[state.table] && simulated.row === state.row) return;
    simulated = { table: explorer.tables[state.table], row: state.row };
    views.timeline.setReply({ ...readReply(simulateReply(explorer.joint, explorer.kept, order(explorer.tables[state.table]))), simulated: true });
    explorer.markStep();
  }

  /** The last run of the plan shown, or null. */
  function runShown() {
    return state.runs.findLast((each) => isRunOf(each, explorer.kept)) ?? null;
  }

  function showRun() {
    const run = runShown();
    if (run !== state.run) views.timeline.setRun(run);
    state.run = run;
    const told = model.get("_run");
    const status = views.kernel.shown && told.state === "running" ? { ...told, state: "idle" } : told;
    const choice = [state.table, state.row, state.pins.request].join();
    if (told !== ended.status) ended = { status: told, choice };
    const old = replacedRun(state.runs, run, state);
    const write = totalWriter(explorer.tables[state.table]);
    views.run.update(statusNow(status, ended.choice, choice), run, old, old !== null && rowOfRun(old, explorer.tables) !== null, write);
  }

  /** Update the open tab. A difference of two plans stays on the graph whichever tab is open. */
  function showDrawer() {
    views.drawer.title("alive", state.step < 0 ? "Alive at the peak" : `Alive at step ${state.step + 1}`);
    views.drawer.title("runs", state.runs.length ? `Runs (${state.runs.length})` : "Runs");
    if (views.drawer.current === "alive") views.alive.show(explorer.reply, state.step, views.timeline.phase, state);
    const difference = views.drawer.current === "compare" || state.against ? views.compare.show(explorer.tables, state, nameOf, explorer, rivalStates(), explorer.joint && ((kept) => mostKept(explorer.joint, kept))) : null;
    views.graph.setDifference?.(difference);
    if (views.drawer.current === "plans") views.plans.show(explorer.tables, state, nameOf);
    if (views.drawer.current === "gap") views.gap.show(state.run, state.theory);
    if (views.drawer.current === "runs") views.runs.show(state.runs, model.get("_run").can, model.get("_sizes").axes.length > 0);
  }

  /** The states of values by the plan compared with, or null. They are read at each move of the pointer, so they are made once. */
  function rivalStates() {
    const { joint } = explorer;
    const { row } = state.against ?? {};
    const table = state.against && explorer.tables[state.against.table];
    if (!table || row >= table.rows) return null;
    const same = rival.table === table && rival.row === row && rival.joint === joint && rival.theory === state.theory;
    if (!same) {
      const kept = keepMask(table, row, graph.count);
      rival = { table, row, joint, theory: state.theory, states: statesOf(kept, joint && makeSchedule(joint, kept)) };
    }
    return rival.states;
  }

  function showCard() {
    const v = state.hover >= 0 ? state.hover : state.selected;
    // the graph shows a difference or a step then, which a card beside the pointer would cover
    const quiet = state.selected < 0 && (state.against !== null || state.step >= 0);
    views.graph.read(quiet ? nodeReading(graph, v, explorer.states, rivalStates()) : null, v < 0);
    if (v < 0 || quiet) {
      views.card.hide();
      return views.graph.dock(-1);
    }
    const inside = lowerSetOf(v, explorer.near, graph.count);
    const count = inside.reduce((sum, bit) => sum + bit, 0);
    const segmentCount = explorer.segments.reduce((most, s) => Math.max(most, s), 0);
    const canPin = !model.offline && Object.keys(explorer.families).length > 0;
    const pin = pinOf(state.pins, v);
    const about = { is: explorer.states[v], segment: explorer.segments[v], segmentCount, pin, pinWords: pin ? pinWords : "", canPin, theory: state.theory };
    views.card.show(v, views.graph.rectangleOf(v), about, count, boundaryOf(inside, explorer.near).length, v === state.selected, state.selected >= 0, (size, before) => views.graph.freeSpot(size, state.selected, before));
    return views.graph.dock(state.selected);
  }

  return { schedule, paint, showDrawer, showCard, stopPainting: () => cancelAnimationFrame(frame) };
}
