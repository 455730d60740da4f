// The graph pane: a scene of boxes seen through a camera. A large graph opens collapsed by module; its scenes are composed
// in the page from ranks and orders that never change.

import { svg, html, setText } from "../shared/elements.js";
import { lowerSetOf, boundaryOf } from "../data/lower_sets.js";
import { makeMinimap } from "./minimap.js";
import { makeModuleTree, firstOpen, shownItem, withNode, boxName, timesText } from "./module_tree.js";
import { compose } from "./compose.js";
import { flatScene, itemSize, boxesOfNodes } from "./scene.js";
import { makeSvgBoxes } from "./svg_boxes.js";
import { makeCanvasBoxes } from "./canvas_boxes.js";
import { makeGraphBar, drawLegend } from "./graph_bar.js";
import { makeGraphLayers } from "./graph_layers.js";
import { makeGraphWindow, LEGIBLE, NAMED, TWO_LINES } from "./graph_window.js";
import { makeGraphPainter } from "./graph_painter.js";
import { makeGraphPointer } from "./graph_pointer.js";
import { makeGraphKeys, graphTitle } from "./graph_keys.js";
import { makeSequenceBrowser } from "./sequence_browser.js";
import { scenePlaces, moveFrom } from "./scene_motion.js";
import { shapeTexts, roomOf, SHAPE_ROOM } from "./edge_shapes.js";

// above this many boxes, boxes and lines are drawn on a canvas, because as many elements take longer than a frame
const LARGE = 400;
// below this scale boxes have neither borders nor hatching
const PLAIN = 0.25;
const HINT = ["click: select, open", "· drag: pan", "· arrows: walk", "· /: search"];
const HINT_FAR = ["too small for names: zoom in", "(+, or click and turn the wheel)"];

/** A text of parts that goes to the next line only before a part, also before the first one. */
export function unbrokenParts(parts) {
  return `\u200b${parts.map((part) => part.replaceAll(" ", "\u00a0")).join(" ")}`;
}

// parent element → what its view showed, so that a view that is drawn again there continues with it
const lastViews = new WeakMap();

/** Let the next view of a graph below `parent` start with the choices of another one, as its `shown()` returns them. */
export function startAs(parent, { open, mode, shapes, colouring, breaks = [], seen = null, search = null }) {
  lastViews.set(parent, { open: open && new Set(open), mode, shapes, colouring, breaks: new Map(breaks), place: seen, search, lowerSet: 0, unsearched: null, hintAway: false });
}

/** Whether a graph opens collapsed. */
export function opensCollapsed(graph, modules) {
  return modules.names.length > 1 && graph.count > modules.collapseAbove;
}

/**
 * The graph view.
 * @param parent where to draw
 * @param graph, near the graph and its neighbours
 * @param actions { hover(v or −1, rectangle), click(v or −1), select(v), mode(name), moved(): boxes have other places on the screen }
 * @param id unique in the page, for pattern names
 * @param modules of readModules
 */
