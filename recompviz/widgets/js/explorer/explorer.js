// The Explorer: one state, the views that show it, and the functions that change it. A choice repaints the page at once;
// the kernel then confirms it.

import { html, keepBareKeys, listeners } from "../shared/elements.js";
import { inStep } from "../shared/in_step.js";
import { isLight } from "../shared/page_data.js";
import { scrollTo, scrollerOf } from "../shared/scrolling.js";
import { readBound, readGraph, readLayout, readModules, readTable, readReply, readRuns } from "../data/wire.js";
import { heldBytes } from "../data/held_bytes.js";
import { unpackJoint } from "../data/simulated_reply.js";
import { baseOf } from "../data/base_time.js";
import { strataOf } from "../data/strata.js";
import { rowFor, shareFigures } from "../data/plan_table.js";
import { neighbours } from "../data/lower_sets.js";
import { makeGraphView } from "../graph/graph_view.js";
import { pinOf, makePinsView } from "./pins.js";
import { makeFullScreen } from "./full_screen.js";
import { makeHeader } from "./header.js";
import { makeCard } from "./card.js";
import { makeBudgetView } from "./budget_view.js";
import { forgetTarget, makeFitView, targetOf } from "./fit_view.js";
import { markedDevices, otherSizes, sizesText } from "./fit.js";
import { mountOpening, scrollIntoViewOnce } from "./opening.js";
import { makeKernelNote, whenKernelEnds } from "../shared/kernel_note.js";
import { makeTimelineView } from "./timeline_view.js";
import { makeRunView } from "./run_view.js";
import { makeDrawer } from "./drawer.js";
import { makeAliveView } from "./alive_view.js";
import { makeGapView } from "./gap_view.js";
import { makePlansView } from "./plans_view.js";
import { makeCompareView } from "./compare_view.js";
import { asKept, shownAgain } from "./kept_choices.js";
import { asShown } from "./page_choices.js";
import { keptFocus } from "./kept_focus.js";
import { makePacer } from "../shared/pacing.js";
import { makeRunsView } from "./runs_view.js";
import { makeSaveView } from "./save_view.js";
import { makePainting } from "./painting.js";
import { makeSelection } from "./selection.js";
import { makeChoices } from "./choices.js";
import { remember } from "./points.js";
import { curveOf, isOffered } from "./switches.js";
import { listenToKernel } from "./replies.js";

let mounted = 0;
const TABS = { plans: "Plans", alive: "Alive at the peak", compare: "Compare", gap: "Predicted to measured", runs: "Runs", save: "Save and share" };
const ANSWERED = ["run", "solve", "resize"]; // messages that the kernel answers at once

/** The state of a new Explorer: the plan of the kernel's first reply, nothing selected. */
function initialState(model) {
  const { request, table, row, budget, wanted = budget } = model.get("_reply");
  return {
    request,
    table,
    row,
    budget,
    wanted, // the budget that the user asked for; less than `budget` if no known plan fits it
    settled: true, // no drag is going on
    rested: null, // the plan of the user's last choice; a drag shows others until it ends. Null while he has chosen none
    opening: { table, row, opening: true }, // the plan that is shown first; null after the first choice
    stepping: false, // the last choice was a step of the slider, which another step replaces
    confirmed: true, // the kernel has simulated this plan
    hover: -1, // the node under the pointer
    hoverBar: -1, // the node of the bar under the pointer
    selected: -1, // the node that was clicked
    step: -1, // the chosen step of the schedule
    hoverStep: -1,
    category: null,
    line: null,
    against: null, // the plan compared with, as { table, row }
    earlier: [],
    pins: model.get("_pins"),
    runs: readRuns(model.get("_runs")),
    theory: Boolean(model.get("_theory")), // the paper's view
  };
}

/**
 * Draw an Explorer for a widget model into an element. Returns the function that releases it; its `chosen()` is what the
 * reader has chosen, which can be given to the next call as `before`.
 */
