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

/**
 * What the views mark: { selected, hovered, about, step }. `about` is the node whose lower set, calls and lifetimes are shown,
 * the one of which the card speaks; a bar of the landscape has its own box of texts, so that it comes after the selected node.
 * `step` is the step whose call is marked.
 */
export function marksOf({ selected, hover, hoverBar, hoverStep, step }) {
  const first = (...numbers) => numbers.find((each) => each >= 0) ?? -1;
  const hovered = first(hoverBar, hover);
  return { selected, hovered: hovered === selected ? -1 : hovered, about: first(hover, selected, hoverBar), step: first(hoverStep, step) };
}

/** The actions that select; `explorer` is made by mount in explorer.js. */
export function makeSelection(explorer) {
  const { graph, state, views } = explorer;
  let marked = -1; // the node of the step that was marked last

  /** Mark in graph and landscape what is selected, what is under the pointer, and the call of the step. Only this function does so. */
  function mark() {
    const marks = marksOf(state);
    marked = views.timeline.nodeOfStep(marks.step);
    views.graph.mark({ ...marks, step: marked });
    views.timeline.mark(marks);
  }

  /** Mark again if the step has another call, because another plan is shown. The graph is then painted once more. */
  function markStep() {
    if (views.timeline.nodeOfStep(marksOf(state).step) !== marked) mark();
  }

  function lightUp() {
    mark();
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
    mark();
  }

  /** A click on a box of the graph, which the reader sees: the page stays where it is, unless the card of the value is not seen. */
  function clickNode(v) {
    select(v === state.selected ? -1 : v);
    views.graph.hintAway?.();
    if (state.selected >= 0) explorer.showSelected(v);
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
    mark();
  }

  function setStep(step) {
    if (state.step === step) return;
    state.step = step;
    views.timeline.setStep(step);
    light();
    mark();
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

  /** Show only the values of a source line; the second time, all. @param asked the element that was clicked, unless it is in the table */
  function setLine(line, asked = null) {
    state.line = state.line === line ? null : line;
    if (state.line !== null && !asked) views.drawer.open("alive");
    light();
    explorer.showDrawer();
    if (state.line !== null && asked) views.drawer.answer("alive", asked);
  }

  function light() {
    views.graph.setAlive?.(litNodes(graph, explorer.reply, state), state.line === null ? "step" : "line");
  }

  /** Show what is alive at the peak, in the table. @param asked the element that was clicked */
  function showPeak(asked) {
    state.category = null;
    state.line = null;
    views.timeline.setFilter(null);
    hoverStep(-1); // the answer is about the peak, not about the step under the pointer
    if (explorer.reply && explorer.reply.peakStep >= 0) setStep(explorer.reply.peakStep);
    light();
    explorer.showDrawer();
    views.drawer.answer("alive", asked);
  }

  return { markStep, hover, hoverBar, clickNode, clickRow, select, selectNode, hoverStep, setStep, pick, setCategory, setLine, showPeak, light, lightUp };
}
