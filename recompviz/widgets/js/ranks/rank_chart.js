// The passes of the ranks as bars, and under them, on the same time axis, the memory of each rank as a small landscape.

import { html, listeners, setText, svg } from "../shared/elements.js";
import { byteTicks, formatBytes, formatTime } from "../shared/units.js";
import { bytesAt, durationOf, extraOf, extrasOf, lengthOf, mostOf, orderOf, peakPiece, peaksOf, pieceAt, piecesOf, pieceText, timesOf } from "./board.js";

// left column with names and figures, axis of bytes, right margin; in pixels
const WORDS = 150;
const AXIS = 62;
const RIGHT = 10;
const BAR = 18;
const LOW_BAR = 15;
// the bytes at the top of the landscapes, over the largest peak or the budget
const SLACK = 1.15;
const SPACE = 340;
const LEAST_HEIGHT = 62;
const MOST_HEIGHT = 150;
// the most landscapes that are shown at first
const SHOWN = 8;
// the width of a letter in a bar, and of its margins
const LETTER = 6.5;
const MARGIN = 6;

/** Whether a peak fits a budget, in words. */
export function fitText(peak, budget) {
  return peak <= budget ? `${formatBytes(budget - peak)} free` : `short by ${formatBytes(peak - budget)}`;
}

/** Round times up to `most`, about `count` of them. */
export function timeTicks(most, count) {
  if (!(most > 0)) return [0];
  const rough = most / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((k) => k * power).find((s) => s >= rough);
  return Array.from({ length: Math.floor(most / step + 1e-9) + 1 }, (_, i) => i * step);
}

/** The path of one lane's layers up to and with `layer`, over `pieces`. */
export function areaPath(lane, count, row, pieces, layer, x, y) {
  let path = "";
  let before = NaN;
  for (const [start, , pass, column] of pieces) {
    let sum = 0;
    for (let i = 0; i <= layer; i++) sum += bytesAt(lane, count, row, pass, column, i);
    const top = y(sum);
    if (top !== before) path += `${path ? "H" : "M"}${x(start).toFixed(1)}${path ? "V" : " "}${top.toFixed(1)}`;
    before = top;
  }
  const [first, last] = [pieces[0][0], pieces[pieces.length - 1][1]];
  return `${path}H${x(last).toFixed(1)}V${y(0).toFixed(1)}H${x(first).toFixed(1)}Z`;
}

/**
 * The charts.
 * @param say called with the text about the moment under the pointer, or ""
 */
