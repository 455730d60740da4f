// The graph by keyboard: arrow keys move the focus from box to box along the lines. Like the box under the pointer, the
// focused box shows its lower set and its card. The keys are the same for SVG and canvas.

import { listeners } from "../shared/elements.js";
import { boxLinks, boxTowards, nearestBox } from "./graph_walk.js";

const PAN = 60;
const ARROWS = { ArrowLeft: [PAN, 0], ArrowRight: [-PAN, 0], ArrowUp: [0, PAN], ArrowDown: [0, -PAN] };

/** The accessible name of the graph, with its keys. */
export function graphTitle(count, boxes) {
  const shown = boxes === null ? "" : ` in ${boxes.toLocaleString("en")} boxes`;
  return (
    `Graph of ${count.toLocaleString("en")} values${shown}. Arrow keys walk from box to box, Home and End go to the first and last, ` +
    "Enter opens a module or selects a value, Backspace closes the module around it, n and p go to the next and previous value, " +
    "slash searches, shift with arrow keys pans, plus and minus zoom, 0 fits."
  );
}

/**
 * Keys and focus.
 * @param picture { scene, of, renderer }, the current scene
 * @param win of makeGraphWindow; @param painter of makeGraphPainter
 * @param actions { toggle(m), hover(v, rectangle), click(v, rectangle), mark(m), leave(), reveal(v), search(), dragging() }
 */
export function makeGraphKeys(root, graph, tree, picture, win, painter, actions) {
  const { listen, release } = listeners();
  let links = null; // of the scene shown, computed at the first arrow key
  let linked = null;
  let last = -1; // the item that had the focus last

  const itemOf = (element) => {
    const found = element?.closest?.("[data-v],[data-m]");
    if (!found) return -1;
    return found.dataset.v !== undefined ? Number(found.dataset.v) : graph.count + Number(found.dataset.m);
  };
  const boxOf = (item) => picture.scene.items.indexOf(item);

  function focusBox(b) {
    if (b < 0) return;
    win.bring(b);
    picture.renderer.focus(b, painter.titleOf(b));
  }

  /** Focus a module, closed or open. */
  function focusModule(m) {
    const head = root.querySelector(`.rv-frame-head[data-m="${m}"]`);
    if (head) head.focus({ preventScroll: true });
    else focusBox(boxOf(graph.count + m));
  }

  function walk(item, key) {
    const { scene, of } = picture;
    if (linked !== scene) [links, linked] = [boxLinks(scene, of.boxOf, graph.edges), scene];
    if (key === "Home" || key === "End") return focusBox(of.boxOf[key === "Home" ? 0 : graph.count - 1]);
    const here = boxOf(item);
    if (here >= 0) return focusBox(boxTowards(scene, links, here, key));
    if (item >= graph.count) return focusBox(fromHead(item - graph.count, key));
    // the graph itself has the focus: begin at the box focused last, else at the selected one, else at the first
    const start = [boxOf(last), of.boxOf[painter.over.picked], of.boxOf[0]].find((b) => b >= 0);
    return focusBox(start);
  }

  /** From the head of an open module to its first box, or back to a box that it reads. */
  function fromHead(m, key) {
    const { scene, of } = picture;
    const first = of.boxOf[tree.nodes[m][0]];
    if (key === "ArrowRight" || key === "ArrowDown") return first;
    const inside = new Set(tree.nodes[m].map((v) => of.boxOf[v]));
    const before = [...inside].flatMap((b) => links.before[b]).filter((b) => !inside.has(b));
    return nearestBox(scene, before, first);
  }

  /** The module around an item; 0, the whole graph, if there is none. */
  function around(item) {
    if (item < 0) return 0;
    return item < graph.count ? tree.around[item][0] : Math.max(0, tree.parent[item - graph.count]);
  }

  function act(event) {
    const { key, shiftKey } = event;
    const item = itemOf(event.target);
    if (ARROWS[key] && shiftKey) win.pan(...ARROWS[key]);
    else if (ARROWS[key] || key === "Home" || key === "End") walk(item, key);
    else if ((key === "Enter" || key === " ") && item >= graph.count) actions.toggle(item - graph.count);
    else if ((key === "Enter" || key === " ") && item >= 0) actions.click(item, win.rectangleOf(boxOf(item)));
    else if (key === "Backspace" && around(item) > 0) actions.toggle(around(item));
    else if (key === "+" || key === "=") win.zoomMiddle(1.25);
    else if (key === "-") win.zoomMiddle(0.8);
    else if (key === "0") win.refit();
    else if (key === "/") actions.search();
    else if (key === "n" || key === "p") {
      const here = item >= 0 && item < graph.count ? item : painter.over.picked;
      const v = (here + (key === "n" ? 1 : -1) + graph.count) % graph.count;
      actions.reveal(v);
      focusBox(picture.of.boxOf[v]);
    } else if (key === "Escape") actions.click(-1, null);
    else return false;
    return true;
  }

  listen(root, "keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !act(event)) return;
    event.preventDefault();
    event.stopPropagation(); // JupyterLab has commands on bare keys
  });
  listen(root, "focusin", (event) => {
    const item = itemOf(event.target);
    if (item < 0 || actions.dragging()) return;
    last = item;
    if (item < graph.count) actions.hover(item, win.rectangleOf(boxOf(item)));
    else if (boxOf(item) >= 0) actions.mark(item - graph.count);
    else actions.leave();
  });
  listen(root, "focusout", (event) => !picture.drawing && !root.contains(event.relatedTarget) && actions.leave());

  return { focusModule, destroy: release };
}
