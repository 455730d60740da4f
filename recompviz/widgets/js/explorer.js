// The Explorer: one state, five views. A change of the state repaints in the page at once; the kernel confirms.

import { html, setText } from "./elements.js";
import { formatBytes, formatPercent } from "./units.js";
import { readGraph, readLayout, readModules, readTable, readReply, readRun } from "./wire.js";
import { keepMask, segmentsOf, rowFor } from "./plan_table.js";
import { neighbours, lowerSetOf, boundaryOf } from "./lower_sets.js";
import { makeHeader } from "./header.js";
import { makeGraphView } from "./graph_view.js";
import { makeCard } from "./card.js";
import { makeBudgetView } from "./budget_view.js";
import { makeTimelineView } from "./timeline_view.js";
import { makeRunView } from "./run_view.js";

let views = 0;

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
  const graph = readGraph(model.get("_graph"));
  const tables = model.get("_tables").map(readTable);
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
    runs: [],
  };
  const repaints = [];
  let kept = null;
  let segments = null;
  let frame = 0;

  const root = html("div", "rv-explorer", parent);
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", `Explorer of ${graph.title}`);
  const live = html("div", "rv-live", root);
  live.setAttribute("aria-live", "polite");
  const header = makeHeader(root, graph);
  const graphView = makeGraphView(root, graph, near, { hover, pin, select: pinNode, mode }, id, readModules(model.get("_modules")));
  const card = makeCard(root.querySelector(".rv-graph"), graph);
  const below = html("div", "rv-below", root);
  const budgetView = makeBudgetView(below, graph, tables, { budget: setBudget, row: setRow, objective }, id);
  const timelineView = makeTimelineView(below, tables, { step: setStep, pinNode }, () => model.get("_labels"), id);
  const runView = makeRunView(timelineView.head, timelineView.line, graph.device, {
    run: () => model.send({ type: "run" }),
    cancel: () => model.send({ type: "cancel" }),
  });

  // ---- choices

  function setBudget(budget, row) {
    ask({ budget, row, settled: false });
  }

  function setRow(row) {
    ask({ row, budget: tables[state.table].totalPeaks[row], settled: true });
  }

  function objective(index) {
    const table = tables[index];
    const row = Math.max(0, rowFor(table, Math.max(state.budget, Math.min(...table.totalPeaks))));
    ask({ table: index, row, budget: Math.max(state.budget, table.totalPeaks[row]), settled: true });
  }

  function ask(change) {
    const same = (change.table ?? state.table) === state.table && change.row === state.row;
    Object.assign(state, change);
    if (!same || change.settled) {
      // the request number rises with each choice, so that a reply to an older one is known to be stale
      state.request += 1;
      state.confirmed = same && state.confirmed;
      model.set("_asked", { request: state.request, table: state.table, row: state.row, budget: state.budget });
      model.save_changes();
    }
    schedule();
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
    if (state.settled) setText(live, announcement(table, state.row, state.budget, forward));
  }

  function showRun() {
    const run = state.runs.findLast((r) => r.table === state.table && r.row === state.row) ?? null;
    if (run !== state.run) timelineView.setRun(run);
    state.run = run;
    runView.update(model.get("_run"), run);
  }

  function showCard() {
    const v = state.hover >= 0 ? state.hover : state.pinned;
    if (v < 0) return card.hide();
    const inside = lowerSetOf(v, near, graph.count);
    const count = inside.reduce((sum, bit) => sum + bit, 0);
    const segmentCount = segments.reduce((most, s) => Math.max(most, s), 0);
    card.show(v, graphView.rectangleOf(v), { kept: kept[v], segment: segments[v], segmentCount }, count, boundaryOf(inside, near).length, v === state.pinned);
  }

  function lightUp() {
    const v = state.hover >= 0 ? state.hover : state.pinned;
    graphView.mark(v, timelineView.nodeOfStep(state.step));
    timelineView.markNode(v);
    showCard();
  }

  // ---- selection

  function hover(v) {
    if (state.hover === v) return;
    state.hover = v;
    lightUp();
  }

  function pin(v) {
    state.pinned = v === state.pinned ? -1 : v;
    if (v < 0) state.hover = -1;
    graphView.hintAway();
    lightUp();
  }

  function pinNode(v) {
    state.pinned = v;
    lightUp();
  }

  function setStep(step) {
    if (state.step === step) return;
    state.step = step;
    timelineView.setStep(step);
    graphView.mark(state.hover >= 0 ? state.hover : state.pinned, timelineView.nodeOfStep(step));
  }

  function mode(name) {
    model.set("_mode", name);
    model.save_changes();
  }

  // ---- what the kernel says

  function onReply() {
    const reply = readReply(model.get("_reply"));
    if (isStale(reply, state, graph.fingerprint)) return;
    const moved = reply.row !== state.row || reply.table !== state.table;
    if (moved) Object.assign(state, { table: reply.table, row: reply.row, budget: reply.budget, settled: true });
    if (reply.request > state.request) Object.assign(state, { budget: reply.budget, settled: true });
    state.request = reply.request;
    state.confirmed = true;
    timelineView.setReply(reply);
    schedule();
  }

  function onLayout() {
    graphView.setLayout(readLayout(model.get("_layout")));
    lightUp();
  }

  function onRuns() {
    state.runs = model.get("_runs").map(readRun);
    schedule();
  }

  const onRun = () => schedule();
  const onWaiting = () => graphView.setNote(model.get("_waiting"));
  model.on("change:_waiting", onWaiting);
  model.on("change:_reply", onReply);
  model.on("change:_layout", onLayout);
  model.on("change:_runs", onRuns);
  model.on("change:_run", onRun);

  state.runs = model.get("_runs").map(readRun);
  graphView.setLayout(readLayout(model.get("_layout")));
  onWaiting();
  timelineView.setReply(readReply(first));
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
    watch.disconnect();
    model.off("change:_reply", onReply);
    model.off("change:_layout", onLayout);
    model.off("change:_runs", onRuns);
    model.off("change:_run", onRun);
    model.off("change:_waiting", onWaiting);
    for (const view of [graphView, budgetView, timelineView, runView]) view.destroy();
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
