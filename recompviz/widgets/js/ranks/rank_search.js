// The search for plans over the view: what it does, its progress, and a button to stop it. Until it ends, the figures are grey.

import { makeWatch, UNANSWERED, whenKernelEnds } from "../shared/kernel_note.js";
import { html, listeners, setText } from "../shared/elements.js";

/** Whether better plans may come. */
export const searching = (model) => model.get("_search").state === "working";

/**
 * What the line says.
 * @param search the trait `_search`
 * @param shown whether plans are shown
 * @param silent whether the kernel does not answer
 */
export function searchText({ state, text }, shown, silent = false) {
  if (state === "done") return "";
  if (silent && state === "working") return UNANSWERED;
  if (shown) return `plans so far; ${text}`;
  return state === "working" ? text : `${text}; run the cell again to search`;
}

/** The line over the view. */
export function makeRankSearch(root, model) {
  const { listen, release } = listeners();
  const line = html("div", "rv-opening-line rv-rank-search", root);
  const text = html("div", "rv-rank-search-text", line);
  text.setAttribute("role", "status");
  const bar = html("progress", "rv-progress", line);
  bar.max = 1;
  bar.setAttribute("aria-label", "Progress of the search for plans");
  const stop = html("button", "rv-button", line, "Stop");
  stop.title = "stop the search; the plans found so far stay";
  const panels = html("div", "rv-opening-panels", root);
  for (const part of ["Budget for each rank", "Memory over the step"]) html("div", "rv-opening-panel", panels, part);
  let silent = false;
  const tell = () => {
    silent = true;
    update();
  };
  const watch = makeWatch(tell);
  const stopWaiting = whenKernelEnds(model, tell);
  listen(stop, "click", () => {
    model.send({ type: "stop" });
    watch.expect();
  });

  function update() {
    const search = model.get("_search");
    const shown = Boolean(model.get("_board").lanes);
    const working = search.state === "working" && !silent;
    panels.hidden = shown;
    line.hidden = search.state === "done";
    bar.hidden = stop.hidden = !working;
    bar.value = search.fraction;
    const words = searchText(search, shown, silent);
    setText(text, shown ? words : `${model.get("_title")} on several ranks: ${words}`);
    root.classList.toggle("rv-interim", search.state === "working");
  }
  return {
    update() {
      silent = false;
      watch.heard();
      update();
    },
    destroy() {
      watch.stop();
      stopWaiting();
      release();
    },
  };
}
