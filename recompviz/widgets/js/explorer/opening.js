// What a cell shows until its training step is traced: the phase, its progress, a button to cancel; or why it failed.

import { html, listeners, setText } from "../shared/elements.js";
import { UNANSWERED } from "../shared/kernel_note.js";
import { makeWorkLine } from "../shared/work_line.js";

// s; a view that was made longer ago is one of a notebook that was opened again, where the reader chose the place
const RECENT = 30;

/** "tracing the training step · 3 s", or the end of it. @param silent whether the kernel does not answer */
export function openingText({ state, text }, seconds, silent = false) {
  if (silent && state === "working") return UNANSWERED;
  if (state === "failed") return text;
  if (state === "cancelled") return "cancelled; run the cell again to trace the training step";
  return `${text} · ${Math.round(seconds)} s`;
}

/** Draw the shell; returns the function that releases it. */
export function mountOpening(model, parent) {
  const root = html("div", "rv-explorer rv-opening", parent);
  root.setAttribute("role", "group");
  const head = html("div", "rv-header", root);
  const title = html("div", "rv-title", head);
  const name = html("strong", "", title);
  const names = { className: "rv-opening-line", text: "rv-opening-text", progress: "Progress of the opening", stop: "Cancel" };
  const work = makeWorkLine(root, model, names, update);
  for (const part of ["Budget", "Memory over the step"]) html("div", "rv-opening-panel", html("div", "rv-opening-panels", root), part);
  const shown = performance.now();

  function update() {
    const opening = model.get("_opening");
    setText(name, opening.title ?? "");
    root.setAttribute("aria-label", `Opening ${opening.title}`);
    root.dataset.state = opening.state;
    work.bar.hidden = work.stop.hidden = opening.state !== "working" || work.silent;
    work.bar.value = opening.fraction ?? 0;
    setText(work.text, openingText(opening, (performance.now() - shown) / 1000, work.silent));
  }
  update();
  const timer = setInterval(update, 1000);
  model.on("change:_opening", work.heard);
  return () => {
    clearInterval(timer);
    model.off("change:_opening", work.heard);
    work.destroy();
    root.remove();
  };
}

/** Scroll a view that a cell has just made to the top of the window, unless the reader scrolls; `again()` after it was drawn anew. */
export function scrollIntoViewOnce(model, el) {
  const { listen, release } = listeners();
  const begun = model.get("_opening")?.begun ?? 0;
  let free = Date.now() / 1000 - begun < RECENT;
  for (const type of ["wheel", "pointerdown", "keydown", "touchstart"]) listen(window, type, () => (free = false), { passive: true, capture: true });
  function scroll() {
    if (!free) return;
    const { top, bottom } = el.getBoundingClientRect();
    const visible = top >= 0 && bottom <= window.innerHeight;
    if (!visible) el.scrollIntoView({ block: "start" });
  }
  // the host moves to the next cell after it has drawn the output
  const timers = [100, 400].map((wait) => setTimeout(scroll, wait));
  const stop = () => {
    timers.forEach(clearTimeout);
    release();
  };
  stop.again = () => requestAnimationFrame(scroll);
  return stop;
}
