// Memory over the step: the landscape of all values, its axes, the budget, the peak, the measured line of a run, and below
// them the phases on the same axis. A step is hovered, or chosen by click, keys, scrubber or player.

import { html, svg, listeners, setText } from "../shared/elements.js";
import { formatBytes, byteTicks } from "../shared/units.js";
import { outlineOf, totalWriter } from "../data/plan_table.js";
import { keepAllTotal } from "./header.js";
import { makePlayer } from "./player.js";
import { MARK_LETTER, limitMark, limitPlace, makeNodeMarks, makePeakMark, peakPlace, peakSpan } from "./timeline_marks.js";
import { makeTimelineLegend, phasedName, PHASES, SHORT } from "./timeline_legend.js";
import { columnSteps, columnValues, totalsOf, stepPath, phaseRuns } from "./timeline_shapes.js";
import { makeLandscape } from "./landscape.js";
import { chartHeights } from "./chart_heights.js";
import { halvings, topOf } from "./enlarged.js";
import { makeLandscapeLabels } from "./landscape_labels.js";
import { makeLandscapePointer } from "./landscape_pointer.js";
import { makeLandscapeKeys } from "./landscape_keys.js";
import { lifeTexts, makeLandscapeTip, phaseTexts, textsOf } from "./landscape_tip.js";
import { WHOLE_STEP, between, cut, including, stepsOf, zoomed } from "./stretch.js";
import { livesOf, nodeOfBlock } from "../data/blocks.js";
import { atPlaces, stepPlaces } from "../data/places.js";

const STRIP = 15;
const EDGE = { left: 58, right: 14, top: 16, bottom: 36 };
const STRIP_NAMES = { 0: "forward", 2: "backward" };
const LETTER_WIDTH = 6.5;
const READING_LETTER = 6.2; // pixels, the mean width
const READING_LINES = 1.8; // of two: a long word goes to the next one

/** The place at a position of the chart, among the places [from, to) that it shows; −1 outside. */
export function hitTest(px, width, from, to) {
  const at = (px - EDGE.left) / (width - EDGE.left - EDGE.right);
  return at < 0 || at >= 1 || to <= from ? -1 : from + Math.floor(at * (to - from));
}

/**
 * The reading of a step, as long as the room allows: without the bands, the smallest first, then with the end of the name.
 * @param parts { number, phase, bytes, most: [band, …], name }; @param room characters
 */
export function readingOf({ number, phase, bytes, most, name }, room) {
  for (let bands = most.length; bands >= 0; bands--) {
    const text = [number, phase, bytes, ...most.slice(0, bands), name].join(" · ");
    if (text.length <= room) return text;
  }
  const head = [number, phase, bytes].join(" · ");
  const left = Math.max(4, Math.floor(room) - head.length - 4);
  return `${head} · …${name.slice(-left)}`;
}

/** The bars of a node: its value, kept or recomputed, and its gradients. */
export function barsOfNode(bars, reply, v) {
  return (k) => v >= 0 && bars.blocks[k] >= 0 && nodeOfBlock(reply, bars.blocks[k]) === v;
}

/**
 * The timeline.
 * @param tables the tables of the objectives; `all()` gives every table; @param strata of strataOf
 * @param actions { hoverStep(step or −1), hover(node), step(step or −1), select(node or −1), pick(node or −1, category or null), category(number), peak() }
 * @param labels() the labels of the steps
 */
