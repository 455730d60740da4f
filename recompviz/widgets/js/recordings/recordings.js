// The page of recordings: memory over the events, the map of segments at one moment, and what is alive then.

import { groupsAt, levels, segmentsAt } from "../data/recording.js";
import { html, listeners } from "../shared/elements.js";
import { formatBytes } from "../shared/units.js";

const ROWS = 25;
const SEGMENTS = 300;

/** The colour of recording i, from the page's style sheet. */
const colourOf = (i) => getComputedStyle(document.documentElement).getPropertyValue(`--series-${i % 6}`).trim();

/** Draw on a canvas in CSS pixels, sharp on every screen; returns the context and the width. */
function prepared(canvas, height) {
  const width = canvas.clientWidth || 600;
  const ratio = globalThis.devicePixelRatio || 1;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  return { context, width };
}

/** Draw lines of memory over the events, a line for each recording and figure, and the marks of the first. */
function drawLines(canvas, shown, share) {
  const height = 220;
  const { context, width } = prepared(canvas, height);
  const ink = getComputedStyle(canvas).color;
  const most = Math.max(1, ...shown.flatMap(({ recording }) => [recording.most]));
  const foot = 18;
  context.font = "11px system-ui, sans-serif";
  const first = shown[0].recording;
  const x = (at, events) => ((at + 1) / Math.max(events, 1)) * width;
  const y = (bytes) => height - foot - (bytes / most) * (height - foot - 14);
  context.fillStyle = ink;
  for (const mark of first.marks) {
    const left = x(mark.first - 1, first.events);
    const right = Math.max(x(mark.last - 1, first.events), left + 1);
    context.globalAlpha = mark.kind === "annotation" ? 0.07 : 0.8;
    context.fillRect(left, 14, mark.kind === "annotation" ? right - left : 1, height - foot - 14);
    context.globalAlpha = 1;
    if (mark.kind !== "annotation" || right - left > 40) context.fillText(mark.name, left + 2, 11, Math.max(right - left, 80));
  }
  for (const { recording, colour } of shown) {
    for (const [values, weight, dash] of [[recording.allocated, 1.6, []], [recording.reserved, 1, [4, 3]]]) {
      context.beginPath();
      context.strokeStyle = colour;
      context.lineWidth = weight;
      context.setLineDash(dash);
      const stretch = Math.max(1, Math.ceil(values.length / (2 * width)));
      for (let i = 0; i < values.length; i += stretch) {
        let top = values[i];
        for (let j = i; j < Math.min(i + stretch, values.length); j += 1) top = Math.max(top, values[j]);
        context.lineTo(x(i - 1, recording.events), y(top));
      }
      context.stroke();
    }
  }
  context.setLineDash([]);
  context.strokeStyle = ink;
  context.strokeRect(share * width, 14, 0.5, height - foot - 14);
  context.fillText(formatBytes(most), 2, height - foot + 14 - (height - foot));
  context.fillText("events →", width - 60, height - 4);
}

/** Draw the segments of a moment as bars, the largest first, with their blocks; returns a title. */
function drawMap(canvas, recording, at) {
  const all = segmentsAt(recording, at);
  const segments = all.slice(0, SEGMENTS);
  const bar = segments.length > 40 ? 4 : 10;
  const { context, width } = prepared(canvas, Math.max(segments.length, 1) * (bar + 2));
  const scale = segments.length ? (width - 2) / segments[0].size : 1;
  const ink = getComputedStyle(canvas).color;
  segments.forEach((segment, row) => {
    const top = row * (bar + 2);
    for (const block of segment.blocks) {
      context.fillStyle = block.waits ? colourOf(1) : colourOf(0);
      context.fillRect((block.address - segment.address) * scale, top, Math.max(block.size * scale - 0.3, 0.4), bar);
    }
    context.strokeStyle = ink;
    context.lineWidth = 0.5;
    context.strokeRect(0.5, top + 0.5, segment.size * scale, bar - 1);
  });
  return `map of segments: ${segments.length} of ${all.length}, the largest first`;
}

