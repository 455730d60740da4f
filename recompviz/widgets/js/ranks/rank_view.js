// The view of several ranks under one budget: figures, the budget, the schedule, and the memory of each rank.

import { html, keepBareKeys, listeners, setText } from "../shared/elements.js";
import { inStep } from "../shared/in_step.js";
import { formatBytes, formatPercent, formatTime } from "../shared/units.js";
import { extrasOf, lengthOf, orderOf, peaksOf, readBoard, rowsFor, timesOf } from "./board.js";
import { makeRankBudget } from "./rank_budget.js";
import { makeRankChart } from "./rank_chart.js";

// ms after the last change of the slider until the page asks the kernel, and until it says that there is no answer
const SETTLE = 150;
const SILENCE = 4000;
const ENDED = "The kernel does not answer; the figures are those of the page.";
let drawnBoards = 0;

/** What the footer says about the kernel's own simulation. */
export function confirmedText(board, rows, confirmed) {
  const peaks = peaksOf(board, rows);
  if (confirmed.rows.some((row, i) => row !== rows[i])) return "";
  const wrong = peaks.findIndex((peak, i) => peak !== confirmed.peaks[i]);
  if (wrong < 0) return "✓ the kernel simulated these plans again: the same peaks";
  return `the kernel's simulation of ${board.lanes[wrong].name} has a peak of ${formatBytes(confirmed.peaks[wrong])}`;
}

/** Draw the view into an element. Returns the function that releases it. */
export function mountRanks(model, parent) {
  const id = `rvr${++drawnBoards}-${Math.random().toString(36).slice(2, 7)}`;
  const board = readBoard(model.get("_board"));
  const chosen = model.get("_chosen");
  const state = { budget: chosen.budget, rows: rowsFor(board, chosen.budget) };
  let request = chosen.request;
  const { listen, release } = listeners();
  const root = html("div", "rv-explorer rv-step rv-ranks", parent);
  keepBareKeys(root, listen);
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", `Ranks of ${board.title}`);
  const one = board.lanes.length === 1;
  const noun = board.schedule ? (board.lanes[0].stages.length > 1 ? "ranks" : "stages") : one ? "kind of rank" : "kinds of ranks";
  const head = html("div", "rv-header", root);
  const title = html("div", "rv-title", head);
  html("strong", "", title, `${board.title} on several ranks`);
  const kind = board.schedule || (board.shared ? "one plan for all ranks" : "");
  html("span", "rv-subtitle", title, [`${board.lanes.length} ${noun}`, kind, board.device].filter(Boolean).join(" · "));
  const tiles = ["Largest peak", "Within the budget", "Added step time"].map((name, i) => {
    const tile = html("div", `rv-tile rv-tile-${["total", "fits", "overhead"][i]}`, head);
    html("div", "rv-tile-name", tile, name);
    const line = html("div", "rv-tile-line", tile);
    return [html("span", "rv-tile-value", line), html("span", "rv-tile-unit", line), html("div", "rv-tile-remark", tile), tile];
  });
  const budget = makeRankBudget(root, board, { budget: (bytes, settled) => choose(bytes, settled) }, id);
  const readout = html("div", "rv-rank-readout", root);
  readout.setAttribute("role", "status");
  const letters = board.lanes[0].stages.length > 1 ? " 1a, 1b: micro-batch 1 in the first and in the second stage of a rank." : "";
  const hint = `Point at a rank, or focus it and use the arrow keys: what it holds at that moment.${letters}`;
  const chart = makeRankChart(root, board, (text) => setText(readout, text || hint), id);
  setText(readout, hint);
  const foot = html("div", "rv-step-foot", root);
  const answer = html("span", "", foot);
  answer.setAttribute("role", "status");
  html("span", "rv-rank-notes", foot, board.notes.join("; "));
  const without = lengthOf(timesOf(board, board.lanes.map(() => 0)));

  let frame = 0;
  let later = 0;
  let waiting = 0;
  function paint(settled) {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => {
      const peaks = peaksOf(board, state.rows);
      const order = orderOf(board, state.rows);
      const worst = order[0];
      const fitting = peaks.filter((peak) => peak <= state.budget).length;
      const short = peaks[worst] - state.budget;
      budget.update(state.budget);
      chart.update(state, settled);
      const added = chart.length - without;
      const most = Math.max(...board.lanes.map((lane, i) => extrasOf(lane, state.rows[i])));
      const texts = [
        [formatBytes(peaks[worst]), "total bytes", board.lanes[worst].name],
        [`${fitting} of ${peaks.length}`, noun, short > 0 ? `short by ${formatBytes(short)}` : "all fit"],
        [`+${formatPercent(without ? added / without : 0)}`, board.estimated ? "estimated" : "", board.schedule ? `at most ${formatTime(most)} a micro-batch` : `${formatTime(most)}`],
      ];
      tiles.forEach((parts, i) => [0, 1, 2].forEach((j) => setText(parts[j], texts[i][j])));
      tiles[1][3].classList.toggle("rv-rank-short", short > 0);
    });
  }
  function choose(bytes, settled) {
    Object.assign(state, { budget: bytes, rows: rowsFor(board, bytes) });
    setText(answer, "");
    paint(settled);
    clearTimeout(later);
    later = setTimeout(ask, settled ? 0 : SETTLE);
  }
  function ask() {
    paint(true);
    if (model.get("_chosen").budget === state.budget) return confirm();
    request += 1;
    model.set("_chosen", { budget: state.budget, request });
    model.save_changes();
    if (model.offline) return;
    clearTimeout(waiting);
    waiting = setTimeout(() => setText(answer, ENDED), SILENCE);
  }
  function confirm() {
    const confirmed = model.get("_confirmed");
    if (confirmed.request < request) return;
    clearTimeout(waiting);
    setText(answer, confirmedText(board, state.rows, confirmed));
  }
  function changed() {
    const next = model.get("_chosen");
    if (next.request <= request && next.budget === state.budget) return;
    request = Math.max(request, next.request);
    Object.assign(state, { budget: next.budget, rows: rowsFor(board, next.budget) });
    setText(answer, "");
    paint(true);
    confirm();
  }
  model.on("change:_chosen", changed);
  model.on("change:_confirmed", confirm);
  const resized = new ResizeObserver(() => {
    budget.resize();
    chart.resize();
    paint(true);
  });
  resized.observe(root);
  paint(true);
  confirm();
  root.recompviz = { state, board };

  return () => {
    cancelAnimationFrame(frame);
    clearTimeout(later);
    clearTimeout(waiting);
    resized.disconnect();
    model.off("change:_chosen", changed);
    model.off("change:_confirmed", confirm);
    for (const view of [budget, chart]) view.destroy();
    release();
    root.remove();
  };
}

export default {
  initialize: inStep(["_chosen"]),
  render({ model, el }) {
    return mountRanks(model, el);
  },
};
