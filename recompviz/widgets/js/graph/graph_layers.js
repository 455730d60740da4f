// The SVG layers around the boxes: frames of open modules, bands and numbers of the segments, lines. Their elements are
// made for each scene; in a large scene the canvas draws bands and lines.

import { svg } from "../shared/elements.js";
import { subscript } from "../shared/units.js";
import { routePath } from "./route.js";
import { bandClass } from "./box_style.js";
import { boxName, timesText } from "./module_tree.js";
import { FRAME_HEAD } from "./compose.js";
import { HUES } from "./colouring.js";

// a segment of fewer nodes has no room for its name; at most this many names are shown
const NUMBERED = 5;
const MOST_NUMBERS = 120;
// px; longer lines are drawn stronger
const LONG = 110;

/** The layers under `root`; `id`, unique in the page, names the patterns. */
export function makeGraphLayers(root, graph, tree, id) {
  drawPatterns(svg("defs", {}, root), id);
  root.style.setProperty("--rv-hatch", `url(#${id}-hatch)`);
  for (let i = 0; i < HUES; i++) root.style.setProperty(`--rv-hue-fill-${i}`, `url(#${id}-hue-${i})`);
  const world = svg("g", { class: "rv-world" }, root);
  const frames = svg("g", { class: "rv-frames" }, world);
  const bandLayer = svg("g", { class: "rv-bands" }, world);
  const numbers = svg("g", { class: "rv-numbers", "aria-hidden": "true" }, world);
  const edges = svg("g", { class: "rv-edges", "aria-hidden": "true" }, world);
  const nodes = svg("g", { class: "rv-nodes" }, world);
  const shapes = svg("g", { class: "rv-shapes", "aria-hidden": "true" }, world);
  let scene = null;
  let bands = [];
  let lines = [];

  /** Draw a scene; if it is `large`, the canvas draws bands and lines. */
  function draw(next, large) {
    scene = next;
    for (const layer of [frames, bandLayer, numbers, edges, shapes]) layer.replaceChildren();
    bands = [];
    lines = [];
    scene.frames.forEach(drawFrame);
    if (large) return;
    const down = scene.mode === "down";
    scene.items.forEach((item, b) => {
      if (item >= graph.count) return void bands.push(null);
      const [w, h] = down ? [scene.w[b] + 10, scene.flat ? 40.4 : scene.h[b] + 8] : [scene.flat ? 46.4 : scene.w[b] + 8, scene.h[b] + 9];
      bands.push(svg("rect", { x: scene.x[b] - w / 2, y: scene.y[b] - h / 2, width: w, height: h }, bandLayer));
    });
    for (let e = 0; e + 1 < scene.offsets.length; e++) lines.push(svg("path", { class: lineClass(scene, e), d: routePath(scene.points, scene.offsets[e], scene.offsets[e + 1]) }, edges));
    for (const { x, y, text } of scene.shapes ?? []) svg("text", { class: "rv-shape", x, y }, shapes).textContent = text;
  }

  /** The frame of an open box, with a head that closes it. */
  function drawFrame({ m, x, y, w, h }) {
    svg("rect", { class: "rv-frame", x, y, width: w, height: h, rx: 7 }, frames);
    const head = svg("g", { class: "rv-frame-head", transform: `translate(${x} ${y})`, role: "button", tabindex: "0", "aria-expanded": "true", "aria-label": `Collapse ${tree.paths[m] || "model"}` }, frames);
    head.dataset.m = m;
    const times = timesText(tree, m);
    const name = `▾ ${boxName(tree, m, Math.max(8, Math.floor(w / 7)))}${times && ` ${times}`}`;
    svg("rect", { width: Math.min(w, 16 + 7 * name.length), height: FRAME_HEAD, rx: 5 }, head);
    svg("text", { x: 8, y: 14 }, head).textContent = name;
  }

  /** Write V₁, V₂, … at the first node of each segment that has room for its name. */
  function paintNumbers(segments, boxOf) {
    const first = new Map();
    const length = new Map();
    for (let v = 0; v < segments.length; v++) {
      const s = segments[v];
      length.set(s, (length.get(s) ?? 0) + 1);
      if (!first.has(s)) first.set(s, v);
    }
    const wanted = [...first].filter(([s, v]) => length.get(s) >= NUMBERED && scene.items[boxOf[v]] === v).slice(0, MOST_NUMBERS);
    while (numbers.childNodes.length > wanted.length) numbers.lastChild.remove();
    wanted.forEach(([s, v], i) => {
      const text = numbers.childNodes[i] ?? svg("text", { class: "rv-number" }, numbers);
      const b = boxOf[v];
      text.setAttribute("x", scene.x[b] - scene.w[b] / 2 - 1);
      text.setAttribute("y", scene.y[b] - scene.h[b] / 2 - 6.5);
      text.textContent = `V${subscript(s)}`;
    });
  }

  return {
    world,
    nodes,
    /** The layers that fade in when modules are opened or closed. */
    fading: [frames, bandLayer, numbers, edges, shapes],
    draw,
    paintNumbers,
    paintBand: (b, tint) => bands[b]?.setAttribute("class", bandClass(tint)),
    /** Emphasise the lines for which `lit(line)`, and with `fade` fade the others; null for all lines alike. */
    light(lit, fade) {
      lines.forEach((line, i) => {
        const plain = lineClass(scene, i);
        const name = !lit ? plain : lit(i) ? `${plain} rv-lit` : fade ? `${plain} rv-outside` : plain;
        if (line.getAttribute("class") !== name) line.setAttribute("class", name);
      });
    },
  };
}

/** The class of a line; long ones are drawn stronger. */
function lineClass({ points, offsets }, e) {
  let length = 0;
  for (let p = offsets[e] + 1; p < offsets[e + 1]; p++) length += Math.hypot(points[2 * p] - points[2 * p - 2], points[2 * p + 1] - points[2 * p - 1]);
  return length > LONG ? "rv-edge rv-arc" : "rv-edge";
}

/** The hatch of recomputed values, and a pattern for each hue of the segments. */
function drawPatterns(defs, id) {
  const pattern = (name, size, turn) => svg("pattern", { id: `${id}-${name}`, width: size, height: size, patternUnits: "userSpaceOnUse", patternTransform: `rotate(${turn})` }, defs);
  const hatch = pattern("hatch", 6, 45);
  svg("rect", { width: 6, height: 6, class: "rv-hatch-ground" }, hatch);
  svg("rect", { width: 2.2, height: 6, class: "rv-hatch-line" }, hatch);
  const hues = Array.from({ length: HUES }, (_, i) => {
    const hue = pattern(`hue-${i}`, 6, i === 1 ? -45 : 0);
    svg("rect", { width: 6, height: 6, class: `rv-hue-ground-${i}` }, hue);
    return hue;
  });
  svg("rect", { width: 1.6, height: 6, class: "rv-hue-line" }, hues[1]);
  svg("circle", { cx: 3, cy: 3, r: 1.1, class: "rv-hue-line" }, hues[2]);
  svg("rect", { width: 6, height: 1.4, class: "rv-hue-line" }, hues[3]);
}
