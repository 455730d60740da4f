// The Explorer: one state, and views that show it. A change of the state repaints in the page at once; the kernel
// confirms. Which views there are, and which change concerns which of them, is all that is written here.

import { html, listeners, setText } from "../shared/elements.js";
import { formatBytes, formatPercent } from "../shared/units.js";
import { readGraph, readLayout, readModules, readTable, readReply, readRun } from "../data/wire.js";
import { keepMask, segmentsOf, rowFor, leastTotal } from "../data/plan_table.js";
import { neighbours, lowerSetOf, boundaryOf } from "../data/lower_sets.js";
import { litNodes } from "./selection.js";
import { togglePin, pinOf, pinArray, makePinsView } from "./pins.js";
import { remember } from "./points.js";
import { tableName, switchOf } from "./switches.js";
import { makeHeader } from "./header.js";
import { makeGraphView } from "../graph/graph_view.js";
import { makeCard } from "./card.js";
import { makeBudgetView } from "./budget_view.js";
import { makeTimelineView } from "./timeline_view.js";
import { makeRunView } from "./run_view.js";
import { makeDrawer } from "./drawer.js";
import { makeAliveView } from "./alive_view.js";
import { makeGapView } from "./gap_view.js";
import { makeCompareView } from "./compare_view.js";
import { makePacer } from "./pacing.js";
import { makeRunsView, isRunOf, rowOfRun } from "./runs_view.js";
import { makeSaveView } from "./save_view.js";

let views = 0;
const TABS = { alive: "Alive at the peak", compare: "Compare", gap: "Predicted to measured", runs: "Runs", save: "Save and share" };

/** Whether a reply is about an older choice than the page has made since. */
export function isStale(reply, state, fingerprint) {
  return reply.request < state.request || reply.fingerprint !== fingerprint;
}

/** What the live region says. */
export function announcement(table, row, budget, forward) {
  const overhead = forward ? formatPercent(table.overheads[row] / forward) : "0%";
  return `Budget ${formatBytes(budget)} total bytes, peak ${formatBytes(table.totalPeaks[row])} total bytes, overhead ${overhead} of the forward`;
}