/** One recording with its own slider. */
function pane(recording, root, colour, listen) {
  const box = html("section", "rec-pane", root);
  html("h2", "", box, `${recording.title} on ${recording.device}`);
  if (recording.warning) html("p", "rec-warning", box, recording.warning);
  html("p", "rec-check", box, `peak ${formatBytes(recording.peak)}; ${recording.check}`);
  for (const found of recording.findings.slice(0, 3)) {
    html("p", "rec-finding", box, `${formatBytes(found.size)}  ${found.cause}: ${found.value}. ${found.why}`);
  }
  const chart = html("canvas", "rec-chart", box);
  chart.setAttribute("role", "img");
  chart.setAttribute("aria-label", "allocated (solid) and reserved (dashed) memory over the events");
  const label = html("label", "rec-slider", box, "moment ");
  const slider = html("input", "", label);
  Object.assign(slider, { type: "range", min: -1, max: Math.max(recording.events - 1, -1), step: 1 });
  slider.value = String(recording.peak_at);
  const said = html("output", "", label);
  const title = html("h3", "", box);
  const frame = html("div", "rec-frame", box);
  frame.tabIndex = 0; // so that the keyboard scrolls it
  frame.setAttribute("role", "region");
  frame.setAttribute("aria-label", "map of segments");
  const map = html("canvas", "rec-map", frame);
  map.setAttribute("role", "img");
  map.setAttribute("aria-label", "a bar for each segment; blue blocks are in use, ochre ones wait for another stream");
  const table = html("table", "", box);
  const draw = () => {
    const at = Number(slider.value);
    const count = recording.events;
    drawLines(chart, [{ recording, colour }], (at + 1) / Math.max(count, 1));
    const allocated = formatBytes(recording.allocated[at + 1]);
    said.textContent = `after event ${at} of ${count}: ${allocated} allocated, ${formatBytes(recording.reserved[at + 1])} reserved`;
    title.textContent = drawMap(map, recording, at);
    const groups = groupsAt(recording, at);
    table.replaceChildren();
    html("caption", "", table, `alive: ${Math.min(groups.length, ROWS)} of ${groups.length} places`);
    const head = html("tr", "", html("thead", "", table));
    for (const name of ["bytes", "blocks", "allocated at", "stack"]) html("th", "", head, name).scope = "col";
    const body = html("tbody", "", table);
    for (const group of groups.slice(0, ROWS)) {
      const stack = recording.stacks[group.stack];
      const row = html("tr", "", body);
      for (const cell of [formatBytes(group.bytes), String(group.count), stack.label, stack.lines.join(" ← ")]) {
        html("td", "", row, cell);
      }
    }
  };
  listen(slider, "input", draw);
  listen(chart, "click", (event) => {
    const share = event.offsetX / Math.max(chart.clientWidth, 1);
    slider.value = String(Math.round(share * recording.events) - 1);
    draw();
  });
  draw();
  return draw;
}

/** Draw recordings into an element: a table to compare them, all lines over each other, and a pane for each. */
export function mountRecordings(recordings, root) {
  const { listen } = listeners();
  for (const recording of recordings) {
    recording.allocated = levels(recording.blocks, recording.events);
    recording.reserved = levels(recording.parts, recording.events);
    recording.most = Math.max(0, ...[recording.allocated, recording.reserved].map((all) => all.reduce((a, b) => Math.max(a, b), 0)));
  }
  html("h1", "", root, recordings.length > 1 ? `${recordings.length} recordings` : recordings[0].title);
  const redraws = [];
  if (recordings.length > 1) {
    const table = html("table", "rec-ranks", root);
    const head = html("tr", "", html("thead", "", table));
    for (const name of ["recording", "peak", "more than the least", "reserved", "reached at"]) html("th", "", head, name).scope = "col";
    const body = html("tbody", "", table);
    const least = Math.min(...recordings.map((one) => one.peak));
    recordings.forEach((one, i) => {
      const row = html("tr", "", body);
      const name = html("td", "", row, `${one.title} on ${one.device}`);
      name.style.borderLeft = `6px solid ${colourOf(i)}`;
      const reserved = one.reserved.reduce((a, b) => Math.max(a, b), 0);
      for (const cell of [formatBytes(one.peak), `+${formatBytes(one.peak - least)}`, formatBytes(reserved), one.reached_at]) {
        html("td", "", row, cell);
      }
    });
    const overlay = html("canvas", "rec-chart rec-overlay", root);
    overlay.setAttribute("role", "img");
    overlay.setAttribute("aria-label", "allocated (solid) and reserved (dashed) memory of all recordings over each other");
    redraws.push(() => drawLines(overlay, recordings.map((recording, i) => ({ recording, colour: colourOf(i) })), 0));
  }
  const panes = html("div", "rec-panes", root);
  recordings.forEach((recording, i) => redraws.push(pane(recording, panes, colourOf(i), listen)));
  const all = () => redraws.forEach((draw) => draw());
  listen(globalThis, "resize", all);
  all();
}
