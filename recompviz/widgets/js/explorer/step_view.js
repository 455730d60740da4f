// The recorded step of a compiled model: its budget, its memory, and its regions and eager code in order.

import { html, keepBareKeys, listeners, setText } from "../shared/elements.js";
import { inStep } from "../shared/in_step.js";
import { makeWatch, UNANSWERED, whenKernelEnds } from "../shared/kernel_note.js";
import { formatBytes, formatPercent, formatTime } from "../shared/units.js";
import { momentName, momentsOf, peakOf, readStep, rowAt } from "../data/step.js";
import { leastTotal, rowFor } from "../data/plan_table.js";
import { makeBudgetView } from "./budget_view.js";
import { makeStepRows } from "./step_rows.js";
import { makeStepChart } from "./step_chart.js";

// ms after the last change of the slider until the page sends it to the kernel
const SETTLE = 150;
// times, 100 ms apart, to look for the Explorer of a region that was opened
const SHOW_TRIES = 50;
let drawnSteps = 0;

/** The front as a plan table of total bytes and milliseconds. */
export function tableOf(step) {
  const peaks = step.peaks.map((peak) => peak + step.resident);
  const leanest = momentsOf(step, step.peaks.length - 1);
  return {
    objective: "live",
    family: "auto",
    base: -1,
    names: [],
    binding: momentName(step, leanest[peakOf(leanest)]),
    rows: peaks.length,
    formulaPeaks: peaks,
    totalPeaks: peaks,
    overheads: step.overheads,
  };
}

/** Bytes that all regions keep at a point. */
export function keptBytes(step, point) {
  return step.regions.reduce((sum, region, i) => sum + region.saved[rowAt(step, point, i)], 0);
}

