// The view of several ranks under one budget: figures, the budget, the schedule, and the memory of each rank.

import { SILENCE } from "../shared/pacing.js";
import { html, keepBareKeys, listeners, setText } from "../shared/elements.js";
import { inStep } from "../shared/in_step.js";
import { formatBytes, formatPercent, formatTime } from "../shared/units.js";
import { extrasOf, lengthOf, orderOf, peaksOf, readBoard, rowsFor, timesOf } from "./board.js";
import { makeRankBudget } from "./rank_budget.js";
import { makeRankChart } from "./rank_chart.js";
import { makeRankSearch, searching } from "./rank_search.js";

// ms after the last change of the slider until the page asks the kernel
const SETTLE = 150;
const NO_ANSWER = "The kernel does not answer; the figures are those of the page.";
let drawnBoards = 0;

/** What the footer says about the kernel's own simulation. */
export function confirmedText(board, rows, confirmed) {
  const peaks = peaksOf(board, rows);
  if (confirmed.rows.some((row, i) => row !== rows[i])) return "";
  const wrong = peaks.findIndex((peak, i) => peak !== confirmed.peaks[i]);
  if (wrong < 0) return "✓ the kernel simulated these plans again: the same peaks";
  return `the kernel's simulation of ${board.lanes[wrong].name} has a peak of ${formatBytes(confirmed.peaks[wrong])}`;
}

/**
 * Draw a board into an element.
 * @param chosen { budget, request } of the page so far
 * @returns { chosen(), destroy() }
 */
function mountBoard(model, root, chosen, id) {
  const board = readBoard(model.get("_board"));
  const state = { budget: chosen.budget, rows: rowsFor(board, chosen.budget) };
  let { request } = chosen;
  const body = html("div", "rv-rank-board", root);
  const one = board.lanes.length === 1;
  const noun = board.schedule ? (board.lanes[0].stages.length > 1 ? "ranks" : "stages") : one ? "kind of rank" : "kinds of ranks";
  const head = html("div", "rv-header", body);
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
  const budget = makeRankBudget(body, board, { budget: (bytes, settled) => choose(bytes, settled) }, id);
  const readout = html("div", "rv-rank-readout", body);
  readout.setAttribute("role", "status");
  const letters = board.lanes[0].stages.length > 1 ? " 1a, 1b: micro-batch 1 in the first and in the second stage of a rank." : "";
  const hint = `Point at a rank, or focus it and use the arrow keys: what it holds at that moment.${letters}`;
  const chart = makeRankChart(body, board, (text) => setText(readout, text || hint), id);
  setText(readout, hint);
  const foot = html("div", "rv-step-foot", body);
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
        [`${added && searching(model) ? "≤ " : ""}+${formatPercent(without ? added / without : 0)}`, board.estimated ? "estimated" : "", board.schedule ? `at most ${formatTime(most)} a micro-batch` : `${formatTime(most)}`],
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
    waiting = setTimeout(() => setText(answer, NO_ANSWER), SILENCE);
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
  // a choice on the board before may not have been sent
  if (model.get("_chosen").budget === state.budget) confirm();
  else ask();
  root.recompviz = { state, board };

  return {
    chosen: () => ({ budget: state.budget, request }),
    destroy() {
      cancelAnimationFrame(frame);
      clearTimeout(later);
      clearTimeout(waiting);
      resized.disconnect();
      model.off("change:_chosen", changed);
      model.off("change:_confirmed", confirm);
      for (const view of [budget, chart]) view.destroy();
      body.remove();
    },
  };
}

/** Draw the view into an element, and draw each better board of the search in the place of the one before. Returns the function that releases it. */
export function mountRanks(model, parent) {
  const id = `rvr${++drawnBoards}-${Math.random().toString(36).slice(2, 7)}`;
  const { listen, release } = listeners();
  const root = html("div", "rv-explorer rv-step rv-ranks", parent);
  keepBareKeys(root, listen);
  root.setAttribute("role", "group");
  const search = makeRankSearch(root, model);
  let shown = null;
  let drawn = null;
  let held = false; // a pointer is down in the view

  function draw() {
    const message = model.get("_board");
    root.setAttribute("aria-label", `Ranks of ${message.title ?? model.get("_title")}`);
    // a drag, or a budget that is being typed, ends first
    const typing = root.querySelector(".rv-budget-value:focus");
    if (!message.lanes || message === drawn || held || typing) return;
    drawn = message;
    const name = focusedName(root);
    const chosen = shown?.chosen() ?? model.get("_chosen");
    shown?.destroy();
    shown = mountBoard(model, root, chosen, id);
    if (name) [...root.querySelectorAll("[data-focus], input, button")].find((element) => controlName(element) === name)?.focus({ preventScroll: true });
  }
  listen(root, "pointerdown", () => (held = true));
  for (const end of ["pointerup", "pointercancel"]) {
    listen(window, end, () => {
      held = false;
      setTimeout(draw);
    });
  }
  listen(root, "focusout", () => setTimeout(draw));
  const told = () => search.update();
  model.on("change:_board", draw);
  model.on("change:_board", told);
  model.on("change:_search", told);
  draw();
  told();

  return () => {
    model.off("change:_board", draw);
    model.off("change:_board", told);
    model.off("change:_search", told);
    search.destroy();
    shown?.destroy();
    release();
    root.remove();
  };
}

/** What a control is called, the same on every board; a rank by its name only. */
const controlName = (element) => element.dataset.focus ?? element.getAttribute("aria-label") ?? element.textContent;

function focusedName(root) {
  const active = root.getRootNode().activeElement;
  return active && root.contains(active) && active.closest(".rv-rank-board") ? controlName(active) : "";
}

export default {
  initialize: inStep(["_chosen"]),
  render({ model, el }) {
    return mountRanks(model, el);
  },
};
