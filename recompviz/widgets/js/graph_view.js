// The graph: one group a node, painted again only where its state changed. Segments are bands behind the
// nodes; keep and recompute differ in colour, pattern and border.

import { svg, html, listeners } from "./elements.js";
import { subscript } from "./units.js";
import { fit, zoomAt, pan, centreOn } from "./camera.js";
import { routePath } from "./route.js";
import { diff } from "./diff.js";
import { lowerSetOf, boundaryOf } from "./lower_sets.js";
import { makeMinimap } from "./minimap.js";
import { makeOverlay } from "./overlay.js";

const BAND_TINTS = 2;
// below this scale labels are too small to read and are left out
const READABLE = 0.5;
const HOVER_DELAY = 70;
// a screen reader's labels follow once the budget rests: writing thousands of them takes longer than a frame
const LABEL_DELAY = 250;
// above this many nodes edges are one path, and dimming and easing are done the cheap way
const LARGE = 600;

/** The class of a node's rectangle. */
export function stateClass(kept) {
  return kept ? "rv-keep" : "rv-recompute";
}

/** The class of a node's piece of its segment's band; neighbours in the sequence never share a tint. */
export function bandClass(tint) {
  return `rv-band-${tint}`;
}

/** The tint of each node's piece of band: all that a change of its segment can change in the picture. */
export function tintsOf(segments) {
  return Uint8Array.from(segments, (segment) => segment % BAND_TINTS);
}

/** What a screen reader says of a node. */
export function nodeTitle(node, kept, segment) {
  return `${node.key}, ${kept ? "kept" : "recomputed"}, segment ${segment}`;
}

/**
 * The graph view.
 * @param parent where to draw
 * @param graph, near the graph and its neighbours
 * @param actions { hover(v or −1, rectangle), pin(v or −1), mode(name) }
 * @param id unique in the page, for pattern names
 */