export function makeTimelineView(parent, graph, strata, tables, all, actions, labels, id) {
  const { listen, release } = listeners();
  const keepAll = Math.max(...tables.map(keepAllTotal), 1);
  const HEIGHT = chartHeights(globalThis.innerHeight).landscape;
  const BASE = HEIGHT - EDGE.bottom;
  const STRIP_TOP = BASE + 5;
  const root = html("section", "rv-panel rv-timeline", parent);
  const head = html("div", "rv-panel-head", root);
  html("span", "rv-wide-only", html("span", "rv-panel-title", head, "Memory"), " over the step");
  const playerHead = html("div", "rv-player-line", head);
  html("span", "rv-gap", head);
  const runHead = html("div", "rv-run-head", head);
  const line = html("div", "rv-status", root); // of a fixed height, so that no text moves the landscape
  const note = html("span", "rv-readout", line);
  const plot = html("div", "rv-plot", root);
  const canvas = html("canvas", "rv-landscape", plot);
  canvas.setAttribute("aria-hidden", "true");
  const chart = svg("svg", { class: "rv-chart", height: HEIGHT, role: "group", tabindex: 0 }, plot);
  const description = html("div", "rv-live", plot);
  description.id = `${id}-landscape`;
  chart.setAttribute("aria-describedby", description.id);
  const tip = makeLandscapeTip(plot);
  const controls = html("div", "rv-plot-controls", plot);
  const enlarge = html("button", "rv-button", controls, "Enlarge");
  enlarge.title = "Show the plan alone, without the peak of keep-all";
  enlarge.hidden = true;
  const back = html("button", "rv-button", controls, "Whole step");
  back.title = "Show the whole step (double click, or 0)";
  back.hidden = true;
  const player = makePlayer(playerHead, root, { step: (place) => actions.step(place < 0 ? -1 : places.top[place]) }, id);
  const legend = makeTimelineLegend(root, strata.names, actions.category);
  const grid = svg("g", {}, chart);
  const clip = svg("clipPath", { id: `${id}-stretch` }, chart);
  const clipped = svg("rect", { x: EDGE.left, y: 0 }, clip);
  const limit = svg("line", { class: "rv-budget-line" }, chart); // below the texts, which it would cross
  const inside = svg("g", { "clip-path": `url(#${id}-stretch)` }, chart);
  const rival = svg("path", { class: "rv-rival" }, inside);
  const ghost = svg("path", { class: "rv-ghost" }, inside);
  const outline = svg("path", { class: "rv-outline" }, inside);
  const names = makeLandscapeLabels(svg("g", { "aria-hidden": "true" }, inside), strata);
  const casing = svg("path", { class: "rv-measured-casing" }, inside);
  const measuredLine = svg("path", { class: "rv-measured" }, inside);
  const limitText = svg("text", { class: "rv-limit rv-halo" }, chart);
  const strip = svg("g", { class: "rv-strip" }, inside);
  const nodeMarks = makeNodeMarks(inside, STRIP_TOP, STRIP);
  const playhead = svg("g", { class: "rv-playhead", visibility: "hidden" }, inside);
  const playlines = [svg("line", { class: "rv-playhead-casing" }, playhead), svg("line", {}, playhead)];
  const crosshair = svg("line", { class: "rv-crosshair", visibility: "hidden" }, inside);
  const brush = svg("rect", { class: "rv-brush", y: EDGE.top, height: STRIP_TOP + STRIP - EDGE.top, visibility: "hidden" }, chart);
  const peakMark = makePeakMark(inside, actions.peak);
  const landscape = makeLandscape(canvas, strata);

  let width = 0;
  let reply = null;
  let totals = new Float64Array(0);
  let places = { count: 1, of: [0, 1], first: [0, 1], top: [0] }; // of stepPlaces; every x is a place
  let placeTotals = totals;
  let state = { table: 0, row: 0, budget: 0 };
  let run = null;
  let top = 1;
  let enlarged = false; // whether the plan alone is shown
  let step = -1; // under the pointer
  let chosen = -1;
  let marks = { selected: -1, hovered: -1, about: -1 }; // of marksOf in selection.js
  let against = null;
  let againstName = "";
  let filter = null;
  let stretch = WHOLE_STEP;
  let view = WHOLE_STEP; // the stretch in whole places of the reply

  const inner = () => width - EDGE.left - EDGE.right;
  const x = (fraction) => EDGE.left + ((fraction - view.from) / (view.to - view.from)) * inner();
  const y = (bytes) => BASE - (bytes / top) * (BASE - EDGE.top);
  const nameOf = (s) => labels(reply)[reply.stepLabels[s]] ?? graph.nodes[reply.stepNodes[s]]?.key ?? "";
  const shown = () => stepsOf(stretch, places.count);
  const start = (s) => x(places.of[s] / places.count);
  const middleOf = (s) => (places.of[s] + 0.5) / places.count;
  const middle = (s) => x(middleOf(s));
  const stepAt = (px) => {
    const place = hitTest(px, width, ...shown());
    return place < 0 ? -1 : places.top[place];
  };

  /** Set the bytes at the top; whether they changed. */
  function setTop() {
    const whole = Math.max(keepAll, run?.measuredPeak ?? 0);
    const need = Math.max(reply?.peak ?? 0, Math.min(state.budget, whole), run?.measuredPeak ?? 0);
    const before = top;
    top = topOf(whole, need, enlarged);
    const idle = !enlarged && halvings(whole, need) === 0;
    if (enlarge.hidden !== idle) enlarge.hidden = idle;
    return top !== before;
  }

  function setEnlarged(on) {
    enlarged = on;
    enlarge.setAttribute("aria-pressed", String(on));
  }

  function draw() {
    setTop();
    chart.setAttribute("width", width);
    clipped.setAttribute("width", Math.max(0, inner()));
    clipped.setAttribute("y", 2); // enlarged, the line of keep-all goes beyond
    clipped.setAttribute("height", HEIGHT - 2);
    Object.assign(canvas.style, { left: `${EDGE.left}px`, top: `${EDGE.top}px` });
    grid.replaceChildren();
    for (const bytes of byteTicks(0, top, 4)) {
      svg("line", { x1: EDGE.left, x2: width - EDGE.right, y1: y(bytes), y2: y(bytes), class: bytes ? "rv-grid" : "rv-axis" }, grid);
      svg("text", { x: EDGE.left - 5, y: y(bytes) + 3.5, class: "rv-tick", "text-anchor": "end" }, grid).textContent = formatBytes(bytes);
    }
    const axis = svg("text", { x: EDGE.left - 5, y: STRIP_TOP + 11.5, class: "rv-tick", "text-anchor": "end" }, grid);
    axis.textContent = "calls →";
    svg("title", {}, axis).textContent = "operator calls in their order; each has the same width, and updates of buffers that follow each other share one";
    drawLandscape();
    drawOutline();
    drawRun();
  }

  /** The path of values over all places, in the visible stretch. */
  function pathOf(values) {
    const [part, from, to] = cut(values, view);
    return stepPath(columnValues(part, Math.max(0, inner())), (at) => x(from + at * (to - from)), y);
  }

  function drawOutline() {
    ghost.setAttribute("d", pathOf(outlineOf(tables[0], 0)));
    outline.setAttribute("d", pathOf(reply && !root.classList.contains("rv-waiting") ? placeTotals : outlineOf(all()[state.table], state.row)));
    const other = against && all()[against.table];
    rival.setAttribute("d", other && against.row < other.rows ? pathOf(outlineOf(other, against.row)) : "");
    const budget = `budget ${writer()(state.budget)}`;
    const at = reply && reply.peakStep >= 0 ? placeOfPeak() : null;
    const span = at && peakSpan(at.words, middle(reply.peakStep), at.middle);
    const place = limitPlace({ left: EDGE.left, right: width - EDGE.right }, budget.length * MARK_LETTER, span);
    const mark = limitMark(y(state.budget), EDGE.top, budget, place.below);
    for (const [name, value] of Object.entries({ x1: EDGE.left, x2: width - EDGE.right, y1: mark.y, y2: mark.y })) limit.setAttribute(name, value);
    limit.setAttribute("visibility", mark.beyond ? "hidden" : "visible");
    limitText.setAttribute("x", place.x);
    limitText.setAttribute("text-anchor", place.anchor);
    limitText.setAttribute("y", mark.nameY);
    setText(limitText, mark.words);
    drawPeak();
  }

  /** The function that writes bytes with the figures of the budget. */
  const writer = () => totalWriter(all()[state.table]);

  const placeOfPeak = () => peakPlace(reply, middle(Math.max(0, reply.peakStep)), { left: EDGE.left, right: width }, writer());

  function drawPeak() {
    if (!reply) return;
    const at = placeOfPeak();
    peakMark.draw(reply, middle(Math.max(0, reply.peakStep)), y(reply.peak), EDGE.top - 3, at.middle, y(state.budget), at.words);
  }

  /** The step of each column of pixels, in the visible stretch. */
  function columnsShown() {
    const [from, to] = shown();
    const part = placeTotals.subarray(from, to);
    return columnSteps(part, Math.round(Math.max(0, inner()) * Math.min(2, window.devicePixelRatio || 1))).map((place) => places.top[place + from]);
  }

  function drawLandscape() {
    if (!reply || !width) return;
    const [from, to] = shown();
    view = { from: from / places.count, to: to / places.count };
    player.setRange(from, to - 1);
    back.hidden = from === 0 && to === places.count;
    const size = { width: inner(), height: BASE - EDGE.top };
    const columns = columnsShown();
    const bars = landscape.bars();
    landscape.draw(size, columns, top, filter);
    names(bars, columns, size, top, EDGE.left, y);
    drawStrip();
    drawPeak();
    drawLegend();
    drawMarks();
    drawHead();
    pointer.again();
  }

  function drawStrip() {
    strip.replaceChildren();
    const byPhase = new Map();
    const longest = new Map();
    for (const [phase, from, to] of phaseRuns(reply.phases)) {
      byPhase.set(phase, `${byPhase.get(phase) ?? ""}M${start(from).toFixed(1)} ${STRIP_TOP}H${start(to).toFixed(1)}V${STRIP_TOP + STRIP}H${start(from).toFixed(1)}Z`);
      const piece = [Math.max(EDGE.left, start(from)), Math.min(width - EDGE.right, start(to))];
      const known = longest.get(phase);
      if (!known || piece[1] - piece[0] > known[1] - known[0]) longest.set(phase, piece);
    }
    for (const [phase, d] of [...byPhase].sort((a, b) => a[0] - b[0])) svg("path", { d, class: `rv-phase-${phase}` }, strip);
    for (const [phase, [left, right]] of longest) {
      const name = STRIP_NAMES[phase] ?? PHASES[phase];
      if (right - left < name.length * LETTER_WIDTH + 6) continue;
      svg("text", { x: (left + right) / 2, y: STRIP_TOP + 11.5, "text-anchor": "middle", class: `rv-phase-name rv-phase-name-${phase}` }, strip).textContent = name;
    }
  }

  function drawMarks() {
    if (!reply || !width) return;
    const bars = landscape.bars();
    landscape.show(barsOfNode(bars, reply, marks.selected), barsOfNode(bars, reply, marks.hovered));
    nodeMarks.draw(reply, marks.about, start, middle);
  }

  function drawHead() {
    playhead.setAttribute("visibility", chosen >= 0 && reply ? "visible" : "hidden");
    if (chosen < 0 || !reply || !width) return;
    const px = middle(Math.min(chosen, reply.steps - 1));
    for (const each of playlines) for (const [name, at] of Object.entries({ x1: px, x2: px, y1: EDGE.top - 6, y2: STRIP_TOP + STRIP })) each.setAttribute(name, at);
  }

  function drawLegend() {
    legend.update(reply, filter, { measured: Boolean(run?.measured.length), compared: against ? againstName : null });
  }

  function drawRun() {
    const path = run?.measured.length && width ? pathOf(reply ? atPlaces(run.measured, places) : run.measured) : ""; // an old run has only its figures
    casing.setAttribute("d", path);
    measuredLine.setAttribute("d", path);
    if (reply) drawLegend();
  }

  function readout() {
    const at = step >= 0 ? step : chosen;
    crosshair.setAttribute("visibility", "hidden");
    if (at < 0 || !reply || at >= reply.steps) {
      line.classList.remove("rv-reading");
      return;
    }
    const px = middle(at);
    if (step >= 0) for (const [name, value] of Object.entries({ x1: px, x2: px, y1: EDGE.top, y2: STRIP_TOP + STRIP, visibility: "visible" })) crosshair.setAttribute(name, value);
    line.classList.add("rv-reading");
    const [from, to] = [places.first[places.of[at]], places.first[places.of[at] + 1]];
    const number = to - from > 1 ? `steps ${from + 1}–${to}` : `step ${at + 1}`;
    const name = to - from > 1 ? `${to - from} updates of buffers` : nameOf(at);
    const parts = { number: `${number}/${reply.steps}`, phase: PHASES[reply.phases[at]], bytes: formatBytes(totals[at]), most: mostOf(at), name };
    setText(note, readingOf(parts, (READING_LINES * line.clientWidth) / READING_LETTER));
    note.title = readingOf(parts, Infinity);
  }

  /** The largest bands at a step. */
  function mostOf(at) {
    const shares = reply.categories.map((category, c) => [reply.bands[c * reply.steps + at], category.label]);
    shares.sort((a, b) => b[0] - a[0]);
    return shares.slice(0, 2).map(([bytes, label]) => `${SHORT[label] ?? label} ${formatBytes(bytes)}`);
  }

  const label = (block) => labels(reply)[reply.blocks.labels[block]] ?? "";
  const textsAt = (k) => textsOf(graph, reply, landscape.bars(), k, (s) => (s < reply.steps ? nameOf(s) : "the end"), label);

  const nodeOfBar = (k) => (k < 0 || landscape.bars().blocks[k] < 0 ? -1 : nodeOfBlock(reply, landscape.bars().blocks[k]));

  /** Select the bar at a point: its value in every view, or its category if it is no value of the graph. */
  function choose(px, py) {
    const k = landscape.at(px - EDGE.left, py - EDGE.top);
    const v = nodeOfBar(k);
    actions.pick(v, k < 0 || v >= 0 ? null : landscape.bars().categories[k]);
  }

  /** Choose a step; the second time, no step. */
  function chooseStep(at) {
    player.pause();
    actions.step(at === chosen ? -1 : at);
  }

  /** What is below the landscape at a point: a lifetime of the selected node, or a phase. */
  function textsBelow(at, py) {
    const life = py < STRIP_TOP + STRIP ? null : livesOf(reply, marks.about).find(([, first, stop]) => first <= at && at < stop);
    return life ? lifeTexts(reply, life, graph.nodes[marks.about].key) : phaseTexts(reply, at);
  }

  function show(next) {
    stretch = next;
    if (!width) return;
    draw();
    readout();
  }
  const share = (px) => (px - EDGE.left) / inner();
  const pointer = makeLandscapePointer(chart, {
    hover(px, py) {
      const at = stepAt(px);
      actions.hoverStep(at);
      const k = reply ? landscape.at(px - EDGE.left, py - EDGE.top) : -1;
      if (k >= 0) tip.show(textsAt(k), px, py, width);
      else if (reply && at >= 0 && py >= STRIP_TOP) tip.show(textsBelow(at, py), px, py, width);
      else tip.hide();
      actions.hover(nodeOfBar(k));
    },
    leave() {
      tip.hide();
      actions.hoverStep(-1);
      actions.hover(-1);
    },
    click(px, py) {
      if (!reply || stepAt(px) < 0) return;
      if (py < STRIP_TOP) choose(px, py);
      else chooseStep(stepAt(px));
    },
    brush(from, to) {
      tip.hide();
      brush.setAttribute("visibility", from === null ? "hidden" : "visible");
      if (from === null) return;
      const limits = [from, to].map((px) => Math.min(width - EDGE.right, Math.max(EDGE.left, px))).sort((a, b) => a - b);
      brush.setAttribute("x", limits[0]);
      brush.setAttribute("width", limits[1] - limits[0]);
    },
    zoomTo: (from, to) => show(between(view, share(from), share(to), places.count)),
    zoom: (factor, px) => show(zoomed(view, factor, share(px), places.count)),
    whole: () => show(WHOLE_STEP),
    key: makeLandscapeKeys({
      places: () => (reply ? places.count : 0),
      place: () => (chosen < 0 ? -1 : places.of[chosen]),
      go: (place) => actions.step(place < 0 ? -1 : places.top[place]),
      chosen: () => chosen,
      bars: () => landscape.bars(),
      selected: () => marks.selected,
      choose: (k) => actions.select(nodeOfBar(k)),
      nodeOf: nodeOfBar,
      zoom: (factor) => show(zoomed(view, factor, chosen < 0 ? 0.5 : (middleOf(chosen) - view.from) / (view.to - view.from), places.count)),
      whole: () => show(WHOLE_STEP),
      deselect: () => actions.select(-1),
    }),
  });
  listen(enlarge, "click", () => {
    setEnlarged(!enlarged);
    show(stretch);
  });
  listen(back, "click", () => {
    show(WHOLE_STEP);
    chart.focus({ preventScroll: true });
  });
  chart.setAttribute("aria-label", "Memory over the step");

  /** The text for screen readers: what is alive at the peak, by layer. */
  function describe() {
    const bars = landscape.bars();
    const names = ["allocated before the step", "parameter gradients", ...strata.names, "gradients and workspace"];
    const sums = new Float64Array(names.length);
    for (let k = 0; k < bars.bytes.length; k++) if (bars.first[k] <= reply.peakStep && reply.peakStep < bars.stop[k]) sums[bars.layers[k]] += bars.bytes[k];
    const parts = names.map((name, i) => `${name} ${formatBytes(sums[i])}`).filter((_, i) => sums[i] > 0);
    setText(description, `At the peak: ${parts.join(", ")}. The table "Alive at the peak" below lists every value. Arrow left and right choose a step, up and down a value alive there; plus and minus zoom, 0 shows the whole step.`);
  }

  const theme = new MutationObserver(() => {
    landscape.recolour();
    if (width) drawLandscape();
  });
  for (const where of [document.body, document.documentElement]) theme.observe(where, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });

  return {
    root,
    runHead,
    line,
    /** Draw the outline of the row; without a reply for it, the landscape of the previous row is faded. */
    update(next, known) {
      state = next;
      root.classList.toggle("rv-waiting", !known);
      if (!width) return;
      if (setTop()) draw();
      else drawOutline();
    },
    setReply(next) {
      reply = next;
      totals = totalsOf(reply);
      places = stepPlaces(reply, totals);
      placeTotals = atPlaces(totals, places);
      landscape.setReply(reply);
      chart.setAttribute("aria-label", `Memory over ${reply.steps} steps, peak ${formatBytes(reply.peak)} total bytes at step ${reply.peakStep + 1}`);
      player.setSteps(places.count, (place) => {
        const at = places.top[place];
        return `step ${at + 1} of ${reply.steps}, ${phasedName(PHASES[reply.phases[at]], nameOf(at))}, ${formatBytes(totals[at])} total bytes`;
      });
      if (!reply.simulated) describe();
      if (width && setTop()) draw();
      else drawLandscape();
      readout();
    },
    setRun(next) {
      run = next;
      if (width) draw();
    },
    hoverStep(next) {
      step = next;
      readout();
    },
    /** The chosen step; −1 for the whole step. */
    setStep(next) {
      if (next >= 0 && next !== chosen && next !== step) pointer.rest(); // by keys or by the player: the chosen step is read, until the pointer moves
      chosen = next;
      player.setStep(next < 0 || !reply ? next : places.of[next]);
      const moved = next < 0 || !reply ? stretch : including(stretch, middleOf(next));
      if (moved.from !== stretch.from) show(moved);
      drawHead();
      readout();
    },
    /** Show only one category in full colour; null for all. */
    setFilter(next) {
      filter = next;
      if (width) drawLandscape();
    },
    /** Draw the outline of another plan { table, row }, which has a name; null for none. */
    setAgainst(next, name) {
      against = next;
      againstName = name;
      if (!width) return;
      drawOutline();
      if (reply) drawLegend();
    },
    /** Stop playing. */
    pause: player.pause,
    /** What the user has set, for a view that is made anew. */
    entry: () => ({ stretch, enlarged, player: player.entry() }),
    restore(before) {
      setEnlarged(before.enlarged);
      show(before.stretch);
      player.restore(before.player);
    },
    phase: (at) => PHASES[reply.phases[at]],
    nodeOfStep: (at) => (at >= 0 && reply ? (reply.stepNodes[at] ?? -1) : -1),
    /** Mark the bars of the selected node and of the one under the pointer, and the steps and the lifetimes of one. @param next of marksOf */
    mark(next) {
      const same = ["selected", "hovered", "about"].every((name) => marks[name] === next[name]);
      marks = next;
      if (!same) drawMarks();
    },
    resize() {
      width = root.clientWidth;
      player.place(EDGE.left, inner());
      if (width) draw();
    },
    destroy: () => {
      theme.disconnect();
      player.destroy();
      legend.destroy();
      peakMark.destroy();
      pointer.destroy();
      release();
    },
  };
}