export function makeRankChart(parent, board, say, id) {
  const { listen, release } = listeners();
  const names = board.layers;
  const count = names.length;
  const shown = names.map((_, i) => i).filter((i) => board.lanes.some((lane) => lane.before[i] > 0 || uses(lane, i)));
  const longest = lengthOf(timesOf(board, board.lanes.map((lane) => lane.rows - 1)));
  const height = Math.max(LEAST_HEIGHT, Math.min(MOST_HEIGHT, SPACE / Math.min(SHOWN, board.lanes.length)));
  const bar = board.lanes.length > SHOWN ? LOW_BAR : BAR;
  const bars = board.schedule ? board.lanes.map((_, i) => i) : [0];

  const root = html("section", "rv-rank-charts", parent);
  const schedule = html("div", "rv-rank-schedule", root);
  const scheduleWords = html("div", "rv-rank-words", schedule);
  for (const i of bars) html("div", "rv-rank-bar-name", scheduleWords, board.schedule ? board.lanes[i].name : board.lanes.length > 1 ? "all ranks" : board.lanes[0].name).style.height = `${bar}px`;
  const gantt = svg("svg", { class: "rv-chart", role: "img", height: bars.length * bar + 2 }, schedule);
  const list = html("div", "rv-rank-lanes", root);
  const views = board.lanes.map((lane, i) => makeLane(lane, i));
  const more = html("button", "rv-link rv-rank-more", root);
  const axis = svg("svg", { class: "rv-chart", height: 20, "aria-hidden": "true" }, root);
  const legend = html("div", "rv-step-legend", root);
  for (const i of [...shown].reverse()) {
    const item = html("span", "rv-step-key", legend);
    html("i", `rv-step-swatch rv-rank-${names[i].name}`, item);
    item.append(names[i].text);
  }
  const over = html("span", "rv-step-key", legend);
  html("i", "rv-step-swatch rv-rank-over", over);
  over.append("above the budget");

  let width = 0;
  let all = board.lanes.length <= SHOWN + 1;
  let state = null;
  let times = [];
  let length = 0;
  let most = 1; // the bytes at the top of the landscapes
  let cursor = -1; // a time, −1 for none
  let pointed = 0; // the rank of which the cursor speaks
  let pointer = null; // the last event of a pointer over a landscape; null if the cursor was set by a key
  let order = [];

  function uses(lane, layer) {
    for (let i = layer; i < lane.layers.length; i += count) if (lane.layers[i]) return true;
    return false;
  }
  const x = (time) => AXIS + (time / longest) * (width - AXIS - RIGHT);
  const y = (bytes) => height - 1 - (bytes / most) * (height - 3);

  function makeLane(lane, i) {
    const box = html("div", "rv-rank-lane", list);
    box.tabIndex = 0;
    box.setAttribute("role", "group");
    box.dataset.focus = lane.name;
    const words = html("div", "rv-rank-words", box);
    html("div", "rv-rank-name", words, lane.name);
    const peak = html("div", "rv-rank-peak", words);
    const fit = html("div", "rv-rank-fit", words);
    const extra = html("div", "rv-rank-extra rv-muted", words);
    const chart = svg("svg", { class: "rv-chart", height, "aria-hidden": "true" }, box);
    const view = { box, peak, fit, extra, chart, pieces: [], at: 0 };
    listen(chart, "pointermove", (event) => pointWith(event, i));
    listen(chart, "pointerleave", leave);
    listen(box, "focus", () => {
      pointer = null;
      view.at = peakPiece(lane, count, state.rows[i], view.pieces);
      go(i);
    });
    listen(box, "blur", leave);
    listen(box, "keydown", (event) => {
      const pieces = view.pieces;
      const passOf = (at) => pieces[at][2];
      const turn = (step) => {
        let at = view.at;
        while (pieces[at + step] && passOf(at + step) === passOf(view.at)) at += step;
        at = Math.min(pieces.length - 1, Math.max(0, at + step));
        if (step < 0) while (at > 0 && passOf(at - 1) === passOf(at)) at -= 1;
        return at;
      };
      const next = {
        ArrowLeft: () => Math.max(0, view.at - 1),
        ArrowRight: () => Math.min(pieces.length - 1, view.at + 1),
        PageUp: () => turn(-1),
        PageDown: () => turn(1),
        Home: () => 0,
        End: () => pieces.length - 1,
        p: () => peakPiece(lane, count, state.rows[i], pieces),
      }[event.key];
      if (next) {
        pointer = null;
        view.at = next();
        go(i);
      } else if (event.key === "ArrowUp" || event.key === "ArrowDown") {
        const place = order.indexOf(i) + (event.key === "ArrowUp" ? -1 : 1);
        if (order[place] !== undefined && !views[order[place]].box.hidden) views[order[place]].box.focus();
      } else return;
      event.preventDefault();
      event.stopPropagation();
    });
    return view;
  }
  /** Say what a rank holds at the time under a pointer. */
  function pointWith(event, i) {
    const time = ((event.clientX - views[i].chart.getBoundingClientRect().left - AXIS) / (width - AXIS - RIGHT)) * longest;
    if (time < 0 || time > length) return leave();
    pointer = event;
    views[i].at = pieceAt(views[i].pieces, time);
    return point(i, time);
  }
  function leave() {
    pointer = null;
    cursor = -1;
    mark();
    say("");
  }
  function go(i) {
    const [start, stop] = views[i].pieces[views[i].at];
    point(i, (start + stop) / 2);
  }
  /** Mark a time in all charts, and say what a rank holds then. */
  function point(i, time) {
    cursor = time;
    pointed = i;
    mark();
    const lane = board.lanes[i];
    const piece = views[i].pieces[views[i].at];
    const parts = names.map(({ text }, layer) => [bytesAt(lane, count, state.rows[i], piece[2], piece[3], layer), text]).filter(([bytes]) => bytes > 0);
    const sum = parts.reduce((total, [bytes]) => total + bytes, 0);
    const words = parts.sort((a, b) => b[0] - a[0]).map(([bytes, text]) => `${text} ${formatBytes(bytes)}`);
    say(`${lane.name}, ${formatTime(time)}, ${pieceText(board, lane, piece)}: ${formatBytes(sum)} = ${words.join(", ")}`);
  }
  /** Say again what is at the cursor, after plans or the order of the ranks changed. */
  function again() {
    if (cursor < 0) return mark();
    if (pointer) {
      const target = root.getRootNode().elementFromPoint(pointer.clientX, pointer.clientY);
      const i = views.findIndex(({ chart }) => chart.contains(target));
      return i < 0 ? leave() : pointWith(pointer, i);
    }
    const view = views[pointed];
    if (cursor > length || view.box.hidden) return leave();
    view.at = pieceAt(view.pieces, cursor);
    return point(pointed, cursor);
  }
  function mark() {
    for (const chart of [gantt, ...views.map((view) => view.chart)]) {
      const line = chart.lastElementChild;
      if (!line) continue;
      line.style.display = cursor < 0 ? "none" : "";
      line.setAttribute("x1", x(cursor));
      line.setAttribute("x2", x(cursor));
    }
  }

  function drawSchedule() {
    gantt.replaceChildren();
    gantt.setAttribute("width", width);
    bars.forEach((i, place) => {
      const lane = board.lanes[i];
      const top = place * bar + 1;
      svg("line", { x1: AXIS, x2: x(length), y1: top + bar - 2, y2: top + bar - 2, class: "rv-grid" }, gantt);
      times[i].forEach(([start, stop], k) => {
        const pass = lane.passes[k];
        const left = x(start);
        const wide = Math.max(0.5, x(stop) - left - 0.8);
        svg("rect", { x: left, y: top, width: wide, height: bar - 3, rx: 2, class: `rv-rank-pass rv-rank-pass-${pass.kind}` }, gantt);
        const at = lane.stages.indexOf(pass.stage);
        const part = pass.kind === "backward" ? extraOf(lane, state.rows[i], at) / (durationOf(lane, state.rows[i], pass) || 1) : 0;
        if (part > 0) svg("rect", { x: left, y: top, width: wide * part, height: bar - 3, rx: 2, class: "rv-rank-pass-recompute" }, gantt);
        const text = board.schedule && pass.kind !== "optimizer" ? `${pass.microBatch + 1}${lane.stages.length > 1 ? "abcdefgh"[at] ?? "" : ""}` : pass.kind;
        if (wide > LETTER * text.length + MARGIN) {
          svg("text", { x: left + wide / 2, y: top + bar - 6, class: "rv-rank-pass-text", "text-anchor": "middle" }, gantt).textContent = text;
        }
      });
    });
    svg("line", { y1: 0, y2: bars.length * bar, class: "rv-rank-cursor", style: "display: none" }, gantt);
    const what = board.schedule ? `Schedule ${board.schedule}` : "Forward and backward pass";
    gantt.setAttribute("aria-label", `${what}: ${formatTime(length)}`);
    axis.replaceChildren();
    axis.setAttribute("width", width + WORDS);
    for (const time of timeTicks(longest, Math.floor((width - AXIS) / 110))) {
      const edge = x(time) > width - 34;
      svg("text", { x: WORDS + (edge ? width - RIGHT : x(time)), y: 13, class: "rv-tick", "text-anchor": edge ? "end" : "middle" }, axis).textContent = formatTime(time);
    }
  }

  function drawLane(i) {
    const lane = board.lanes[i];
    const view = views[i];
    const row = state.rows[i];
    const { chart } = view;
    view.pieces = piecesOf(lane, times[i], length);
    view.at = Math.min(view.at, view.pieces.length - 1);
    const size = lane.peaks[row];
    const short = size > state.budget;
    setText(view.peak, `peak ${formatBytes(size)}`);
    setText(view.fit, fitText(size, state.budget));
    const extra = extrasOf(lane, row);
    setText(view.extra, extra ? `recomputes ${formatTime(extra)}` : "recomputes nothing");
    view.box.classList.toggle("rv-rank-short", short);
    view.box.setAttribute("aria-label", `${lane.name}: peak ${formatBytes(size)}, ${fitText(size, state.budget)}. Arrow keys move through the step, P goes to the peak.`);
    chart.replaceChildren();
    chart.setAttribute("width", width);
    const right = x(length);
    for (const bytes of byteTicks(0, most, height > 80 ? 3 : 2)) {
      svg("line", { x1: AXIS, x2: width - RIGHT, y1: y(bytes), y2: y(bytes), class: "rv-grid" }, chart);
      if (y(bytes) > 8) svg("text", { x: AXIS - 6, y: Math.min(height - 2, y(bytes) + 4), class: "rv-tick", "text-anchor": "end" }, chart).textContent = formatBytes(bytes);
    }
    for (const layer of [...shown].reverse()) {
      svg("path", { d: areaPath(lane, count, row, view.pieces, layer, x, y), class: `rv-rank-layer rv-rank-${names[layer].name}` }, chart);
    }
    const line = y(state.budget);
    if (short) {
      const clip = svg("clipPath", { id: `${id}-over-${i}` }, chart);
      svg("rect", { x: AXIS, y: 0, width: width - AXIS, height: Math.max(0, line) }, clip);
      svg("path", { d: areaPath(lane, count, row, view.pieces, count - 1, x, y), class: "rv-rank-over", "clip-path": `url(#${id}-over-${i})` }, chart);
    }
    if (line > 0) svg("line", { x1: AXIS, x2: width - RIGHT, y1: line, y2: line, class: "rv-budget-line" }, chart);
    const best = view.pieces[peakPiece(lane, count, row, view.pieces)];
    const px = Math.min(right, x((best[0] + best[1]) / 2));
    svg("path", { d: `M${px} ${y(size) - 1}l-4 -6h8Z`, class: "rv-peak-mark" }, chart);
    svg("line", { x1: AXIS, x2: width - RIGHT, y1: y(0), y2: y(0), class: "rv-axis" }, chart);
    svg("line", { y1: 0, y2: height, class: "rv-rank-cursor", style: "display: none" }, chart);
  }

  /** Put the fullest ranks first; the focus stays where it is. */
  function arrange() {
    const next = orderOf(board, state.rows);
    const hidden = all ? 0 : Math.max(0, next.length - SHOWN);
    next.forEach((lane, place) => (views[lane].box.hidden = place >= next.length - hidden));
    more.hidden = hidden === 0;
    setText(more, `show all ${board.lanes.length} ranks`);
    if (next.every((lane, place) => lane === order[place])) return;
    order = next;
    const active = root.getRootNode().activeElement;
    for (const lane of order) list.append(views[lane].box);
    if (active && list.contains(active)) active.focus({ preventScroll: true });
  }

  function paint(settled) {
    if (!width || !state) return;
    times = timesOf(board, state.rows);
    length = lengthOf(times);
    // a drag may need more room; it gets less again when it has ended
    const room = SLACK * Math.max(Math.min(state.budget, mostOf(board)), ...peaksOf(board, state.rows));
    most = settled ? room : Math.max(most, room);
    if (settled || !order.length) arrange();
    drawSchedule();
    board.lanes.forEach((_, i) => !views[i].box.hidden && drawLane(i));
    again();
  }
  listen(more, "click", () => {
    all = true;
    paint(true);
  });

  return {
    /** The time of the step as it is drawn. */
    get length() {
      return length;
    },
    update(next, settled) {
      state = next;
      paint(settled);
    },
    resize() {
      width = Math.max(0, root.clientWidth - WORDS);
      paint(true);
    },
    destroy: release,
  };
}
