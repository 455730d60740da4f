// Paints the graph: only the boxes whose state changed. Overlays (a lower set, the values alive, pins, search results)
// are flags of the boxes. svg_boxes.js or canvas_boxes.js draws them.

import { diff } from "./diff.js";
import { boxState } from "./scene.js";
import { blocksEach, foldsEqual } from "./module_tree.js";
import { styleOf, sameStyle, nodeTitle, boxTitle } from "./box_style.js";
import { differing, nodeFlags, flagsTogether } from "./overlay.js";
import { quantityOf, classEnds } from "./colouring.js";

// ms after the last change until accessible names are written: thousands of them take longer than a frame
const LABEL_DELAY = 250;

/**
 * The painter.
 * @param picture { scene, of: { boxOf, nodes }, renderer, large }, the current scene
 * @param observer { painted(states), fresh(colouring, ends), changed(fresh) }, called after a repaint
 */
export function makeGraphPainter(graph, tree, picture, layers, colouring, observer) {
  const over = { alive: null, pins: null, difference: null, lower: null, segmentOf: null, cached: null, hits: null, picked: -1, hovered: -1, step: -1 };
  const plan = { states: null, segments: null };
  let styles = null;
  let flags = null;
  let counts = null; // of `differing`, for each box of several nodes
  let ends = [];
  let labels = 0;
  let theory = false; // whether the names say the segments of the paper's view

  /** Paint the boxes whose state changed; returns how many nodes changed. */
  function paint(states, segments) {
    const stateChanged = diff(styles && plan.states, states);
    const segmentChanged = diff(styles && plan.segments, segments);
    Object.assign(plan, { states, segments });
    if (styles && !stateChanged.length && !segmentChanged.length) return 0;
    const { scene, of, renderer, large } = picture;
    const fresh = !styles;
    const touched = fresh ? scene.items.keys() : new Set([...stateChanged, ...segmentChanged].map((v) => of.boxOf[v]));
    if (fresh) {
      styles = [];
      scaleColours();
    }
    for (const b of touched) {
      const next = styleOf(scene.items[b], of.nodes[b], graph, plan, colouring, ends);
      if (sameStyle(styles[b], next)) continue;
      renderer.setStyle(b, next);
      if (styles[b]?.tint !== next.tint) layers.paintBand(b, next.tint);
      styles[b] = next;
    }
    if (!large) layers.paintNumbers(segments, of.boxOf);
    observer.painted(states);
    clearTimeout(labels);
    if (fresh) nameAll();
    else labels = setTimeout(nameAll, LABEL_DELAY);
    observer.changed(fresh);
    if (fresh) {
      flagBoxes();
      observer.fresh(colouring, ends);
    } else renderer.paint();
    return stateChanged.length;
  }

  function scaleColours() {
    if (quantityOf(colouring, { bytes: 1, time: 1 }) === null) return;
    ends = classEnds(picture.of.nodes.map((nodes) => quantityOf(colouring, boxState(nodes, graph, plan.states, plan.segments))));
  }

  /** The accessible name of a box. */
  function titleOf(b) {
    const item = picture.scene.items[b];
    const { states, segments } = plan;
    if (item < graph.count) return nodeTitle(graph, item, states[item], segments[item], theory);
    const m = item - graph.count;
    return boxTitle(tree.paths[m] || tree.names[m], tree.times[m], foldsEqual(tree, m, graph.memory), boxState(picture.of.nodes[b], graph, states, segments), blocksEach(tree, m));
  }

  function nameAll() {
    for (const b of picture.renderer.named()) picture.renderer.name(b, titleOf(b));
  }

  function flagBoxes() {
    const { scene, of, renderer } = picture;
    const each = nodeFlags(graph.count, over);
    const now = new Uint16Array(scene.items.length);
    const counted = Array(now.length).fill(null);
    for (let b = 0; b < now.length; b++) {
      const nodes = of.nodes[b];
      now[b] = nodes.length === 1 ? each[nodes[0]] : flagsTogether(each, nodes, graph.memory);
      if (nodes.length > 1 && over.difference) counted[b] = differing(over.difference, nodes);
      const same = flags && flags[b] === now[b] && String(counts[b]) === String(counted[b]);
      if (flags ? !same : now[b]) renderer.flag(b, now[b], counted[b]);
    }
    flags = now;
    counts = counted;
    const inside = over.lower?.inside ?? null;
    const pointed = over.hovered >= 0 ? over.hovered : over.picked;
    // without a lower set, the lines of the box under the pointer or of the selected one: a long one can then be followed
    const atPointed = (line) => scene.lineEdges[line].some((e) => graph.edges[2 * e] === pointed || graph.edges[2 * e + 1] === pointed);
    if (inside) renderer.light((line) => scene.lineEdges[line].some((e) => inside[graph.edges[2 * e + 1]]), true);
    else renderer.light(pointed >= 0 ? atPointed : null, false);
    renderer.paint();
  }

  return {
    paint,
    titleOf,
    /** Whether the accessible names say the segments. */
    setTheory(on) {
      if (on === theory) return;
      theory = on;
      if (plan.states && picture.scene) nameAll();
    },
    over,
    plan,
    lay(change) {
      Object.assign(over, change);
      if (picture.scene && !picture.drawing) flagBoxes();
    },
    /** Paint every box, after another scene is drawn. */
    again() {
      styles = flags = null;
      if (plan.states) paint(plan.states, plan.segments);
    },
    colour(name) {
      colouring = name;
      styles = null;
      paint(plan.states, plan.segments);
    },
    get colouring() {
      return colouring;
    },
    destroy: () => clearTimeout(labels),
  };
}
