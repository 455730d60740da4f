// The minimap: the whole graph and the part that the camera shows. It is shown only if the camera does not show everything.

import { html, svg, listeners } from "../shared/elements.js";
import { STATE } from "../data/value_states.js";

const MAP_WIDTH = 150;
const MAP_HEIGHT = 64;
const SMALL_MAP = 0.55; // the share of its width and height that a small minimap has
const NARROW = 600; // px
const MAP_EDGE = 12; // px from the edges of the pane
// where the minimap may lie: [class, at the right, at the bottom]
const CORNERS = [["", true, true], ["rv-left", false, true], ["rv-up", true, false], ["rv-left rv-up", false, false]];

/** The part of the world that the window shows. */
export function visibleWorld(camera, view) {
  return { x: -camera.x / camera.scale, y: -camera.y / camera.scale, width: view.width / camera.scale, height: view.height / camera.scale };
}

/**
 * Where the minimap covers the fewest boxes: { corner, small, covers }. `corner` is the first such one of CORNERS, or `now` if no
 * other is better. It is small only if it then covers fewer boxes.
 */
export function freePlace(scene, camera, view, now) {
  const large = freeCorner(scene, camera, view, now, 1);
  if (!large.covers) return { ...large, small: false };
  const small = freeCorner(scene, camera, view, now, SMALL_MAP);
  return small.covers < large.covers ? { ...small, small: true } : { ...large, small: false };
}

function freeCorner(scene, camera, view, now, size) {
  const [wide, high] = [MAP_WIDTH * size, MAP_HEIGHT * size];
  const covered = CORNERS.map(([, right, low]) => {
    const left = right ? view.width - MAP_EDGE - wide : MAP_EDGE;
    const top = low ? view.height - MAP_EDGE - high : MAP_EDGE;
    const beside = (at, size, shift, from, length) => Math.abs(camera.scale * at + shift - from - length / 2) >= (camera.scale * size + length) / 2;
    let count = 0;
    for (let b = 0; b < scene.items.length; b++) if (!beside(scene.x[b], scene.w[b], camera.x, left, wide) && !beside(scene.y[b], scene.h[b], camera.y, top, high)) count += 1;
    return count;
  });
  const least = Math.min(...covered);
  return { corner: covered[now] === least ? now : covered.indexOf(least), covers: least };
}

/** The minimap; `go(x, y)` is called with a point of the world when it is clicked or dragged. */
export function makeMinimap(parent, go) {
  const { listen, release } = listeners();
  const box = html("div", "rv-minimap", parent);
  const canvas = html("canvas", "", box);
  const overlay = svg("svg", { "aria-hidden": "true" }, box);
  const window_ = svg("rect", { class: "rv-minimap-window" }, overlay);
  let layout = null;
  let states = null;
  let nodes = []; // the nodes of each box
  let scale = { x: 1, y: 1 };
  let corner = 0;

  function setLayout(next, nodesOf) {
    layout = next;
    nodes = nodesOf;
    scale = { x: MAP_WIDTH / layout.width, y: MAP_HEIGHT / Math.max(1, layout.height) };
    canvas.width = MAP_WIDTH * 2;
    canvas.height = MAP_HEIGHT * 2;
    overlay.setAttribute("viewBox", `0 0 ${MAP_WIDTH} ${MAP_HEIGHT}`);
    if (states) paint(states);
  }

  function paint(next) {
    states = next;
    if (!layout || !box.classList.contains("rv-there")) return;
    const style = getComputedStyle(box);
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, canvas.width, canvas.height);
    const colours = ["--rv-recompute", "--rv-keep", "--rv-line"].map((name) => style.getPropertyValue(name));
    for (let b = 0; b < nodes.length; b++) {
      const width = Math.max(1.5, layout.w[b] * scale.x * 2);
      const height = Math.max(1.5, Math.min(14, layout.h[b] * scale.y * 2));
      const left = layout.x[b] * scale.x * 2 - width / 2;
      const top = layout.y[b] * scale.y * 2 - height / 2;
      const widths = [0, 0, 0];
      for (const v of nodes[b]) widths[states[v]] += width / nodes[b].length;
      let from = left;
      for (const state of [STATE.kept, STATE.recomputed, STATE.unneeded]) {
        pen.fillStyle = colours[state];
        pen.fillRect(from, top, widths[state], height);
        from += widths[state];
      }
    }
  }

  function setCamera(camera, view) {
    if (!layout) return;
    const seen = visibleWorld(camera, view);
    const all = seen.x <= 1 && seen.y <= 1 && seen.x + seen.width >= layout.width - 1 && seen.y + seen.height >= layout.height - 1;
    const before = box.classList.contains("rv-there");
    box.classList.toggle("rv-there", !all);
    if (!all && !before && states) paint(states);
    if (all) return;
    const place = freePlace(layout, camera, view, corner);
    ({ corner } = place);
    // where it covers boxes in every corner of a narrow window, it would hide much of what it is a map of
    if (place.covers && view.width < NARROW) return void box.classList.remove("rv-there");
    // where it covers boxes in every corner, they are seen through it
    box.className = `rv-minimap rv-there ${CORNERS[corner][0]}${place.small ? " rv-small-map" : ""}${place.covers ? " rv-over" : ""}`;
    window_.setAttribute("x", seen.x * scale.x);
    window_.setAttribute("y", seen.y * scale.y);
    window_.setAttribute("width", Math.max(2, seen.width * scale.x));
    window_.setAttribute("height", Math.max(2, seen.height * scale.y));
  }

  const move = (event) => {
    if (event.buttons !== 1 && event.type !== "pointerdown") return;
    const rect = box.getBoundingClientRect();
    go(((event.clientX - rect.left) / rect.width) * layout.width, ((event.clientY - rect.top) / rect.height) * layout.height);
  };
  listen(box, "pointerdown", (event) => {
    box.setPointerCapture(event.pointerId);
    move(event);
  });
  listen(box, "pointermove", move);
  return { setLayout, paint, setCamera, destroy: release };
}
