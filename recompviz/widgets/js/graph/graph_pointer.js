// The graph by pointer: hovering shows a lower set, a click selects a value or opens a module, dragging pans, and the
// wheel zooms if the graph has the focus. When boxes move under a pointer at rest, `again()` says what is under it then.

import { listeners } from "../shared/elements.js";
import { boxAt } from "./scene.js";

const HOVER_DELAY = 70;
// pixels; a press that moves less is a click
const CLICK = 4;

/**
 * The pointer.
 * @param picture { scene, large }, the current scene
 * @param win of makeGraphWindow
 * @param actions { hover(v or −1), mark(m), leave(), toggle(m), click(v or −1), tip(m or −1): what the pointer is over, said at once }
 */
export function makeGraphPointer(root, frame, graph, picture, win, actions) {
  const { listen, release } = listeners();
  let timer = 0;
  let over = null; // what the pointer is over, as "m,v"
  let drag = null;
  let last = null; // the last event of a pointer over the graph; null if there is none, or if a key was pressed since
  // browsers also send pointer events when the scene moves under a pointer at rest (by keys); these are not hovering
  let rests = { x: NaN, y: NaN };
  let moved = false;
  const resting = (event) => event.clientX === rests.x && event.clientY === rests.y;

  function itemAt(event) {
    const element = event.target.closest?.("[data-v],[data-m]");
    if (element?.dataset.m !== undefined) return { m: Number(element.dataset.m), v: -1 };
    if (element) return { m: -1, v: Number(element.dataset.v) };
    if (!picture.large) return { m: -1, v: -1 };
    const b = boxAt(picture.scene, ...win.pointOf(event));
    const item = b < 0 ? -1 : picture.scene.items[b];
    return item >= graph.count ? { m: item - graph.count, v: -1 } : { m: -1, v: item };
  }

  function pointAt({ m, v }) {
    const key = `${m},${v}`;
    if (key === over) return;
    over = key;
    actions.tip(m); // browsers read the hover text right after this event
    clearTimeout(timer);
    const delay = v < 0 && m < 0 ? 2 * HOVER_DELAY : HOVER_DELAY;
    timer = setTimeout(() => {
      if (v >= 0) actions.hover(v);
      else if (m >= 0 && !frame.querySelector(`.rv-frame-head[data-m="${m}"]`)) actions.mark(m);
      else actions.leave();
    }, delay);
  }

  const follow = (event) => {
    moved = !resting(event);
    rests = { x: event.clientX, y: event.clientY };
  };
  listen(root.ownerDocument, "pointermove", follow, { capture: true, passive: true });
  listen(root, "pointerover", (event) => {
    if (drag || resting(event)) return;
    last = event;
    pointAt(itemAt(event));
  });
  function leave() {
    clearTimeout(timer);
    over = last = null;
    actions.tip(-1);
    actions.leave();
  }
  listen(root, "pointerleave", leave);
  // from here on the keys move, and what is under the pointer does not count until it is moved
  listen(root, "keydown", (event) => last && !["Shift", "Control", "Alt", "Meta"].includes(event.key) && leave());

  function again() {
    if (!last || drag) return;
    const b = boxAt(picture.scene, ...win.pointOf(last));
    const item = b < 0 ? -1 : picture.scene.items[b];
    pointAt(item >= graph.count ? { m: item - graph.count, v: -1 } : { m: -1, v: item });
  }
  listen(root, "pointerdown", (event) => {
    if (event.button !== 0) return;
    drag = { x: event.clientX, y: event.clientY, far: false };
  });
  listen(root, "pointermove", (event) => {
    if (!drag) {
      if (moved) last = event;
      if (picture.large && moved) pointAt(itemAt(event));
      return;
    }
    const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
    if (!drag.far && Math.hypot(dx, dy) < CLICK) return;
    if (!drag.far) {
      drag.far = true;
      root.setPointerCapture(event.pointerId);
      root.classList.add("rv-panning");
      actions.hover(-1);
    }
    [drag.x, drag.y] = [event.clientX, event.clientY];
    win.pan(dx, dy);
  });
  const endDrag = (event) => {
    const far = drag?.far;
    drag = null;
    root.classList.remove("rv-panning");
    last = event;
    if (far) again();
    if (event.type !== "pointerup" || far) return;
    const { m, v } = itemAt(event);
    if (m >= 0) actions.toggle(m);
    else actions.click(v);
  };
  listen(root, "pointerup", endDrag);
  listen(root, "pointercancel", endDrag);
  listen(
    root,
    "wheel",
    (event) => {
      // readers scroll the notebook with the pointer over the graph: the wheel zooms only if the graph has the focus
      const active = root.getRootNode().activeElement;
      if (!event.ctrlKey && !event.metaKey && !root.contains(active)) return;
      event.preventDefault();
      event.stopPropagation();
      win.zoomTo(Math.exp(-event.deltaY * 0.0015), event);
    },
    { passive: false },
  );

  return {
    dragging: () => drag !== null,
    again,
    destroy() {
      clearTimeout(timer);
      release();
    },
  };
}