export function mount(model, parent, before = null) {
  const id = `rv${++mounted}-${Math.random().toString(36).slice(2, 7)}`;
  const { listen, release } = listeners();
  const graph = readGraph(model.get("_graph"));
  const first = model.get("_reply");
  const fixed = model.get("_tables").map(readTable);
  const state = initialState(model);
  const { request, table, row, wanted } = state;
  const views = {};
  const unanswered = () => {
    views.kernel.tell();
    views.graph.setNote("kernel: no answer");
  };
  const explorer = {
    model,
    graph,
    state,
    views,
    fixed, // the tables of the objectives
    edition: model.get("_edition") ?? 0, // the numbers of tables and rows belong to it
    tables: shareFigures([...fixed, ...model.get("_more").map(readTable)]),
    families: model.get("_solving").families,
    near: neighbours(graph),
    base: baseOf(graph), // what extra time is a per cent of
    asked: { request, table, row, budget: wanted }, // the choice that was sent last
    renumbered: false, // whether a table came or went since, so that its numbers may mean another plan
    reply: null,
    bound: readBound(model.get("_bound")), // of each row of the first table: no strategy recomputes less
    joint: model.joint ?? null, // with it the page simulates each plan at once; null until it is unpacked
    kept: null,
    states: null, // what the plan shown does with each value
    segments: null,
    repaints: [],
    /** Send a message to the kernel; a widget whose kernel is gone throws. */
    send(message) {
      try {
        model.send(message);
        if (ANSWERED.includes(message.type)) views.kernel.expect();
      } catch {
        unanswered();
      }
    },
    /** A message of the kernel came. */
    heard() {
      if (views.kernel.heard()) views.graph.setNote(model.get("_waiting"));
    },
  };
  explorer.pacer = makePacer(
    (choice) => {
      model.set("_asked", choice);
      model.save_changes();
    },
    request,
    unanswered,
  );
  Object.assign(explorer, makePainting(explorer), makeSelection(explorer), makeChoices(explorer));
  let following = 0;
  /** The card follows the boxes, once per frame. */
  explorer.moved = () => {
    if (state.hover >= 0 || state.selected >= 0) following ||= requestAnimationFrame(() => ((following = 0), explorer.showCard()));
  };
  const root = html("div", "rv-explorer", parent);
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", `Explorer of ${graph.title}`);
  explorer.live = html("div", "rv-live", root);
  explorer.live.setAttribute("aria-live", "polite");
  makeViews(explorer, root, id);
  /** Show or hide what belongs to the paper's view, in every view. */
  explorer.showTheory = (on) => {
    state.theory = on;
    root.classList.toggle("rv-theory", on);
    views.header.theory.setAttribute("aria-pressed", String(on));
    views.graph.setTheory(on);
    if (state.against && !isOffered(explorer.tables, state.against.table, on)) explorer.setAgainst(null);
    explorer.schedule();
  };
  /** Scroll the page until the box of a node is seen, and what has the focus as well if both fit; `must`: also if not. */
  explorer.showBox = (v) => {
    const focused = root.getRootNode().activeElement;
    scrollTo(root, views.graph.placeOf(v), root.contains(focused) && focused !== root ? focused : null);
  };
  /** Scroll the page until the card of a selected node is seen, as far as its box stays seen. */
  explorer.showSelected = (v) => {
    if (views.card.below) scrollTo(root, { top: views.graph.placeOf(v).top, bottom: views.card.root.getBoundingClientRect().bottom }, null);
  };
  listen(views.header.theory, "click", () => explorer.setTheory(!state.theory));

  keepBareKeys(root, listen);
  const isTyping = (event) => Boolean(event.target.closest?.("input:not([type=range]), select"));
  // K keeps and R recomputes the selected node, wherever in the Explorer the focus is
  listen(root, "keydown", (event) => {
    const direction = { k: 1, r: -1 }[event.key];
    const canPin = !model.offline && Object.keys(explorer.families).length > 0;
    if (!direction || isTyping(event) || event.ctrlKey || event.metaKey || event.altKey || state.selected < 0) return;
    if (model.offline) views.graph.setNote("only a notebook can plan with pins");
    if (!canPin) return;
    event.preventDefault();
    event.stopPropagation();
    explorer.pinNode(state.selected, direction);
  });
  // Escape deselects the node wherever the focus is, unless the element with the focus has a use for it
  listen(root, "keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented || isTyping(event) || state.selected < 0) return;
    event.preventDefault();
    event.stopPropagation();
    explorer.select(-1);
  });
  /** With the joint graph it is known which bytes memory holds, and which values nothing reads later. */
  explorer.hold = () => {
    ({ bytes: graph.held, unread: graph.unread } = heldBytes(explorer.joint, graph.count));
    explorer.paint(); // finds the states of the values
    views.graph.again();
  };
  const stopListening = listenToKernel(explorer);
  const stopWaiting = whenKernelEnds(model, unanswered);
  if (!explorer.joint) {
    unpackJoint(model.get("_joint")).then((joint) => {
      explorer.joint = joint;
      explorer.hold();
    }, unanswered);
  }

  views.budget.setBound(explorer.bound);
  views.graph.setLayout(readLayout(model.get("_layout")));
  views.graph.setNote(model.get("_waiting"));
  explorer.reply = readReply(first);
  views.timeline.setReply(explorer.reply);
  views.timeline.setStep(-1);
  explorer.showTheory(state.theory);
  explorer.paint();
  if (explorer.joint) explorer.hold();
  let width = 0; // the heights follow from it
  const resized = new ResizeObserver(() => {
    if (root.clientWidth === width) return;
    width = root.clientWidth;
    for (const view of [views.graph, views.budget, views.timeline]) view.resize();
    if (state.hover >= 0 || state.selected >= 0) explorer.showCard();
    explorer.schedule(); // texts have other heights now
  });
  resized.observe(root);
  // read by the tests and by the benchmark
  root.recompviz = {
    repaints: explorer.repaints,
    state,
    get kept() {
      return Array.from(explorer.kept);
    },
    get states() {
      return Array.from(explorer.states);
    },
    get formulaPeak() {
      return explorer.tables[state.table].formulaPeaks[state.row];
    },
  };

  const sizesNow = () => JSON.stringify(model.get("_sizes").now);
  const sizes = sizesNow();
  if (before && before.count === graph.count) {
    explorer.select(before.selected);
    views.drawer.open(before.tab);
    if (before.step >= 0) explorer.setStep(Math.min(before.step, explorer.reply.steps - 1));
    const sameStep = before.sizes === sizesNow();
    const again = (kept) => {
      const found = kept && shownAgain(kept, explorer.tables, sameStep);
      return found && { ...found, ...(kept.opening && { opening: true }) };
    };
    if (before.hasChosen) Object.assign(state, { rested: { table, row }, opening: null }); // the same choice, with the plan that is now the best for it
    state.earlier = before.earlier.map(again).filter(Boolean).reverse().reduce(remember, []);
    const rival = again(before.against);
    if (rival) explorer.setAgainst(rival);
    state.line = before.line; // afterwards: a comparison begins without a source line
    explorer.light();
    explorer.setCategory(before.category);
    for (const [name, entry] of Object.entries(before.entries)) views[name].restore(entry, sameStep);
    explorer.schedule();
  }

  const unmount = () => {
    explorer.stopPainting();
    cancelAnimationFrame(following);
    explorer.pacer.stop();
    resized.disconnect();
    stopListening();
    stopWaiting();
    for (const view of Object.values(views)) view.destroy?.();
    release();
    root.remove();
  };
  const entries = () => Object.fromEntries(Object.entries(views).filter(([, view]) => view.entry).map(([name, view]) => [name, view.entry()]));
  // the tables that the page has had until now: those of the model may be newer
  const kept = (choice) => {
    const found = choice && asKept(explorer.tables, choice);
    return found && { ...found, ...(choice.opening && { opening: true }) };
  };
  const chosen = () => ({ against: kept(state.against), hasChosen: state.rested !== null, earlier: state.earlier.map(kept).filter(Boolean) });
  const selection = () => ({ selected: state.selected, step: state.step, category: state.category, line: state.line });
  unmount.chosen = explorer.chosen = () => ({ ...chosen(), ...selection(), count: graph.count, tab: views.drawer.current, sizes, entries: entries() });
  return unmount;
}