/** Draw a recorded step into an element. Returns the function that releases it. */
export function mountStep(model, parent) {
  const id = `rvs${++drawnSteps}-${Math.random().toString(36).slice(2, 7)}`;
  const step = readStep(model.get("_step"));
  const table = tableOf(step);
  const { point, budget } = model.get("_chosen");
  const state = { point, budget, wanted: budget, selected: -1, hover: -1, opened: model.get("_opened").region };
  const root = html("div", "rv-explorer rv-step", parent);
  const { listen, release } = listeners();
  keepBareKeys(root, listen);
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", `Recorded step of ${step.title}`);
  const head = html("div", "rv-header", root);
  const title = html("div", "rv-title", head);
  html("strong", "", title, `${step.title}, recorded training step`);
  html("span", "rv-subtitle", title, `${step.summary} · ${step.device} · compiled for ${formatBytes(step.total)}`);
  const tiles = ["Peak memory", "Extra time", "Kept by regions"].map((name, i) => {
    const tile = html("div", `rv-tile rv-tile-${["total", "overhead", "kept"][i]}`, head);
    html("div", "rv-tile-name", tile, name);
    const line = html("div", "rv-tile-line", tile);
    return [html("span", "rv-tile-value", line), html("span", "rv-tile-unit", line), html("div", "rv-tile-remark", tile)];
  });
  const below = html("div", "rv-below", root);
  const graph = {
    time: [step.forwardTime],
    device: step.device,
    capacity: step.total,
    capacityText: `compiled for ${formatBytes(step.total)}`,
  };
  const budgetView = makeBudgetView(below, graph, [table], () => [table], {}, { time: step.stepTime, name: "the step" }, {
    budget: (bytes, row) => choose(row, bytes),
    typed: (bytes) => {
      const budget = Math.max(bytes, leastTotal(table));
      choose(rowFor(table, budget), budget, true, bytes);
    },
    row: (row) => choose(row, table.totalPeaks[row], true),
    choose: (_table, row) => choose(row, table.totalPeaks[row], true),
    objective: () => {},
    solver: () => {},
    binding: () => {
      choose(table.rows - 1, table.totalPeaks[table.rows - 1], true);
      const moments = momentsOf(step, state.point);
      select(moments[peakOf(moments)].region);
    },
  }, id);
  const chart = makeStepChart(below, step, { hover, select }, id);
  const list = makeStepRows(root, step, { hover, select: (region) => select(region, false), open });
  const foot = html("div", "rv-step-foot", root);
  foot.setAttribute("role", "status");
  html("div", "rv-step-foot", root, step.notes.join("; "));

  const shown = { table: 0, earlier: [] };
  /** The state as the view of the budget has it: always the same object. */
  const inBudget = () => Object.assign(shown, { row: state.point, budget: state.budget, wanted: state.wanted });
  let asked = false; // whether a region was clicked and is not yet open
  let frame = 0;
  let later = 0;
  function paint(settled = false) {
    cancelAnimationFrame(frame);
    frame = requestAnimationFrame(() => {
      const peak = table.totalPeaks[state.point];
      const overhead = step.overheads[state.point];
      const kept = keptBytes(step, state.point);
      const texts = [
        [formatBytes(peak), "total bytes", `${formatPercent(peak / table.totalPeaks[0])} of keep-all`],
        [`+${formatPercent(step.stepTime ? overhead / step.stepTime : 0)}`, "of the step", `${formatTime(overhead)} of ${formatTime(step.stepTime)}`],
        [formatBytes(kept), "", `keep-all: ${formatBytes(keptBytes(step, 0))}`],
      ];
      tiles[1][1].parentNode.parentNode.title = step.forwardTime ? `+${formatPercent(overhead / step.forwardTime)} of the forward pass alone` : "";
      tiles.forEach((parts, i) => parts.forEach((part, j) => setText(part, texts[i][j])));
      budgetView.update(inBudget(), settled);
      chart.update(state);
      list.update(state);
    });
  }

  function choose(row, bytes, settled = false, wanted = bytes) {
    Object.assign(state, { point: row, budget: bytes, wanted });
    inBudget();
    paint(settled);
    clearTimeout(later);
    later = setTimeout(() => {
      model.set("_chosen", { point: state.point, budget: state.budget });
      model.save_changes();
    }, settled ? 0 : SETTLE);
  }
  function hover(region) {
    if (state.hover === region) return;
    state.hover = region;
    paint();
  }
  function select(region, show = true) {
    state.selected = region === state.selected ? -1 : region;
    if (show) list.show(state.selected);
    paint();
  }
  /** Say that the kernel does not answer. The slider goes on; regions cannot be opened until an answer comes. */
  const tell = () => {
    setText(foot, UNANSWERED);
    list.answers(false);
  };
  const watch = makeWatch(tell);
  function open(region) {
    state.selected = region;
    asked = true;
    setText(foot, `opening region ${region + 1}, ${step.regions[region].name}`);
    paint();
    try {
      model.send({ type: "open", region });
      watch.expect();
    } catch {
      tell();
    }
  }
  function chosen() {
    const next = model.get("_chosen");
    if (next.point === state.point) return;
    Object.assign(state, next, { wanted: next.budget });
    paint(true);
  }
  function opened() {
    const { region, text } = model.get("_opened");
    watch.heard();
    list.answers(true);
    state.opened = region;
    setText(foot, text);
    paint();
    if (asked) showOpened(SHOW_TRIES);
    asked = false;
  }
  /** Scroll to the Explorer of the region once it is drawn. */
  function showOpened(tries) {
    const box = root.closest(".widget-vbox")?.querySelector(".rv-explorer:not(.rv-step)");
    if (box?.offsetHeight) box.scrollIntoView({ block: "start" });
    else if (tries > 0) setTimeout(showOpened, 100, tries - 1);
  }
  model.on("change:_chosen", chosen);
  model.on("change:_opened", opened);
  const resized = new ResizeObserver(() => {
    budgetView.resize();
    chart.resize();
    paint(true);
  });
  resized.observe(root);
  const stopWaiting = whenKernelEnds(model, tell);
  setText(foot, model.get("_opened").text);
  paint(true);
  root.recompviz = { state };

  return () => {
    cancelAnimationFrame(frame);
    clearTimeout(later);
    resized.disconnect();
    watch.stop();
    stopWaiting();
    model.off("change:_chosen", chosen);
    model.off("change:_opened", opened);
    for (const view of [budgetView, chart, list]) view.destroy();
    release();
    root.remove();
  };
}

export default {
  initialize: inStep(["_chosen"]),
  render({ model, el }) {
    return mountStep(model, el);
  },
};