export function makeGraphView(parent, graph, near, actions, id) {
  const { listen, release } = listeners();
  const bar = html("div", "rv-bar", parent);
  const frame = html("div", "rv-graph", parent);
  const root = svg("svg", { class: "rv-canvas", tabindex: "0", role: "graphics-document", "aria-label": `Graph of ${graph.count} values. Arrow keys pan, plus and minus zoom, 0 fits.` }, frame);
  const defs = svg("defs", {}, root);
  const hatch = svg("pattern", { id: `${id}-hatch`, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" }, defs);
  svg("rect", { width: 6, height: 6, class: "rv-hatch-ground" }, hatch);
  svg("rect", { width: 2.2, height: 6, class: "rv-hatch-line" }, hatch);
  const world = svg("g", { class: "rv-world" }, root);
  const bandLayer = svg("g", { class: "rv-bands" }, world);
  const numberLayer = svg("g", { class: "rv-numbers", "aria-hidden": "true" }, world);
  const edgeLayer = svg("g", { class: "rv-edges", "aria-hidden": "true" }, world);
  const nodeLayer = svg("g", { class: "rv-nodes" }, world);
  root.style.setProperty("--rv-hatch", `url(#${id}-hatch)`);

  let layout = null;
  let camera = { scale: 1, x: 0, y: 0 };
  let moved = false;
  let bands = [];
  let groups = [];
  let marks = new Map(); // node → extra class: hover marks
  const overlay = makeOverlay(graph.count);
  let shown = { kept: null, segments: null, tints: null };
  let labels = 0;
  frame.classList.toggle("rv-large", graph.count > LARGE);
  const minimap = makeMinimap(frame, (x, y) => look(centreOn(camera, view(), x, y), true));

  drawLegend(bar, id);
  html("span", "rv-gap", bar);
  const hint = html("span", "rv-hint", bar, "hover: Lᵛ · click: pin · drag: pan · scroll after a click: zoom");
  const button = (text, title, act) => {
    const element = html("button", "rv-button", bar, text);
    element.title = title;
    element.setAttribute("aria-label", title);
    listen(element, "click", act);
    return element;
  };
  const modes = new Map(
    [["wrapped", "☰", "Wrapped like a text"], ["right", "→", "Left to right"], ["down", "↓", "Top down"]].map(
      ([mode, text, title]) => [mode, button(text, title, () => actions.mode(mode))],
    ),
  );
  html("span", "rv-small-gap", bar);
  button("+", "Zoom in", () => zoomMiddle(1.4));
  button("−", "Zoom out", () => zoomMiddle(1 / 1.4));
  button("Fit", "Fit the whole graph", () => refit());

  function view() {
    return { width: frame.clientWidth || 960, height: frame.clientHeight || 400 };
  }

  function look(next, byHand) {
    camera = next;
    moved = moved || byHand;
    world.setAttribute("transform", `translate(${camera.x.toFixed(2)} ${camera.y.toFixed(2)}) scale(${camera.scale.toFixed(4)})`);
    root.classList.toggle("rv-far", camera.scale < READABLE);
    minimap.look(camera, view());
  }

  function refit() {
    moved = false;
    const whole = fit(layout, view());
    // in one long line the whole is a thread: begin at its start, at a readable size, and leave the rest to the minimap
    if (whole.scale < 0.3 && layout.mode === "right") look({ scale: 0.9, x: 20, y: view().height / 2 - 0.45 * layout.height }, false);
    else if (whole.scale < 0.3 && layout.mode === "down") look({ scale: 0.9, x: view().width / 2 - 0.45 * layout.width, y: 20 }, false);
    else look(whole, false);
  }

  function zoomMiddle(factor) {
    const { width, height } = view();
    look(zoomAt(camera, factor, width / 2, height / 2), true);
  }

  /** Draw a layout from nothing; the only place where elements are made. */
  function setLayout(next) {
    layout = next;
    bandLayer.replaceChildren();
    edgeLayer.replaceChildren();
    nodeLayer.replaceChildren();
    numberLayer.replaceChildren();
    const [width, height] = layout.node;
    const down = layout.mode === "down";
    const cell = { width: down ? width + 10 : 46.4, height: down ? 40.4 : height + 9 };
    bands = [];
    groups = [];
    let path = "";
    const single = graph.count <= LARGE; // each edge an element of its own, so that it can be lit; else one path for all
    edgeElements = [];
    for (let e = 0; e + 1 < layout.offsets.length; e++) {
      const d = routePath(layout.points, layout.offsets[e], layout.offsets[e + 1]);
      if (single) edgeElements.push(svg("path", { class: "rv-edge", d }, edgeLayer));
      else path += d;
    }
    if (!single) svg("path", { class: "rv-edge", d: path }, edgeLayer);
    for (let v = 0; v < graph.count; v++) {
      const x = layout.nodes[2 * v];
      const y = layout.nodes[2 * v + 1];
      bands.push(svg("rect", { x: x - cell.width / 2, y: y - cell.height / 2, width: cell.width, height: cell.height }, bandLayer));
      const group = svg("g", { class: "rv-node", transform: `translate(${x} ${y})`, role: "graphics-symbol" }, nodeLayer);
      group.dataset.v = v;
      svg("rect", { x: -width / 2, y: -height / 2, width, height, rx: 5 }, group);
      const label = graph.nodes[v].label;
      svg("text", { y: 4.2, ...(label.length > 4 ? { class: "rv-long" } : {}) }, group).textContent = label;
      groups.push(group);
    }
    marks = new Map();
    overlayAgain(overlay.every());
    for (const [mode, button] of modes) button.setAttribute("aria-pressed", String(mode === layout.mode));
    frame.dataset.engine = layout.engine;
    minimap.setLayout(layout);
    const again = shown;
    shown = { kept: null, segments: null, tints: null };
    if (again.kept) paint(again.kept, again.segments);
    refit();
  }
  let edgeElements = [];

  /** Paint the nodes whose state changed; returns how many. */
  function paint(kept, segments) {
    const keepChanged = diff(shown.kept, kept);
    const tints = tintsOf(segments);
    const tintChanged = diff(shown.tints, tints);
    for (const v of keepChanged) groups[v].firstChild.setAttribute("class", stateClass(kept[v]));
    for (const v of tintChanged) bands[v].setAttribute("class", bandClass(tints[v]));
    if (keepChanged.length || tintChanged.length) {
      paintNumbers(segments);
      minimap.paint(kept);
    }
    if (!shown.segments) nameAll(kept, segments);
    else if (keepChanged.length || tintChanged.length) {
      clearTimeout(labels);
      labels = setTimeout(() => nameAll(kept, segments), LABEL_DELAY);
    }
    shown = { kept, segments, tints };
    return keepChanged.length;
  }

  function nameAll(kept, segments) {
    groups.forEach((group, v) => {
      const name = nodeTitle(graph.nodes[v], kept[v], segments[v]);
      if (group.getAttribute("aria-label") !== name) group.setAttribute("aria-label", name);
    });
  }

  /** V₁, V₂, … at the first node of each segment long enough to carry its name. */
  function paintNumbers(segments) {
    const first = new Map();
    const length = new Map();
    for (let v = 0; v < segments.length; v++) {
      const s = segments[v];
      length.set(s, (length.get(s) ?? 0) + 1);
      if (!first.has(s)) first.set(s, v);
    }
    const wanted = [...first].filter(([s]) => length.get(s) >= 5).slice(0, 120);
    while (numberLayer.childNodes.length > wanted.length) numberLayer.lastChild.remove();
    wanted.forEach(([s, v], i) => {
      const text = numberLayer.childNodes[i] ?? svg("text", { class: "rv-number" }, numberLayer);
      text.setAttribute("x", layout.nodes[2 * v] - layout.node[0] / 2 - 1);
      text.setAttribute("y", layout.nodes[2 * v + 1] - layout.node[1] / 2 - 6.5);
      text.textContent = `V${subscript(s)}`;
    });
  }

  /** Light L^v and its boundary, or nothing. `v` −1 for none; `also` a node to ring. */
  function mark(v, also) {
    const next = new Map();
    const inside = v >= 0 ? lowerSetOf(v, near, graph.count) : null;
    if (inside) {
      for (let u = 0; u < graph.count; u++) if (!inside[u]) next.set(u, " rv-outside");
      for (const u of boundaryOf(inside, near)) next.set(u, " rv-boundary");
      next.set(v, `${next.get(v) ?? ""} rv-picked`);
    }
    if (also >= 0) next.set(also, `${next.get(also) ?? ""} rv-step`);
    for (const u of new Set([...marks.keys(), ...next.keys()])) {
      if (marks.get(u) !== next.get(u)) groups[u].setAttribute("class", `rv-node${next.get(u) ?? ""}${overlay.classOf(u)}`);
    }
    marks = next;
    edgeElements.forEach((edge, e) => {
      const lit = inside && inside[graph.edges[2 * e + 1]];
      edge.setAttribute("class", !inside ? "rv-edge" : lit ? "rv-edge rv-lit" : "rv-edge rv-outside");
    });
  }

  /** Put the overlay's classes and corner marks on these nodes. */
  function overlayAgain(nodes) {
    for (const v of nodes) {
      groups[v].setAttribute("class", `rv-node${marks.get(v) ?? ""}${overlay.classOf(v)}`);
      const glyph = overlay.glyphOf(v);
      const corner = groups[v].querySelector(".rv-corner") ?? (glyph ? svg("text", { class: "rv-corner", x: layout.node[0] / 2, y: -layout.node[1] / 2 + 2 }, groups[v]) : null);
      if (corner) corner.textContent = glyph;
    }
  }

  let timer = 0;
  const nodeAt = (event) => Number(event.target.closest?.("[data-v]")?.dataset.v ?? -1);
  listen(root, "pointerover", (event) => {
    if (drag) return;
    const v = nodeAt(event);
    clearTimeout(timer);
    timer = setTimeout(() => actions.hover(v, v < 0 ? null : rectangleOf(v)), v < 0 ? 2 * HOVER_DELAY : HOVER_DELAY);
  });
  listen(root, "pointerleave", () => {
    clearTimeout(timer);
    actions.hover(-1, null);
  });

  /** A node's rectangle in the frame. */
  function rectangleOf(v) {
    const box = frame.getBoundingClientRect();
    const node = groups[v].getBoundingClientRect();
    return { left: node.left - box.left, top: node.top - box.top, right: node.right - box.left, bottom: node.bottom - box.top };
  }

  let drag = null;
  listen(root, "pointerdown", (event) => {
    if (event.button !== 0) return;
    drag = { x: event.clientX, y: event.clientY, far: false };
  });
  listen(root, "pointermove", (event) => {
    if (!drag) return;
    const dx = event.clientX - drag.x;
    const dy = event.clientY - drag.y;
    if (!drag.far && Math.hypot(dx, dy) < 4) return;
    if (!drag.far) {
      drag.far = true;
      root.setPointerCapture(event.pointerId);
      root.classList.add("rv-panning");
      actions.hover(-1, null);
    }
    drag.x = event.clientX;
    drag.y = event.clientY;
    look(pan(camera, dx, dy), true);
  });
  const endDrag = (event) => {
    const far = drag?.far;
    drag = null;
    root.classList.remove("rv-panning");
    if (event.type === "pointerup" && !far) actions.pin(nodeAt(event), nodeAt(event) < 0 ? null : rectangleOf(nodeAt(event)));
  };
  listen(root, "pointerup", endDrag);
  listen(root, "pointercancel", endDrag);
  listen(
    root,
    "wheel",
    (event) => {
      // a notebook is scrolled over this picture all the time: the wheel zooms only once the graph has the focus
      if (!event.ctrlKey && !event.metaKey && document.activeElement !== root && root.getRootNode().activeElement !== root) return;
      event.preventDefault();
      event.stopPropagation();
      const box = frame.getBoundingClientRect();
      look(zoomAt(camera, Math.exp(-event.deltaY * 0.0015), event.clientX - box.left, event.clientY - box.top), true);
    },
    { passive: false },
  );
  listen(root, "keydown", (event) => {
    const step = 60;
    const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (moves[event.key]) look(pan(camera, ...moves[event.key]), true);
    else if (event.key === "+" || event.key === "=") zoomMiddle(1.25);
    else if (event.key === "-") zoomMiddle(0.8);
    else if (event.key === "0") refit();
    else if (event.key === "Escape") actions.pin(-1, null);
    else return;
    event.preventDefault();
    event.stopPropagation(); // JupyterLab has commands on bare keys
  });

  return {
    setLayout,
    paint,
    mark,
    /** Nodes alive at the scrubbed step stand out, the rest recede; null for none. */
    setAlive: (mask) => overlayAgain(overlay.set({ alive: mask })),
    /** 1 for a node that is forced to be kept, −1 forced to be recomputed, 0 for neither; null for none. */
    setPins: (pins) => overlayAgain(overlay.set({ pins })),
    /** 1 for a node that only the first plan keeps, −1 only the second, 0 for the same; null for none. */
    setDifference: (difference) => overlayAgain(overlay.set({ difference })),
    rectangleOf,
    resize: () => layout && (moved ? look(camera, true) : refit()),
    hintAway: () => hint.classList.add("rv-away"),
    destroy: () => {
      clearTimeout(timer);
      clearTimeout(labels);
      minimap.destroy();
      release();
    },
  };
}

/** The key to colours and patterns. */
function drawLegend(parent, id) {
  const legend = html("div", "rv-graph-legend", parent);
  for (const [className, text] of [
    ["rv-keep", "kept"],
    ["rv-recompute", "recomputed"],
    ["rv-key-boundary", "boundary ∂(Lᵛ)"],
  ]) {
    const item = html("span", "rv-legend-item", legend);
    const key = svg("svg", { width: 26, height: 14, viewBox: "-13 -7 26 14" }, item);
    key.style.setProperty("--rv-hatch", `url(#${id}-hatch)`);
    svg("rect", { x: -11.5, y: -5.5, width: 23, height: 11, rx: 3, class: className }, key);
    item.append(text);
  }
  const item = html("span", "rv-legend-item", legend);
  const key = svg("svg", { width: 30, height: 14 }, item);
  svg("rect", { width: 15, height: 14, class: "rv-band-0" }, key);
  svg("rect", { x: 15, width: 15, height: 14, class: "rv-band-1" }, key);
  item.append("segments V₁, V₂, …");
}