/** Draw an Explorer for a widget model into an element; returns what releases it. */
export function mount(model, parent) {
  const id = `rv${++views}-${Math.random().toString(36).slice(2, 7)}`;
  const { listen, release } = listeners();
  const graph = readGraph(model.get("_graph"));
  const fixed = model.get("_tables").map(readTable);
  const families = model.get("_solving").families;
  const near = neighbours(graph);
  const forward = graph.time.reduce((sum, t) => sum + t, 0);
  const first = model.get("_reply");
  const state = {
    request: first.request,
    table: first.table,
    row: first.row,
    budget: first.budget,
    settled: true,
    confirmed: true,
    hover: -1,
    pinned: -1,
    step: -1,
    hoverStep: -1,
    category: null,
    line: null,
    against: null,
    earlier: [],
    pins: model.get("_pins"),
    runs: [],
  };
  const repaints = [];
  const unanswered = () => graphView.setNote("the kernel does not answer: it is busy, or gone; after a restart, run the cell again");
  /** A message to the kernel; one that is gone throws. */
  function send(message) {
    try {
      model.send(message);
    } catch {
      unanswered();
    }
  }
  const pacer = makePacer((choice) => {
    model.set("_asked", choice);
    model.save_changes();
  }, first.request, unanswered);
  let tables = [...fixed, ...model.get("_more").map(readTable)];
  let asked = { request: first.request, table: first.table, row: first.row, budget: first.budget };
  let renumbered = false; // a table has come or gone: what was asked may mean another plan now
  let reply = null;
  let kept = null;
  let segments = null;
  let frame = 0;

  const labels = () => model.get("_labels");
  const all = () => tables;
  const nameOf = (number) => tableName(tables, number, families);
  const root = html("div", "rv-explorer", parent);
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", `Explorer of ${graph.title}`);
  const live = html("div", "rv-live", root);
  live.setAttribute("aria-live", "polite");
  const header = makeHeader(root, graph);
  const graphView = makeGraphView(root, graph, near, { hover, pin, select: selectNode, mode }, id, readModules(model.get("_modules")));
  const card = makeCard(root.querySelector(".rv-graph"), graph, { pin: pinNode, line: setLine });
  const pinsView = makePinsView(root, graph, {
    unpin: (v) => pinNode(v, pinOf(state.pins, v)),
    clear: () => setPins({ ...state.pins, keep: [], recompute: [] }),
    stop: () => send({ type: "stop" }),
    select: selectNode,
  });
  const below = html("div", "rv-below", root);
  const budgetView = makeBudgetView(below, graph, fixed, all, families, { budget: setBudget, row: setRow, choose, objective, solver, binding }, id);
  const timelineView = makeTimelineView(below, fixed, all, { hoverStep, step: setStep, pick, category: setCategory, peak: showPeak }, labels, id);
  const runView = makeRunView(timelineView.runHead, timelineView.line, graph.device, {
    run: () => send({ type: "run" }),
    cancel: () => send({ type: "cancel" }),
    budget: (bytes) => setRow(rowFor(tables[state.table], bytes)),
  });
  const drawer = makeDrawer(root, TABS, id, () => kept && showDrawer());
  const aliveView = makeAliveView(drawer.panels.alive, graph, labels, { select: selectNode, line: setLine, category: setCategory });
  const compareView = makeCompareView(drawer.panels.compare, graph, { against: setAgainst, select: selectNode }, id);
  const gapView = makeGapView(drawer.panels.gap);
  const runsView = makeRunsView(drawer.panels.runs, graph, { run: showRunOf });
  const saveView = makeSaveView(
    drawer.panels.save,
    graph,
    root,
    { now: () => ({ table: state.table, row: state.row, tables }), choose, load: (text) => send({ type: "load", text }), page: () => send({ type: "page" }) },
    Boolean(model.offline),
  );

  // ---- choices

  function setBudget(budget, row) {
    ask({ budget, row, settled: false });
  }

  function setRow(row) {
    choose(state.table, row);
  }

  function choose(table, row) {
    if (row >= 0) ask({ table, row, budget: tables[table].totalPeaks[row], settled: true });
  }

  function objective(index) {
    const budget = Math.max(state.budget, leastTotal(tables[index]));
    ask({ table: index, row: rowFor(tables[index], budget), budget, settled: true });
  }

  function solver(family) {
    const now = tables[state.table];
    const known = tables.findIndex((table) => table && table.objective === now.objective && table.family === family && table.base < 0);
    if (known >= 0) objective(known);
    else send({ type: "solve", objective: now.objective, family });
  }

  function binding() {
    const table = tables[state.table];
    setRow(rowFor(table, leastTotal(table)));
    showPeak();
  }

  function ask(change) {
    const same = (change.table ?? state.table) === state.table && change.row === state.row;
    if (change.settled && !same) state.earlier = remember(state.earlier, state.rested ?? { table: state.table, row: state.row });
    Object.assign(state, change);
    if (change.settled) state.rested = { table: state.table, row: state.row };
    // a drag comes to rest on its plan, so it asks for that plan's total from the start: letting go asks nothing again
    const budget = state.settled ? state.budget : tables[state.table].totalPeaks[state.row];
    if (renumbered || state.table !== asked.table || state.row !== asked.row || budget !== asked.budget) {
      // the request number rises with each choice, so that a reply to an older one is known to be stale
      state.request += 1;
      state.confirmed = same && state.confirmed;
      asked = { request: state.request, table: state.table, row: state.row, budget };
      renumbered = false;
    }
    pacer.tell(asked, state.settled);
    schedule();
  }

  function setPins(pins) {
    const base = tables[state.table].base >= 0 ? tables[state.table].base : Math.max(0, switchOf(tables, state.table));
    state.pins = { ...pins, request: state.pins.request + 1, base };
    model.set("_pins", state.pins);
    model.save_changes();
    schedule();
  }

  function pinNode(v, direction) {
    setPins(togglePin(state.pins, v, direction));
  }

  function setAgainst(choice) {
    state.against = choice;
    timelineView.setAgainst(choice);
    schedule();
  }

  function showRunOf(run) {
    const found = rowOfRun(run, tables);
    if (found) choose(found.table, found.row);
    if (run.gap.length) drawer.open("gap");
  }

  // ---- painting

  function schedule() {
    if (!frame) frame = requestAnimationFrame(paint);
  }

  function paint() {
    frame = 0;
    const start = performance.now();
    const table = tables[state.table];
    kept = keepMask(table, state.row, graph.count);
    segments = segmentsOf(table, state.row, graph.count);
    const changed = graphView.paint(kept, segments);
    header.update(table, state.row, kept);
    budgetView.update(state, state.settled);
    timelineView.update(state, state.confirmed);
    showRun();
    showCard();
    repaints.push([performance.now() - start, changed]);
    if (repaints.length > 1000) repaints.shift();
    if (!state.settled) return;
    graphView.setPins?.(pinArray(state.pins, graph.count));
    const pinnedTable = tables.find((other) => other?.base >= 0);
    pinsView.update(state.pins, model.get("_solving"), pinnedTable && tables[pinnedTable.base], pinnedTable, state.budget);
    showDrawer();
    setText(live, announcement(table, state.row, state.budget, forward));
  }

  function showRun() {
    const run = state.runs.findLast((each) => isRunOf(each, kept)) ?? null;
    if (run !== state.run) timelineView.setRun(run);
    state.run = run;
    runView.update(model.get("_run"), run);
  }

  /** The open tab; a difference stays on the graph whichever is open. */
  function showDrawer() {
    drawer.title("alive", state.step < 0 ? "Alive at the peak" : `Alive at step ${state.step + 1}`);
    drawer.title("runs", state.runs.length ? `Runs (${state.runs.length})` : "Runs");
    if (drawer.current === "alive") aliveView.show(reply, state.step, timelineView.phase, state);
    const difference = drawer.current === "compare" || state.against ? compareView.show(tables, state, nameOf, kept) : null;
    graphView.setDifference?.(difference);
    if (drawer.current === "gap") gapView.show(state.run);
    if (drawer.current === "runs") runsView.show(state.runs, model.get("_run").can);
  }

  function showCard() {
    const v = state.hover >= 0 ? state.hover : state.pinned;
    if (v < 0) return card.hide();
    const inside = lowerSetOf(v, near, graph.count);
    const count = inside.reduce((sum, bit) => sum + bit, 0);
    const segmentCount = segments.reduce((most, s) => Math.max(most, s), 0);
    const canPin = !model.offline && Object.keys(families).length > 0;
    const about = { kept: kept[v], segment: segments[v], segmentCount, pin: pinOf(state.pins, v), canPin };
    return card.show(v, graphView.rectangleOf(v), about, count, boundaryOf(inside, near).length, v === state.pinned);
  }

  function lightUp() {
    const v = state.hover >= 0 ? state.hover : state.pinned;
    graphView.mark(v, timelineView.nodeOfStep(state.hoverStep >= 0 ? state.hoverStep : state.step));
    timelineView.markNode(v);
    aliveView.select(state.pinned);
    compareView.select(state.pinned);
    showCard();
  }

  // ---- selection: a node, a step, a category, a source line

  function hover(v) {
    if (state.hover === v) return;
    state.hover = v;
    lightUp();
  }

  function pin(v) {
    selectNode(v === state.pinned ? -1 : v);
    graphView.hintAway?.();
  }

  function selectNode(v) {
    state.pinned = v;
    if (v < 0) state.hover = -1;
    lightUp();
  }

  function hoverStep(step) {
    if (state.hoverStep === step) return;
    state.hoverStep = step;
    timelineView.hoverStep(step);
    graphView.mark(state.hover >= 0 ? state.hover : state.pinned, timelineView.nodeOfStep(step >= 0 ? step : state.step));
  }

  function setStep(step) {
    if (state.step === step) return;
    state.step = step;
    timelineView.setStep(step);
    light();
    graphView.mark(state.hover >= 0 ? state.hover : state.pinned, timelineView.nodeOfStep(step));
    showDrawer();
  }

  function pick(step, category) {
    state.category = category === state.category ? null : category;
    timelineView.setFilter(state.category);
    drawer.open("alive");
    if (state.step === step) showDrawer();
    else setStep(step);
    if (timelineView.nodeOfStep(step) >= 0) selectNode(timelineView.nodeOfStep(step));
  }

  function setCategory(category) {
    state.category = category;
    timelineView.setFilter(category);
    showDrawer();
  }

  function setLine(line) {
    state.line = state.line === line ? null : line;
    if (state.line !== null) drawer.open("alive");
    light();
    showDrawer();
  }

  function light() {
    graphView.setAlive?.(litNodes(graph, reply, state));
  }

  function showPeak() {
    state.category = null;
    state.line = null;
    timelineView.setFilter(null);
    drawer.open("alive");
    if (reply && reply.peakStep >= 0) setStep(reply.peakStep);
    light();
    showDrawer();
  }

  function mode(name) {
    model.set("_mode", name);
    model.save_changes();
  }

  // K keeps and R recomputes the selected node, wherever in the Explorer the focus is
  listen(root, "keydown", (event) => {
    const direction = { k: 1, r: -1 }[event.key];
    const typing = event.target.closest?.("input:not([type=range]), select");
    if (!direction || typing || event.ctrlKey || event.metaKey || event.altKey || state.pinned < 0 || model.offline || !Object.keys(families).length) return;
    event.preventDefault();
    event.stopPropagation();
    pinNode(state.pinned, direction);
  });

  // ---- what the kernel says

  const handlers = {
    "change:_reply": () => {
      const next = readReply(model.get("_reply"));
      if (isStale(next, state, graph.fingerprint)) return;
      const moved = next.row !== state.row || next.table !== state.table;
      if (moved || next.request > state.request) Object.assign(state, { table: next.table, row: next.row, budget: next.budget, settled: true });
      if (moved) state.rested = { table: next.table, row: next.row };
      Object.assign(state, { request: next.request, confirmed: true });
      asked = { request: next.request, table: next.table, row: next.row, budget: next.budget };
      pacer.answered(next.request);
      graphView.setNote(model.get("_waiting"));
      reply = next;
      timelineView.setReply(reply);
      if (state.step >= reply.steps) setStep(reply.steps - 1);
      light();
      schedule();
    },
    "change:_more": () => {
      renumbered = true;
      tables = [...fixed, ...model.get("_more").map(readTable)];
      const gone = ({ table, row }) => !tables[table] || row >= tables[table].rows;
      state.earlier = state.earlier.filter((choice) => !gone(choice));
      if (state.against && gone(state.against)) setAgainst(null);
      if (gone(state)) Object.assign(state, { table: 0, row: Math.max(0, rowFor(tables[0], state.budget)) });
      schedule();
    },
    "change:_pins": () => {
      if (model.get("_pins").request < state.pins.request) return;
      state.pins = model.get("_pins");
      schedule();
    },
    "change:_layout": () => {
      graphView.setLayout(readLayout(model.get("_layout")));
      light();
      lightUp();
    },
    "change:_runs": () => {
      state.runs = model.get("_runs").map(readRun);
      schedule();
    },
    "change:_run": () => schedule(),
    "change:_waiting": () => graphView.setNote(model.get("_waiting")),
    "change:_solving": () => {
      const { state: how, text } = model.get("_solving");
      if (how === "failed") saveView.tell(text);
      schedule();
    },
    "msg:custom": (message, buffers) => {
      if (message?.type === "page" && buffers?.length) saveView.page(buffers[0]);
    },
  };
  for (const [event, handler] of Object.entries(handlers)) model.on(event, handler);

  state.runs = model.get("_runs").map(readRun);
  graphView.setLayout(readLayout(model.get("_layout")));
  graphView.setNote(model.get("_waiting"));
  reply = readReply(first);
  timelineView.setReply(reply);
  timelineView.setStep(-1);
  paint();
  const watch = new ResizeObserver(() => {
    graphView.resize();
    budgetView.resize();
    timelineView.resize();
    if (state.hover >= 0 || state.pinned >= 0) showCard();
  });
  watch.observe(root);
  // for tests and for the curious
  root.recompviz = {
    repaints,
    state,
    get kept() {
      return Array.from(kept);
    },
    get formulaPeak() {
      return tables[state.table].formulaPeaks[state.row];
    },
  };

  return () => {
    cancelAnimationFrame(frame);
    pacer.stop();
    watch.disconnect();
    for (const [event, handler] of Object.entries(handlers)) model.off(event, handler);
    for (const view of [graphView, card, pinsView, budgetView, timelineView, runView, drawer, compareView, saveView]) view.destroy();
    release();
    root.remove();
  };
}

export default {
  render({ model, el }) {
    let release = mount(model, el);
    // better plans came for a large graph: everything but the graph's own view begins anew
    const again = () => {
      release();
      release = mount(model, el);
    };
    model.on("change:_tables", again);
    return () => {
      model.off("change:_tables", again);
      release();
    };
  },
};
