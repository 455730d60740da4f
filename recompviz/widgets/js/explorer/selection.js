// The selection: one node, one step, one category and one source line, which every view shows.

import { aliveMask } from "../data/blocks.js";

/** The nodes to emphasise: those of the chosen source line, else those alive at the chosen step; null if neither is chosen. */
export function litNodes(graph, reply, selection) {
  if (selection.line !== null) return Uint8Array.from(graph.nodes, (node) => (node.source === selection.line ? 1 : 0));
  if (selection.step >= 0 && reply && selection.step < reply.steps) return aliveMask(reply, selection.step, graph.count);
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

  function clickNode(v) {
    selectNode(v === state.selected ? -1 : v);
    views.graph.hintAway?.();
  }

  function selectNode(v) {
    state.selected = v;
    if (v < 0) state.hover = -1;
    lightUp();
  }

  function hoverStep(step) {
    if (state.hoverStep === step) return;
    state.hoverStep = step;
    views.timeline.hoverStep(step);
    views.graph.mark(state.hover >= 0 ? state.hover : state.selected, views.timeline.nodeOfStep(step >= 0 ? step : state.step));
  }

  function setStep(step) {
    if (state.step === step) return;
    state.step = step;
    views.timeline.setStep(step);
    light();
    views.graph.mark(state.hover >= 0 ? state.hover : state.selected, views.timeline.nodeOfStep(step));
    explorer.showDrawer();
  }

  function pick(step, category) {
    state.category = category === state.category ? null : category;
    views.timeline.setFilter(state.category);
    views.drawer.open("alive");
    if (state.step === step) explorer.showDrawer();
    else setStep(step);
    if (views.timeline.nodeOfStep(step) >= 0) selectNode(views.timeline.nodeOfStep(step));
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
    views.graph.setAlive?.(litNodes(graph, explorer.reply, state));
  }

  function showPeak() {
    state.category = null;
    state.line = null;
    views.timeline.setFilter(null);
    views.drawer.open("alive");
    if (explorer.reply && explorer.reply.peakStep >= 0) setStep(explorer.reply.peakStep);
    light();
    explorer.showDrawer();
  }

  return { hover, clickNode, selectNode, hoverStep, setStep, pick, setCategory, setLine, showPeak, light, lightUp };
}