/** Make every view of an Explorer under `root`. */
function makeViews(explorer, root, id) {
  const { model, graph, state, views, fixed, families } = explorer;
  const { hover, hoverBar, clickNode, clickRow, selectNode, hoverStep, setStep, pick, setCategory, setLine, showPeak, pinNode, setPins, setRow, choose } = explorer;
  const all = () => explorer.tables;
  const labels = () => model.get("_labels");
  // the kernel numbers the labels of its replies in another order than the page
  const labelsOf = (reply) => (reply.simulated ? [] : labels());
  const strata = strataOf(graph.nodes.map((node) => node.module), graph.memory);
  const mode = (name) => {
    model.set("_mode", name);
    model.save_changes();
  };
  views.header = makeHeader(root, graph, fixed);
  views.fullScreen = makeFullScreen(views.header.title, root.parentNode);
  const below = html("div", "rv-below", root);
  const { setBudget, objective, solver, binding } = explorer;
  // a budget that the user chooses takes the place of a device, also on the axis
  const instead = (act) => (...values) => {
    const marked = targetOf(model)?.typed;
    forgetTarget(model);
    if (marked) views.budget.setDevices(markedDevices(null));
    return act(...values);
  };
  views.budget = makeBudgetView(below, graph, fixed, all, families, explorer.base, {
    budget: instead(setBudget),
    typed: instead(explorer.setTyped),
    row: instead(setRow),
    left: () => (state.stepping = false),
    choose: instead(choose),
    objective,
    solver,
    binding,
    sizes: () => sizesText(model.get("_sizes").axes, model.get("_sizes").now),
    target: () => targetOf(model),
  }, id, markedDevices(targetOf(model)));
  views.timeline = makeTimelineView(below, graph, strata, fixed, all, { hoverStep, hover: hoverBar, step: setStep, select: explorer.select, pick, category: setCategory, peak: showPeak }, labelsOf, id);
  views.kernel = makeKernelNote(views.timeline.root, views.timeline.line, () => explorer.schedule());
  views.run = makeRunView(views.timeline.runHead, views.timeline.line, graph, explorer.base, {
    show: explorer.showRunOf,
    run: () => explorer.send({ type: "run" }),
    cancel: () => explorer.send({ type: "cancel" }),
    budget: (bytes) => setRow(rowFor(explorer.tables[curveOf(explorer.tables, state.table)], bytes)),
  });
  views.fit = makeFitView(root, model, graph, all, explorer.base, {
    row: setRow,
    typed: explorer.setTyped,
    resize: (sizes, bytes) => explorer.send({ type: "resize", sizes, budget: bytes }),
    keep: () => explorer.send({ type: "keep-sizes" }),
    changed: () => {
      views.budget.setDevices(markedDevices(targetOf(model)));
      explorer.schedule();
    },
  }, id);
  views.graph = makeGraphView(root, graph, explorer.near, { hover, click: clickNode, select: selectNode, mode, moved: explorer.moved }, id, readModules(model.get("_modules")));
  views.card = makeCard(root.querySelector(".rv-graph-row"), graph, { pin: pinNode, line: setLine, close: () => explorer.select(-1) });
  views.pins = makePinsView(root, graph, {
    unpin: (v) => pinNode(v, pinOf(state.pins, v)),
    clear: () => setPins({ ...state.pins, keep: [], recompute: [] }),
    stop: () => explorer.send({ type: "stop" }),
    select: selectNode,
  });
  views.drawer = makeDrawer(root, TABS, id, () => explorer.kept && explorer.showDrawer());
  const { panels } = views.drawer;
  views.plans = makePlansView(panels.plans, graph, explorer.base, { choose });
  views.alive = makeAliveView(panels.alive, graph, strata, labels, { select: clickRow, line: setLine, category: setCategory });
  views.compare = makeCompareView(panels.compare, graph, explorer.base, { against: explorer.setAgainst, select: clickRow }, id);
  views.gap = makeGapView(panels.gap);
  views.runs = makeRunsView(panels.runs, explorer.base, { run: explorer.showRunOf });
  views.save = makeSaveView(
    panels.save,
    graph,
    root,
    {
      now: () => ({ table: state.table, row: state.row, tables: explorer.tables }),
      choose,
      load: (text) => explorer.send({ type: "load", text }),
      page: () => explorer.send({ type: "page" }),
      arrange: () => views.graph.arranged(),
      otherSizes: () => otherSizes(model.get("_sizes").axes, model.get("_sizes").now),
      shown: () => ({ light: isLight(root), view: { graph: views.graph.shown(), target: targetOf(model), choices: asShown(explorer.chosen()) } }),
    },
    Boolean(model.offline),
  );
}