export function makeGraphView(parent, graph, near, actions, id, modules) {
  const tree = makeModuleTree(graph, modules);
  const hasModules = tree.boxes > 1;
  const bar = makeGraphBar(parent, graph, hasModules, {
    found,
    go,
    left: leaveSearch,
    colour: (name) => painter.colour(name),
    collapse: () => setOpen(new Set([0])),
    expand: () => setOpen(null),
    mode: setMode,
    shapes: setShapes,
    zoom: (factor) => win.zoomMiddle(factor),
    fit: refit,
  });
  const frame = html("div", "rv-graph", html("div", "rv-graph-row", parent));
  const canvas = html("canvas", "rv-graph-canvas", frame);
  canvas.setAttribute("aria-hidden", "true");
  const root = svg("svg", { class: "rv-canvas", tabindex: "0", role: "application", "aria-roledescription": "graph" }, frame);
  const hoverText = svg("title", {}, root); // of the closed module under the pointer, also of one on the canvas
  const layers = makeGraphLayers(root, graph, tree, id);
  const { note } = bar;
  const foot = html("div", "rv-graph-foot", parent);
  const legend = html("div", "rv-graph-legend", foot);
  html("span", "rv-gap", foot);
  const reading = html("div", "rv-graph-reading", parent);
  const hint = html("span", "rv-hint", foot, unbrokenParts(HINT)); // one line is seen: a part that has no room is not
  hint.title = HINT.join(" ");
  const toggle = html("button", "rv-button rv-theory-only", foot, "L₁ ≺ … ≺ Lₖ");
  toggle.setAttribute("aria-label", "Browse the plan's lower sets");
  toggle.title = "The plan's lower sets one by one, with the terms of the peak formula";

  const place = parent.parentNode ?? parent;
  const last = lastViews.get(place);
  let waiting = "";
  let flat = null; // the layout of every value, from Python
  let open = last ? last.open : opensCollapsed(graph, modules) ? firstOpen(tree) : null; // null: every value
  let mode = "wrapped";
  let breaks = last?.place ? last.breaks : new Map(); // the lines of each wrapped box, which stay when others are opened
  let broken = 0; // the width for which the lines were broken
  let shapes = last?.shapes ?? false; // whether the shapes of the values are written on the lines
  let theory = false; // whether lower sets and segments are shown
  let unsearched = last?.unsearched ?? null; // what the view showed before the search went to a node
  let marks = { selected: -1, hovered: -1, about: -1, step: -1 }; // what is marked
  let docked = -1; // the selected node
  const svgBoxes = makeSvgBoxes(layers.nodes, graph, layers.light);
  const canvasBoxes = makeCanvasBoxes(canvas, layers.nodes, graph);
  // the current scene, which every part reads; `drawing` is set meanwhile, because removing a focused box sends focusout
  const picture = { scene: null, of: null, renderer: svgBoxes, large: false, drawing: false };
  const win = makeGraphWindow(frame, picture, cameraChanged);
  const minimap = makeMinimap(frame, (x, y) => win.centre(x, y));
  const colouring = last?.colouring ?? "state";
  bar.colour(colouring);
  bar.shapes(shapes);
  const painter = makeGraphPainter(graph, tree, picture, layers, colouring, {
    painted: minimap.paint,
    changed: (fresh) => browser.follow(fresh),
    fresh(name, ends) {
      drawLegend(legend, id, name, ends, open !== null, graph);
      keepRoom();
    },
  });
  /** Leave room for what the legend says while a step is selected, so that nothing below moves then. */
  function keepRoom() {
    legend.style.minHeight = "";
    foot.classList.add("rv-full");
    const { height } = legend.getBoundingClientRect();
    foot.classList.remove("rv-full");
    legend.style.minHeight = `${height}px`;
  }
  const browser = makeSequenceBrowser(parent, toggle, graph, near, painter, win.resize);
  const shared = { mark: markBox, leave, toggle: toggleBox };
  const pointer = makeGraphPointer(root, frame, graph, picture, win, {
    ...shared,
    hover: (v) => actions.hover(v, v < 0 ? null : rectangleOf(v)),
    click: (v) => actions.click(v, v < 0 ? null : rectangleOf(v)),
    tip,
  });
  const keys = makeGraphKeys(root, graph, tree, picture, win, painter, { ...shared, hover: actions.hover, click: actions.click, reveal, search: bar.search.focus, dragging: pointer.dragging });
  const theme = new MutationObserver(() => picture.large && canvasBoxes.recolour());
  for (const where of [document.body, document.documentElement]) theme.observe(where, { attributes: true, attributeFilter: ["data-jp-theme-light", "class"] });

  function cameraChanged(camera, view) {
    const far = camera.scale < NAMED;
    root.classList.toggle("rv-small", camera.scale < LEGIBLE);
    root.classList.toggle("rv-low", camera.scale < TWO_LINES);
    layers.world.setAttribute("transform", `translate(${camera.x.toFixed(2)} ${camera.y.toFixed(2)}) scale(${camera.scale.toFixed(4)})`);
    if (root.classList.toggle("rv-far", far) !== hint.classList.contains("rv-hint-far")) {
      hint.classList.toggle("rv-hint-far", far);
      const parts = far ? HINT_FAR : HINT;
      hint.title = parts.join(" ");
      setText(hint, unbrokenParts(parts));
    }
    root.classList.toggle("rv-plain", camera.scale < PLAIN);
    const scale = (Math.floor(1000 * Math.min(1, camera.scale)) / 1000).toFixed(3); // rounded up, letters would be smaller than 11 px
    if (root.style.getPropertyValue("--rv-scale") !== scale) {
      root.style.setProperty("--rv-scale", scale); // letters do not become smaller with the boxes
      if (!picture.large) svgBoxes.fitNames(camera.scale);
    }
    minimap.setCamera(camera, view);
    pointer.again();
    actions.moved?.();
    if (!picture.large) return;
    canvasBoxes.setCamera(camera, view);
    canvasBoxes.paint();
  }

  // ---- scenes

  /** Set the layout of every value; it is shown unless some modules are closed. */
  function setLayout(next) {
    const first = !flat;
    flat = next;
    // the layout of every value is the same in all views, and each may ask for another one
    if (first && !last && !open && hasModules && win.tooWide(flatScene(flat, graph))) open = firstOpen(tree);
    if (!open) mode = flat.mode;
    else if (first) mode = last?.mode ?? "wrapped";
    if (!open || first) show();
    if (!first || !last) return;
    if (last.place) win.restore(last.place); // it may have been that of a pane of another width
    if (last.search) bar.search.restore(last.search);
    browser.resume(last.lowerSet);
    hint.classList.toggle("rv-away", last.hintAway);
  }

  function setMode(next) {
    unsearched = null;
    mode = next;
    breaks = new Map();
    if (open) show();
    else actions.mode(next); // also if it is shown: another one may be on its way
    bar.show(mode, openness());
  }

  /** Set the open boxes: a Set, or null to show every value in the layout from Python. `anchor` keeps its place. */
  function setOpen(next, anchor = -1) {
    unsearched = null; // the reader has chosen another view since
    const held = anchor >= 0 ? win.onScreen(cornerOf(anchor)) : null;
    const before = picture.scene ? { ...scenePlaces(picture.scene, win.camera, graph.count), large: picture.large } : null;
    open = next;
    if (!open) actions.mode(mode);
    if (held === null) breaks = new Map();
    show(true);
    if (held === null) win.refit();
    else {
      // the box that was opened or closed keeps its place on the screen, as far as the whole scene can then be seen
      win.hold(cornerOf(anchor), held, mode === "wrapped"); // a wrapped scene may be higher than the window
      if (win.outside(win.onScreen(cornerOf(anchor)))) win.refit();
    }
    const { scene, large } = picture;
    if (!before || before.large || large) return;
    moveFrom(before, { scene, camera: win.camera, tree, world: layers.world, groups: svgBoxes.elements(), fading: layers.fading });
  }

  /** Show or hide the shapes of the values on the lines. */
  function setShapes(on) {
    unsearched = null;
    shapes = on;
    breaks = new Map();
    bar.shapes(on);
    show(true);
    win.refit();
  }

  /** Fit the scene again, with new lines. */
  function refit() {
    if (open && mode === "wrapped" && breaks.size && win.place()) {
      breaks = new Map();
      show(true);
    }
    win.fit();
  }

  function openness() {
    return open === null ? "all" : open.size === 1 ? "none" : "some";
  }

  function toggleBox(m) {
    const next = new Set(open ?? Array.from({ length: tree.boxes }, (_, i) => i));
    if (next.has(m)) next.delete(m);
    else next.add(m);
    setOpen(next, m);
    keys.focusModule(m);
  }

  /** The top left corner of a box, closed or open. */
  function cornerOf(m) {
    const { scene } = picture;
    const b = scene.items.indexOf(graph.count + m);
    if (b >= 0) return [scene.x[b] - scene.w[b] / 2, scene.y[b] - scene.h[b] / 2];
    const found = scene.frames.find((f) => f.m === m);
    return found ? [found.x, found.y] : [0, 0];
  }

  /** Compose and draw a scene. Only this function makes elements. */
  function show(keepCamera = false) {
    const opened = open ?? (shapes ? new Set(tree.names.keys()) : null); // the layout from Python has no room for shapes
    const sizes = (item) => itemSize(tree, item, textOf(item).name);
    const room = shapes ? (item) => (opened.has(item - graph.count) ? 0 : roomOf(item, graph, tree)) : undefined;
    const composed = () => (opened ? compose(tree, opened, mode, sizes, { view: shapes ? { ...win.shape(SHAPE_ROOM), least: LEGIBLE } : win.shape(), breaks, room }) : flatScene(flat, graph));
    let scene = composed();
    broken = win.shape().width;
    if (opened && mode === "wrapped" && breaks.size && !win.place() && win.tooWide(scene)) {
      breaks = new Map(); // lines chosen before are too long now
      scene = composed();
    }
    if (shapes) scene.shapes = shapeTexts(scene, graph);
    const large = scene.items.length > LARGE;
    picture.drawing = true;
    svgBoxes.clear();
    canvasBoxes.clear();
    layers.draw(scene, large);
    Object.assign(picture, { scene, of: boxesOfNodes(scene, tree, graph.count), large, renderer: large ? canvasBoxes : svgBoxes, drawing: false });
    frame.classList.toggle("rv-large", large);
    picture.renderer.draw(scene, scene.items.map(textOf));
    if (!large) svgBoxes.fitNames(win.camera.scale);
    frame.dataset.engine = scene.engine;
    frame.dataset.shown = openness();
    root.setAttribute("aria-label", graphTitle(graph.count, open ? scene.items.length : null));
    setNote();
    bar.show(mode, openness());
    minimap.setLayout(scene, picture.of.nodes);
    painter.again();
    if (keepCamera) win.fitHeight();
    else win.refit();
  }

  /** The texts in the box of an item. */
  function textOf(item) {
    if (item < graph.count) return { name: graph.nodes[item].label };
    const m = item - graph.count;
    return { name: boxName(tree, m), times: timesText(tree, m) };
  }

  function setNote() {
    const boxes = open ? `${picture.scene.items.length} boxes for ${graph.count.toLocaleString("en")} values` : "";
    setText(note, waiting || boxes); // there is no room for both
    note.title = [boxes, waiting].filter(Boolean).join("\n");
  }

  // ---- overlays

  /** Mark three nodes: the selected one, the one under the pointer, and the one of the step; −1 for none. In the paper's view show L^v and its boundary for the node `about`. */
  function mark(next) {
    marks = next;
    const { selected, hovered, about, step } = next;
    foot.classList.toggle("rv-some-picked", selected >= 0);
    foot.classList.toggle("rv-some-step", step >= 0);
    const marked = { picked: selected, hovered, step };
    if (browser.open || !theory) return painter.lay(marked);
    const inside = about >= 0 ? lowerSetOf(about, near, graph.count) : null;
    return painter.lay({ ...marked, lower: inside && { inside, boundary: boundaryOf(inside, near) } });
  }

  /** Let the hover text say what a closed box is; a value has a card instead. */
  function tip(m) {
    const b = m < 0 || !painter.plan.states ? -1 : picture.scene.items.indexOf(graph.count + m);
    setText(hoverText, b < 0 ? "" : painter.titleOf(b));
  }

  /** Show the least lower set that contains all nodes of a closed box. */
  function markBox(m) {
    actions.hover(-1, null);
    if (browser.open || !theory) return;
    const inside = new Uint8Array(graph.count);
    for (const v of tree.nodes[m]) if (!inside[v]) lowerSetOf(v, near, graph.count).forEach((bit, u) => (inside[u] |= bit));
    painter.lay({ lower: { inside, boundary: boundaryOf(inside, near) } });
  }

  /** Pointer or focus left the boxes. */
  function leave() {
    actions.hover(-1, null);
    mark(marks); // that of a closed box may be shown
  }

  function found(nodes) {
    const hits = nodes.length ? new Uint8Array(graph.count) : null;
    for (const v of nodes) hits[v] = 1;
    painter.lay({ hits });
  }

  /** Go to a node that the search has found. */
  function go(v) {
    unsearched ??= { open, breaks: new Map(breaks), seen: win.place(), selected: docked };
    reveal(v);
  }

  /** Show the graph as it was before the search. */
  function leaveSearch() {
    if (!unsearched) return;
    const before = unsearched;
    unsearched = null;
    (actions.select ?? actions.click)(before.selected);
    if (open !== before.open) {
      ({ open, breaks } = before);
      show(true);
    }
    win.restore(before.seen);
    if (docked >= 0) win.show(picture.of.boxOf[docked]);
  }

  /** Open the modules around a node, centre it and select it. */
  function reveal(v) {
    if (open && shownItem(tree, v, open) !== v) {
      open = withNode(tree, v, open);
      show(true);
    }
    const b = picture.of.boxOf[v];
    win.centre(picture.scene.x[b], picture.scene.y[b], 0.7);
    (actions.select ?? actions.click)(v, rectangleOf(v));
  }

  /** The rectangle in the frame of the box that shows a node. */
  function rectangleOf(v) {
    return win.rectangleOf(picture.of.boxOf[v]);
  }

  return {
    setLayout,
    paint: painter.paint,
    mark,
    reveal,
    /** Fade all nodes but some, which are alive at the chosen step (`why` "step") or of a source line ("line"); null for none. */
    setAlive(alive, why) {
      foot.classList.toggle("rv-at-step", alive !== null && why === "step");
      foot.classList.toggle("rv-of-line", alive !== null && why === "line");
      painter.lay({ alive });
    },
    /** Show pins: 1 for a node forced to be kept, −1 forced to be recomputed, 0 for neither; null for no pins. */
    setPins(pins) {
      foot.classList.toggle("rv-some-pinned", pins !== null);
      painter.lay({ pins });
    },
    /** Show a difference: 1 for a node that only the first plan keeps, −1 only the second, 0 for no difference; null for none. */
    setDifference(difference) {
      foot.classList.toggle("rv-compared", difference !== null);
      painter.lay({ difference });
    },
    /**
     * Show a line about the node under the pointer, below the graph, where it covers no box; null for no such line.
     * @param advice whether the line only says what to do, so that pictures leave it out
     */
    read(text, advice) {
      setText(reading, text ?? "");
      reading.classList.toggle("rv-how-to", advice);
    },
    rectangleOf,
    /** The top and the bottom, in the window, of the box that shows a node. */
    placeOf(v) {
      const { top } = frame.getBoundingClientRect();
      const box = rectangleOf(v);
      return { top: top + box.top, bottom: top + box.bottom };
    },
    /** Show the box of a node that is selected, -1 for none. The camera moves only as far as it must. */
    dock(v) {
      if (v === docked) return;
      docked = v;
      if (v >= 0) win.show(picture.of.boxOf[v]);
    },
    /** Where a card of some size covers no box, as near to that of node `v` as possible: { left, top }, or null. @param before a place that is kept if it is free */
    freeSpot: (size, v, before) => win.freeSpot(size, picture.of.boxOf[v], before),
    /** Show or hide the paper's view: lower sets, boundaries and segments. */
    setTheory(on) {
      theory = on;
      bar.theory(on);
      painter.setTheory(on);
      if (on) return;
      browser.close();
      painter.lay({ lower: null });
      if (painter.colouring === "segment") {
        bar.colour("state");
        painter.colour("state");
      }
    },
    /** Call after the width of the view changed: lines that are broken to fit the width are broken anew. */
    resize() {
      keepRoom();
      const same = Math.abs(win.shape().width - broken) < 2; // drawing anew would take the focus from a box
      if (!picture.scene || win.moved || same) return win.resize();
      breaks = new Map();
      if (open && mode === "wrapped") show(true);
      broken = win.shape().width;
      return win.refit();
    },
    /**
     * Show the whole graph, for a picture, without the lower set of the selected value, which would leave the other boxes
     * faint. A lower set that the reader browses stays. Lines that stayed while boxes were opened are broken anew if names
     * would have no room. The function that it returns shows all as before.
     */
    arranged() {
      const seen = win.place();
      const { lower } = painter.over;
      if (!browser.open) painter.lay({ lower: null });
      const kept = breaks;
      win.setPictured(true);
      if (open && mode === "wrapped" && win.camera.scale < NAMED) {
        breaks = new Map();
        show(true);
        win.refit();
      }
      return () => {
        if (!browser.open) painter.lay({ lower });
        win.setPictured(false);
        win.restore(seen);
        if (breaks === kept) return;
        breaks = kept;
        show(true);
        win.restore(seen);
      };
    },
    /** What the reader has chosen, as JSON can express it. */
    shown: () => ({ open: open && [...open], mode, shapes, colouring: painter.colouring, search: bar.search.entry(), ...(win.moved && { breaks: [...breaks], seen: win.place() }) }),
    /** Paint every box again, after `graph.held` is known. */
    again: () => painter.again(),
    /** Show a message in the corner. */
    setNote(text) {
      waiting = text;
      setNote();
    },
    hintAway: () => hint.classList.add("rv-away"),
    destroy: () => {
      const kept = { search: bar.search.entry(), unsearched, lowerSet: browser.index, hintAway: hint.classList.contains("rv-away") };
      lastViews.set(place, { ...kept, open, breaks, mode, shapes, colouring: painter.colouring, place: win.place() });
      theme.disconnect();
      for (const part of [pointer, keys, painter, browser, minimap, bar]) part.destroy();
    },
  };
}
