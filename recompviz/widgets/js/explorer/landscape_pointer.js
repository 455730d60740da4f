// Pointer and keyboard on the memory landscape: hover, click, drag a stretch to zoom into it, wheel, double click. What is
// under a pointer at rest changes with the drawing; `again()` says it anew.

import { listeners } from "../shared/elements.js";

const CLICK_MOVE = 4; // pixels; a press that moves less is a click
const WHEEL = 0.0015;

/**
 * Listen on the chart.
 * @param actions { hover(px, py), leave(), click(px, py), brush(from, to) or brush(null), zoomTo(from, to), zoom(factor, px), whole(), key(event) }, in pixels of the chart
 */
export function makeLandscapePointer(chart, actions) {
  const { listen, release } = listeners();
  let from = null;
  let moved = false;
  let over = null; // the last event of a pointer over the chart; null if there is none
  let rest = [NaN, NaN]; // where the pointer was when the keyboard was used, in the window
  const place = (event) => {
    const box = chart.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

  function hover(event, target) {
    over = event;
    rest = [NaN, NaN];
    if (target.closest("[role=button]")) actions.leave(); // the button speaks of its own step
    else actions.hover(...place(event));
  }

  function leave() {
    over = null;
    actions.leave();
  }

  function again() {
    if (!over || from !== null) return;
    const target = chart.getRootNode().elementFromPoint(over.clientX, over.clientY); // the chart may have moved away
    if (target && chart.contains(target)) hover(over, target);
    else leave();
  }

  function end() {
    from = null;
    moved = false;
    actions.brush(null);
  }

  listen(chart, "pointerdown", (event) => {
    if (event.button || event.target.closest("[role=button]")) return;
    [from] = place(event);
    moved = false;
    chart.setPointerCapture?.(event.pointerId);
  });
  listen(chart, "pointermove", (event) => {
    const [x] = place(event);
    if (!moved && from !== null && Math.abs(x - from) >= CLICK_MOVE) {
      moved = true;
      actions.leave(); // a stretch is under the pointer, and no step
    }
    if (moved) actions.brush(from, x);
    else if (rest[0] !== event.clientX || rest[1] !== event.clientY) hover(event, event.target); // browsers send events of a pointer at rest, too
  });
  listen(chart, "pointerup", (event) => {
    if (from === null) return;
    const [x, y] = place(event);
    over = event;
    const [begin, drag] = [from, moved];
    end();
    if (drag) actions.zoomTo(begin, x);
    else actions.click(x, y);
  });
  listen(chart, "pointercancel", () => {
    end();
    leave();
  });
  listen(chart.ownerDocument, "scroll", again, { capture: true, passive: true });
  listen(chart, "pointerleave", leave);
  listen(chart, "dblclick", (event) => {
    if (!event.target.closest("[role=button]")) actions.whole();
  });
  listen(
    chart,
    "wheel",
    (event) => {
      // readers scroll the notebook with the pointer over the chart: the wheel zooms only if the chart has the focus
      if (!event.ctrlKey && !event.metaKey && chart.getRootNode().activeElement !== chart) return;
      event.preventDefault();
      event.stopPropagation();
      actions.zoom(Math.exp(-event.deltaY * WHEEL), place(event)[0]);
    },
    { passive: false },
  );
  listen(chart, "keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target !== chart) return;
    if (!actions.key(event)) return;
    event.preventDefault();
    event.stopPropagation();
  });
  return {
    /** Say again what is under the pointer, after something was drawn anew. */
    again,
    /** Nothing is under the pointer until it is moved. */
    rest() {
      if (over) rest = [over.clientX, over.clientY];
      leave();
    },
    destroy: release,
  };
}