export default {
  initialize: inStep(["_asked", "_pins", "_mode", "_theory"]),
  render({ model, el }) {
    // until the training step is traced, there is only a shell
    const draw = (before) => (model.get("_graph").nodes ? mount(model, el, before) : mountOpening(model, el));
    let release = draw();
    const stopScrolling = scrollIntoViewOnce(model, el);
    // when the kernel has found better plans, or shows the step at other sizes, the Explorer is drawn anew; the graph keeps
    // its view, the keyboard its place, and the reader what he has selected, opened and typed
    const again = () => {
      const focusAgain = keptFocus(el);
      const scroller = scrollerOf(el.firstElementChild);
      const { scrollTop } = scroller;
      const height = el.firstElementChild.offsetHeight;
      const before = release.chosen?.() ?? null;
      release();
      release = draw(before);
      stopScrolling.again();
      // until the first frame has drawn the charts, the view would be less high, and what scrolls it would move
      const { style } = el.firstElementChild;
      style.minHeight = `${height}px`;
      requestAnimationFrame(() => requestAnimationFrame(() => (style.minHeight = "")));
      scroller.scrollTop = scrollTop;
      focusAgain();
    };
    model.on("change:_tables", again);
    return () => {
      model.off("change:_tables", again);
      stopScrolling();
      release();
    };
  },
};
