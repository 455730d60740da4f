// Pointer and keyboard on the memory landscape: hover, click, drag a stretch to zoom into it, wheel, double click.

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
  const place = (event) => {
    const box = chart.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };

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
    const [x, y] = place(event);
    if (from !== null && Math.abs(x - from) >= CLICK_MOVE) moved = true;
    if (moved) actions.brush(from, x);
    else if (from === null && event.target.closest("[role=button]")) actions.leave(); // the button speaks of its own step
    else actions.hover(x, y);
  });
  listen(chart, "pointerup", (event) => {
    if (from === null) return;
    const [x, y] = place(event);
    const [begin, drag] = [from, moved];
    end();
    if (drag) actions.zoomTo(begin, x);
    else actions.click(x, y);
  });
  listen(chart, "pointercancel", end);
  listen(chart, "pointerleave", actions.leave);
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
  return { destroy: release };
}
