// The graph: a camera over a scene of boxes, painted again only where a box's state changed. Collapsed by module
// where it is large; then every picture is composed here from ranks and orders that never change.

import { svg, html, listeners, setText } from "./elements.js";
import { formatBytes, formatPercent, subscript } from "./units.js";
import { fit, zoomAt, pan, centreOn } from "./camera.js";
import { routePath } from "./route.js";
import { diff } from "./diff.js";
import { lowerSetOf, boundaryOf } from "./lower_sets.js";
import { makeMinimap } from "./minimap.js";
import { makeModuleTree, shownItem, withNode, boxName } from "./module_tree.js";
import { compose, FRAME_HEAD } from "./compose.js";
import { flatScene, itemSize, boxesOfNodes, boxState, boxAt } from "./scene.js";
import { nodeFlags, flagsTogether } from "./overlay.js";
import { quantityOf, classEnds, levelOf, HUES, LEVELS } from "./colouring.js";
import { makeSvgBoxes } from "./svg_boxes.js";
import { makeCanvasBoxes } from "./canvas_boxes.js";
import { makeGraphBar, drawLegend } from "./graph_bar.js";
import { makeSequenceView } from "./sequence_view.js";
import { sequenceOf } from "./sequence.js";

const BAND_TINTS = 2;
// below this scale labels are too small to read and are left out
const READABLE = 0.5;
const HOVER_DELAY = 70;
// a screen reader's labels follow once the budget rests: writing thousands of them takes longer than a frame
const LABEL_DELAY = 250;
// above this many boxes they and the lines are drawn on a canvas: as many elements take longer than a frame
const LARGE = 400;

// what a view showed, by the element it stands in, so that a view drawn anew there goes on with it
const lastViews = new WeakMap();

/** The class of a node's rectangle. */
export function stateClass(kept) {
  return kept ? "rv-keep" : "rv-recompute";
}

/** The class of a node's piece of its segment's band; neighbours in the sequence never share a tint. */
export function bandClass(tint) {
  return `rv-band-${tint}`;
}

/** What a screen reader says of a node. */
export function nodeTitle(node, kept, segment) {
  return `${node.key}, ${kept ? "kept" : "recomputed"}, segment ${segment}`;
}

/** What a screen reader says of a closed box. */
export function boxTitle(path, times, state) {
  return `${path}${times > 1 ? `, ${times} equal blocks` : ""}, ${state.of} values, ${state.count} kept, ${formatBytes(state.keptBytes)} of ${formatBytes(state.bytes)}`;
}

/** Whether a graph opens collapsed. */
export function opensCollapsed(graph, modules) {
  return modules.names.length > 1 && graph.count > modules.collapseAbove;
}

/**
 * The graph view.
 * @param parent where to draw
 * @param graph, near the graph and its neighbours
 * @param actions { hover(v or −1, rectangle), pin(v or −1), mode(name) }
 * @param id unique in the page, for pattern names
 * @param modules of readModules
 */
