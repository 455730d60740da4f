// The selection: one node, one step, one category and one source line, which every view shows.

import { aliveMask } from "../data/blocks.js";

/**
 * The nodes to emphasise: those of the chosen source line, else those alive at the chosen step; null if neither is chosen.
 * While two plans are compared, the graph shows their differences, and the step fades no node.
 */
export function litNodes(graph, reply, selection) {
  if (selection.line !== null) return Uint8Array.from(graph.nodes, (node) => (node.source === selection.line ? 1 : 0));
  if (selection.step >= 0 && !selection.against && reply && selection.step < reply.steps) return aliveMask(reply, selection.step, graph.count);
  return null;
}

/** The actions that select; `explorer` is made by mount in explorer.js. */
export function makeSelection(explorer) {
  const { graph, state, views } = explorer;

  function lightUp() {
    const v = state.hover >= 0 ? state.hover : state.selected;
    views.graph.mark(v, views.timeline.nodeOfStep(state.hoverStep >= 0 ? state.hoverStep : state.step));
    views.timeline.markNode(v);
    views.alive.select(state.selected);
    views.compare.select(state.selected);
    explorer.showCard();
  }

  function hover(v) {
    if (state.hover === v) return;
    state.hover = v;
    lightUp();
  }

  /** A bar of the landscape under the pointer: its node is marked in graph and landscape; −1 for none. */
  function hoverBar(v) {
    if (state.hoverBar === v) return;
    state.hoverBar = v;
    const marked = v >= 0 ? v : state.selected;
    views.graph.mark(marked, views.timeline.nodeOfStep(state.hoverStep >= 0 ? state.hoverStep : state.step));
    views.timeline.markNode(marked);
  }

  /** A click on a box of the graph, which the reader sees: the page stays where it is. */
  function clickNode(v) {
    select(v === state.selected ? -1 : v);
    views.graph.hintAway?.();
  }

  function select(v) {
    state.selected = v;
    if (v < 0) state.hover = -1;
    lightUp();
  }

  /** Select a node in a table, by the search or by the keyboard: the page scrolls until its box is seen. */
  function selectNode(v) {
    select(v);
    if (v >= 0) explorer.showBox(v);
  }

  /** A click on the row of a node: the second one deselects it. */
  function clickRow(v) {
    if (v === state.selected) select(-1);
    else selectNode(v);
  }

  function hoverStep(step) {
    if (state.hoverStep === step) return;
    state.hoverStep = step;
    views.timeline.hoverStep(step);
    const v = [state.hoverBar, state.hover, state.selected].find((each) => each >= 0) ?? -1;
    views.graph.mark(v, views.timeline.nodeOfStep(step >= 0 ? step : state.step));
  }

  function setStep(step) {
    if (state.step === step) return;
    state.step = step;
    views.timeline.setStep(step);
    light();
    views.graph.mark(state.hover >= 0 ? state.hover : state.selected, views.timeline.nodeOfStep(step));
    explorer.showCard();
    explorer.showDrawer();
  }

  /**
   * A click on the landscape: the value of the bar at the pointer (−1: none), or its category if it is of no value. The second
   * click on it, or a click beside the bars, deselects it. Nothing else changes: neither the step, nor the tab, nor the place of the page.
   */
  function pick(v, category) {
    if (category === null) select(v === state.selected ? -1 : v);
    const next = category === state.category ? null : category;
    if (next !== state.category) setCategory(next);
  }

  function setCategory(category) {
    state.category = category;
    views.timeline.setFilter(category);
    explorer.showDrawer();
  }

  function setLine(line) {
    state.line = state.line === line ? null : line;
    if (state.line !== null) views.drawer.open("alive");
    light();
    explorer.showDrawer();
  }

  function light() {
    views.graph.setAlive?.(litNodes(graph, explorer.reply, state), state.line === null ? "step" : "line");
  }

  function showPeak() {
    state.category = null;
    state.line = null;
    views.timeline.setFilter(null);
    views.drawer.open("alive");
    hoverStep(-1); // the answer is about the peak, not about the step under the pointer
    if (explorer.reply && explorer.reply.peakStep >= 0) setStep(explorer.reply.peakStep);
    light();
    explorer.showDrawer();
  }

  return { hover, hoverBar, clickNode, clickRow, select, selectNode, hoverStep, setStep, pick, setCategory, setLine, showPeak, light, lightUp };
}