export function makeGraphView(parent, graph, near, actions, id, modules) {
  const { listen, release } = listeners();
  const tree = makeModuleTree(graph, modules);
  const hasModules = tree.boxes > 1;
  const bar = makeGraphBar(parent, graph, hasModules, { found, go: reveal, colour, collapse: () => setOpen(new Set([0])), expand: () => setOpen(null), mode: setMode, zoom: zoomMiddle, fit: refit });
  const frame = html("div", "rv-graph", parent);
  const canvas = html("canvas", "rv-graph-canvas", frame);
  canvas.setAttribute("aria-hidden", "true");
  const root = svg("svg", { class: "rv-canvas", tabindex: "0", role: "graphics-document" }, frame);
  drawPatterns(svg("defs", {}, root), id);
  root.style.setProperty("--rv-hatch", `url(#${id}-hatch)`);
  for (let i = 0; i < HUES; i++) root.style.setProperty(`--rv-hue-fill-${i}`, `url(#${id}-hue-${i})`);
  const world = svg("g", { class: "rv-world" }, root);
  const frameLayer = svg("g", { class: "rv-frames" }, world);
  const bandLayer = svg("g", { class: "rv-bands" }, world);
  const numberLayer = svg("g", { class: "rv-numbers", "aria-hidden": "true" }, world);
  const edgeLayer = svg("g", { class: "rv-edges", "aria-hidden": "true" }, world);
  const nodeLayer = svg("g", { class: "rv-nodes" }, world);
  const note = html("div", "rv-graph-note", frame);
  const foot = html("div", "rv-graph-foot", parent);
  const legend = html("div", "rv-graph-legend", foot);
  note.setAttribute("role", "status");
  html("span", "rv-gap", foot);
  const hint = html("span", "rv-hint", foot, "hover: Lᵛ · click: pin, open a module · drag: pan · /: search");
  const toggle = html("button", "rv-button", foot, "L₁ ≺ … ≺ Lₖ");
  toggle.setAttribute("aria-label", "Browse the plan's lower sets");
  toggle.title = "The plan's lower sets one by one, with the terms of the peak formula";
  const sequenceView = makeSequenceView(parent, toggle, browse);

  const place = parent.parentNode ?? parent;
  const last = lastViews.get(place);
  let waiting = "";
  let flat = null; // Python's layout of every value
  let open = last ? last.open : opensCollapsed(graph, modules) ? new Set([0]) : null; // null: every value
  let mode = "wrapped";
  let scene = null;
  let of = null; // boxOf, nodes
  let painter = null;
  const svgBoxes = makeSvgBoxes(nodeLayer, graph);
  const canvasBoxes = makeCanvasBoxes(canvas, graph);
  let camera = { scale: 1, x: 0, y: 0 };
  let moved = false;
  let bands = [];
  let lines = [];
  let colouring = last?.colouring ?? "state";
  bar.colour(colouring);
  let ends = [];
  let shown = { kept: null, segments: null, looks: null, flags: null, lit: "" };
  const over = { alive: null, pins: null, difference: null, lower: null, segmentOf: null, cached: null, hits: null, picked: -1, step: -1 };
  let sequence = null;
  let sequenceIndex = 0;
  let labels = 0;
  let later = 0;
  let drawing = false; // taking away a focused box tells focusout while the scene is half drawn
  const minimap = makeMinimap(frame, (x, y) => look(centreOn(camera, view(), x, y), true));
  const theme = new MutationObserver(() => painter === canvasBoxes && canvasBoxes.recolour());
  for (const where of [document.body, document.documentElement]) theme.observe(where, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });

  function view() {
    return { width: frame.clientWidth || 960, height: frame.clientHeight || 400 };
  }

  function look(next, byHand) {
    camera = next;
    moved = moved || byHand;
    world.setAttribute("transform", `translate(${camera.x.toFixed(2)} ${camera.y.toFixed(2)}) scale(${camera.scale.toFixed(4)})`);
    root.classList.toggle("rv-far", camera.scale < READABLE);
    minimap.look(camera, view());
    if (painter === canvasBoxes) {
      canvasBoxes.look(camera, view());
      canvasBoxes.flush();
    }
  }

  function refit() {
    moved = false;
    const whole = fit(scene, view());
    // in one long line the whole is a thread: begin at its start, at a readable size, and leave the rest to the minimap
    if (whole.scale < 0.3 && scene.mode === "right") look({ scale: 0.9, x: 20, y: view().height / 2 - 0.45 * scene.height }, false);
    else if (whole.scale < 0.3 && scene.mode === "down") look({ scale: 0.9, x: view().width / 2 - 0.45 * scene.width, y: 20 }, false);
    else look(whole, false);
  }

  function zoomMiddle(factor) {
    const { width, height } = view();
    look(zoomAt(camera, factor, width / 2, height / 2), true);
  }

  // ---- scenes

  /** Python's layout of every value; shown unless some modules are closed. */
  function setLayout(next) {
    const first = !flat;
    flat = next;
    if (first) mode = last?.mode ?? (open ? "wrapped" : flat.mode);
    if (!open || first) show();
    if (first && last?.moved) look(last.camera, true);
  }

  function setMode(next) {
    mode = next;
    if (open) show();
    else if (flat.mode !== next) actions.mode(next);
    bar.show(mode, openness());
  }

  /** Which boxes are open: a set, or null for every value as Python laid it out. */
  function setOpen(next, anchor = -1) {
    const before = anchor >= 0 ? placeOf(anchor) : null;
    open = next;
    if (!open && flat.mode !== mode) actions.mode(mode);
    // text that is wrapped anew is shown as a whole while that is legible
    show(true);
    const keep = before !== null && (mode !== "wrapped" || fit(scene, view()).scale < READABLE);
    if (!keep) refit();
    else {
      // the box that was opened or closed stays where it was on the screen
      const after = placeOf(anchor);
      const screen = [camera.x + camera.scale * before[0], camera.y + camera.scale * before[1]];
      look({ ...camera, x: screen[0] - camera.scale * after[0], y: screen[1] - camera.scale * after[1] }, true);
      if (outside(anchor)) refit();
    }
  }

  function openness() {
    return open === null ? "all" : open.size === 1 ? "none" : "some";
  }

  function toggleBox(m) {
    const next = new Set(open ?? Array.from({ length: tree.boxes }, (_, i) => i));
    if (next.has(m)) next.delete(m);
    else next.add(m);
    setOpen(next, m);
    const element = frame.querySelector(`[data-m="${m}"]`);
    element?.focus({ preventScroll: true });
  }

  /** The top left corner of a box, closed or open. */
  function placeOf(m) {
    const b = scene.items.indexOf(graph.count + m);
    if (b >= 0) return [scene.x[b] - scene.w[b] / 2, scene.y[b] - scene.h[b] / 2];
    const found = scene.frames.find((f) => f.m === m);
    return found ? [found.x, found.y] : [0, 0];
  }

  function outside(m) {
    const [x, y] = placeOf(m);
    const { width, height } = view();
    const [sx, sy] = [camera.x + camera.scale * x, camera.y + camera.scale * y];
    return sx < 0 || sy < 0 || sx > width - 30 || sy > height - 20;
  }

  /** Draw a scene from nothing; the only place where elements are made. */
  function show(keepCamera = false) {
    scene = open ? compose(tree, open, mode, (item) => itemSize(tree, item, item >= graph.count ? boxName(tree, item - graph.count) : "")) : flatScene(flat, graph);
    of = boxesOfNodes(scene, tree, graph.count);
    drawing = true;
    for (const layer of [frameLayer, bandLayer, numberLayer, edgeLayer]) layer.replaceChildren();
    svgBoxes.clear();
    canvasBoxes.clear();
    const large = scene.items.length > LARGE;
    drawing = false;
    painter = large ? canvasBoxes : svgBoxes;
    frame.classList.toggle("rv-large", large);
    painter.draw(scene, scene.items.map((item) => (item < graph.count ? { name: graph.nodes[item].label } : { name: boxName(tree, item - graph.count), times: tree.times[item - graph.count] > 1 ? `×${tree.times[item - graph.count]}` : "" })));
    drawFrames();
    bands = [];
    lines = [];
    if (!large) {
      const down = scene.mode === "down";
      scene.items.forEach((item, b) => {
        if (item >= graph.count) return void bands.push(null);
        const [w, h] = down ? [scene.w[b] + 10, scene.flat ? 40.4 : scene.h[b] + 8] : [scene.flat ? 46.4 : scene.w[b] + 8, scene.h[b] + 9];
        bands.push(svg("rect", { x: scene.x[b] - w / 2, y: scene.y[b] - h / 2, width: w, height: h }, bandLayer));
      });
      for (let e = 0; e + 1 < scene.offsets.length; e++) lines.push(svg("path", { class: "rv-edge", d: routePath(scene.points, scene.offsets[e], scene.offsets[e + 1]) }, edgeLayer));
    }
    frame.dataset.engine = scene.engine;
    frame.dataset.shown = openness();
    root.setAttribute("aria-label", `Graph of ${graph.count} values${open ? ` in ${scene.items.length} boxes` : ""}. Arrow keys pan, plus and minus zoom, 0 fits, slash searches, n and p go to the next and previous value.`);
    setNote();
    bar.show(mode, openness());
    minimap.setLayout(scene, of.nodes);
    const { kept, segments } = shown;
    shown = { kept: null, segments: null, looks: null, flags: null, lit: "" };
    if (kept) paint(kept, segments);
    if (!keepCamera) refit();
  }

  function setNote() {
    const boxes = open ? `showing ${scene.items.length} boxes for ${graph.count.toLocaleString("en")} values` : "";
    setText(note, [boxes, waiting].filter(Boolean).join(" · "));
  }

  /** The frames of the open boxes, each with a head that closes it. */
  function drawFrames() {
    for (const { m, x, y, w, h } of scene.frames) {
      svg("rect", { class: "rv-frame", x, y, width: w, height: h, rx: 7 }, frameLayer);
      const head = svg("g", { class: "rv-frame-head", transform: `translate(${x} ${y})`, role: "button", tabindex: "0", "aria-expanded": "true", "aria-label": `Collapse ${tree.paths[m] || "model"}` }, frameLayer);
      head.dataset.m = m;
      const name = `▾ ${boxName(tree, m, Math.max(8, Math.floor(w / 7)))}${tree.times[m] > 1 ? ` ×${tree.times[m]}` : ""}`;
      svg("rect", { width: Math.min(w, 16 + 7 * name.length), height: FRAME_HEAD, rx: 5 }, head);
      svg("text", { x: 8, y: 14 }, head).textContent = name;
    }
  }

  // ---- painting

  /** Paint the boxes whose state changed; returns how many nodes changed. */
  function paint(kept, segments) {
    const keepChanged = diff(shown.kept, kept);
    const segmentChanged = diff(shown.segments, segments);
    const fresh = !shown.looks;
    if (fresh || keepChanged.length || segmentChanged.length) {
      const touched = fresh ? scene.items.keys() : new Set([...keepChanged, ...segmentChanged].map((v) => of.boxOf[v]));
      if (fresh) scaleColours(kept, segments);
      const looks = shown.looks ?? [];
      for (const b of touched) {
        const next = lookOf(b, kept, segments);
        const before = looks[b];
        if (before && before.className === next.className && before.bar === next.bar && before.fact === next.fact && before.tint === next.tint) continue;
        painter.paint(b, next);
        if (bands[b] && before?.tint !== next.tint) bands[b].setAttribute("class", bandClass(next.tint));
        looks[b] = next;
      }
      shown = { ...shown, kept, segments, looks };
      if (painter === svgBoxes) paintNumbers(segments);
      minimap.paint(kept);
      if (fresh) nameAll();
      else {
        clearTimeout(labels);
        labels = setTimeout(nameAll, LABEL_DELAY);
      }
      if (sequenceIndex) renewSequence(fresh);
      if (fresh) {
        flagBoxes();
        drawLegend(legend, id, colouring, ends, open !== null);
      } else painter.flush();
    }
    shown = { ...shown, kept, segments };
    return keepChanged.length;
  }

  /** How a box looks: the class of its rectangle, the length of its bar, what its second line says. */
  function lookOf(b, kept, segments) {
    const item = scene.items[b];
    const single = item < graph.count;
    const nodes = of.nodes[b];
    const state = single ? null : boxState(nodes, graph, kept, segments);
    const look = single
      ? { kept: kept[item], className: stateClass(kept[item]), tint: segments[item] % BAND_TINTS, bar: undefined, fact: "" }
      : {
          kept: state.count === state.of ? 1 : 0,
          className: state.count === state.of ? "rv-box-keep" : state.count ? "rv-box-mixed" : "rv-box-recompute",
          tint: -1,
          bar: state.share,
          fact: `${formatPercent(state.share)} of ${formatBytes(state.bytes)} kept`,
        };
    if (colouring === "segment") {
      const segment = single ? segments[item] : state.first;
      if (single || state.first === state.last) {
        look.hue = (segment - 1) % HUES;
        look.className += ` rv-hue-${look.hue}`;
      }
      if (!single) look.fact = state.first === state.last ? `V${subscript(state.first)}` : `V${subscript(state.first)} … V${subscript(state.last)}`;
    } else if (colouring !== "state") {
      const value = quantityOf(colouring, state ?? boxState(nodes, graph, kept, segments));
      look.level = levelOf(value, ends);
      look.className += ` rv-level-${look.level}`;
      look.bar = look.level / LEVELS;
    }
    return look;
  }

  function scaleColours(kept, segments) {
    if (quantityOf(colouring, { bytes: 1, time: 1 }) === null) return;
    ends = classEnds(of.nodes.map((nodes) => quantityOf(colouring, boxState(nodes, graph, kept, segments))));
  }

  function colour(name) {
    colouring = name;
    shown.looks = null;
    paint(shown.kept, shown.segments);
  }

  function nameAll() {
    if (painter === canvasBoxes) return; // it has no elements to name
    const { kept, segments } = shown;
    scene.items.forEach((item, b) => {
      const m = item - graph.count;
      painter.name(b, m < 0 ? nodeTitle(graph.nodes[item], kept[item], segments[item]) : boxTitle(tree.paths[m] || tree.names[m], tree.times[m], boxState(of.nodes[b], graph, kept, segments)));
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
    const wanted = [...first].filter(([s, v]) => length.get(s) >= 5 && scene.items[of.boxOf[v]] === v).slice(0, 120);
    while (numberLayer.childNodes.length > wanted.length) numberLayer.lastChild.remove();
    wanted.forEach(([s, v], i) => {
      const text = numberLayer.childNodes[i] ?? svg("text", { class: "rv-number" }, numberLayer);
      const b = of.boxOf[v];
      text.setAttribute("x", scene.x[b] - scene.w[b] / 2 - 1);
      text.setAttribute("y", scene.y[b] - scene.h[b] / 2 - 6.5);
      text.textContent = `V${subscript(s)}`;
    });
  }

  // ---- what is laid over

  function flagBoxes() {
    const flags = nodeFlags(graph.count, over);
    const before = shown.flags;
    const now = new Uint16Array(scene.items.length);
    for (let b = 0; b < now.length; b++) {
      const nodes = of.nodes[b];
      now[b] = nodes.length === 1 ? flags[nodes[0]] : flagsTogether(flags, nodes);
      if (!before ? now[b] : before[b] !== now[b]) painter.flag(b, now[b]);
    }
    shown.flags = now;
    const inside = over.lower?.inside ?? null;
    const lit = (line) => scene.lineEdges[line].some((e) => inside[graph.edges[2 * e + 1]]);
    if (painter === svgBoxes) {
      lines.forEach((line, i) => {
        const name = !inside ? "rv-edge" : lit(i) ? "rv-edge rv-lit" : "rv-edge rv-outside";
        if (line.getAttribute("class") !== name) line.setAttribute("class", name);
      });
    } else canvasBoxes.light(inside ? lit : null);
    painter.flush();
  }

  function lay(change) {
    Object.assign(over, change);
    if (scene && !drawing) flagBoxes();
  }

  /** Light L^v and its boundary, or nothing. `v` −1 for none; `also` a node to ring. */
  function mark(v, also) {
    if (sequenceIndex) return lay({ picked: v, step: also });
    const inside = v >= 0 ? lowerSetOf(v, near, graph.count) : null;
    lay({ lower: inside && { inside, boundary: boundaryOf(inside, near) }, picked: v, step: also });
  }

  /** Light the lower set of all nodes of a closed box. */
  function markBox(m) {
    if (sequenceIndex) return;
    const inside = new Uint8Array(graph.count);
    for (const v of tree.nodes[m]) if (!inside[v]) lowerSetOf(v, near, graph.count).forEach((bit, u) => (inside[u] |= bit));
    lay({ lower: { inside, boundary: boundaryOf(inside, near) } });
  }

  function found(nodes) {
    const hits = nodes.length ? new Uint8Array(graph.count) : null;
    for (const v of nodes) hits[v] = 1;
    lay({ hits });
  }

  /** Open what hides a node, bring it to the middle and pick it. */
  function reveal(v) {
    if (open && shownItem(tree, v, open) !== v) {
      open = withNode(tree, v, open);
      show(true);
    }
    const b = of.boxOf[v];
    const next = camera.scale < 0.7 ? { ...camera, scale: 0.9 } : camera;
    look(centreOn(next, view(), scene.x[b], scene.y[b]), true);
    (actions.select ?? actions.pin)(v, rectangleOf(v));
  }

  // ---- the sequence of lower sets

  function browse(i) {
    if (i && !sequence) sequence = sequenceOf(graph, near, shown.segments, shown.kept);
    const count = i ? sequence.steps.length : 0;
    sequenceIndex = Math.min(Math.max(i, 0), count);
    if (i > 0 && sequenceIndex === 0) sequenceIndex = 1;
    if (!sequenceIndex) sequence = null;
    sequenceView.update(sequence, sequenceIndex);
    showStep();
    resize();
    if (sequenceIndex && !parent.querySelector(".rv-sequence").contains(document.activeElement)) sequenceView.focus();
  }

  function showStep() {
    if (!sequenceIndex) return lay({ lower: null, segmentOf: null, cached: null });
    const inside = Uint8Array.from(shown.segments, (s) => (s <= sequenceIndex ? 1 : 0));
    const cached = Uint8Array.from(sequence.held, (s) => (s > 0 && s <= sequenceIndex ? 1 : 0));
    const segmentOf = Uint8Array.from(shown.segments, (s) => (s === sequenceIndex ? 1 : 0));
    lay({ lower: { inside, boundary: boundaryOf(inside, near) }, segmentOf, cached });
  }

  /** The plan changed while its sequence is shown; for large graphs once the budget rests. */
  function renewSequence(at) {
    clearTimeout(later);
    const renew = () => {
      sequence = sequenceOf(graph, near, shown.segments, shown.kept);
      sequenceIndex = Math.min(sequenceIndex, sequence.steps.length);
      sequenceView.update(sequence, sequenceIndex);
      showStep();
    };
    if (at || graph.count <= LARGE) renew();
    else later = setTimeout(renew, LABEL_DELAY);
  }

  // ---- pointer and keys

  let timer = 0;
  let over_ = null; // what the pointer is over: "v3", "m4", or null
  function itemAt(event) {
    const element = event.target.closest?.("[data-v],[data-m]");
    if (element?.dataset.m !== undefined) return { m: Number(element.dataset.m), v: -1 };
    if (element) return { m: -1, v: Number(element.dataset.v) };
    if (painter !== canvasBoxes) return { m: -1, v: -1 };
    const box = frame.getBoundingClientRect();
    const b = boxAt(scene, (event.clientX - box.left - camera.x) / camera.scale, (event.clientY - box.top - camera.y) / camera.scale);
    const item = b < 0 ? -1 : scene.items[b];
    return item >= graph.count ? { m: item - graph.count, v: -1 } : { m: -1, v: item };
  }

  function pointAt({ m, v }) {
    const key = `${m},${v}`;
    if (key === over_) return;
    over_ = key;
    clearTimeout(timer);
    timer = setTimeout(
      () => {
        if (v >= 0) actions.hover(v, rectangleOf(v));
        else {
          actions.hover(-1, null);
          if (m >= 0 && !frame.querySelector(`.rv-frame-head[data-m="${m}"]`)) markBox(m);
          else if (!sequenceIndex && over.picked < 0) lay({ lower: null });
        }
      },
      v < 0 && m < 0 ? 2 * HOVER_DELAY : HOVER_DELAY,
    );
  }

  listen(root, "pointerover", (event) => !drag && pointAt(itemAt(event)));
  listen(root, "pointerleave", () => {
    clearTimeout(timer);
    over_ = null;
    if (!sequenceIndex && over.picked < 0) lay({ lower: null });
    actions.hover(-1, null);
  });

  /** The rectangle in the frame of the box that shows a node. */
  function rectangleOf(v) {
    const b = of.boxOf[v];
    const x = camera.x + camera.scale * scene.x[b];
    const y = camera.y + camera.scale * scene.y[b];
    const [w, h] = [(camera.scale * scene.w[b]) / 2, (camera.scale * scene.h[b]) / 2];
    return { left: x - w, top: y - h, right: x + w, bottom: y + h };
  }

  let drag = null;
  listen(root, "pointerdown", (event) => {
    if (event.button !== 0) return;
    drag = { x: event.clientX, y: event.clientY, far: false };
  });
  listen(root, "pointermove", (event) => {
    if (!drag) {
      if (painter === canvasBoxes) pointAt(itemAt(event));
      return;
    }
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
    if (event.type !== "pointerup" || far) return;
    const { m, v } = itemAt(event);
    if (m >= 0) toggleBox(m);
    else actions.pin(v, v < 0 ? null : rectangleOf(v));
  };
  listen(root, "pointerup", endDrag);
  listen(root, "pointercancel", endDrag);
  listen(
    root,
    "wheel",
    (event) => {
      // a notebook is scrolled over this picture all the time: the wheel zooms only once the graph has the focus
      const active = root.getRootNode().activeElement;
      if (!event.ctrlKey && !event.metaKey && !root.contains(active)) return;
      event.preventDefault();
      event.stopPropagation();
      const box = frame.getBoundingClientRect();
      look(zoomAt(camera, Math.exp(-event.deltaY * 0.0015), event.clientX - box.left, event.clientY - box.top), true);
    },
    { passive: false },
  );
  listen(root, "focusin", (event) => {
    const m = event.target.closest?.(".rv-module")?.dataset.m;
    if (m !== undefined && !drag) markBox(Number(m));
  });
  listen(root, "focusout", () => !sequenceIndex && over.picked < 0 && lay({ lower: null }));
  listen(root, "keydown", (event) => {
    const step = 60;
    const moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    const box = event.target.closest?.("[data-m]");
    if (moves[event.key]) look(pan(camera, ...moves[event.key]), true);
    else if ((event.key === "Enter" || event.key === " ") && box) toggleBox(Number(box.dataset.m));
    else if (event.key === "+" || event.key === "=") zoomMiddle(1.25);
    else if (event.key === "-") zoomMiddle(0.8);
    else if (event.key === "0") refit();
    else if (event.key === "/") bar.focusSearch();
    else if (event.key === "n" || event.key === "p") reveal((over.picked + (event.key === "n" ? 1 : -1) + graph.count) % graph.count);
    else if (event.key === "Escape") actions.pin(-1, null);
    else return;
    event.preventDefault();
    event.stopPropagation(); // JupyterLab has commands on bare keys
  });

  function resize() {
    if (scene) moved ? look(camera, true) : refit();
  }

  return {
    setLayout,
    paint,
    mark,
    reveal,
    /** Nodes alive at the scrubbed step stand out, the rest recede; null for none. */
    setAlive: (alive) => lay({ alive }),
    /** 1 for a node that is forced to be kept, −1 forced to be recomputed, 0 for neither; null for none. */
    setPins: (pins) => lay({ pins }),
    /** 1 for a node that only the first plan keeps, −1 only the second, 0 for the same; null for none. */
    setDifference: (difference) => lay({ difference }),
    rectangleOf,
    resize,
    /** What is still to come, said in the corner. */
    setNote(text) {
      waiting = text;
      setNote();
    },
    hintAway: () => hint.classList.add("rv-away"),
    destroy: () => {
      lastViews.set(place, { open, mode, colouring, camera, moved });
      clearTimeout(timer);
      clearTimeout(labels);
      clearTimeout(later);
      theme.disconnect();
      minimap.destroy();
      bar.destroy();
      sequenceView.destroy();
      release();
    },
  };
}

/** The hatch of what is recomputed, and a pattern for each hue of the segments. */
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
