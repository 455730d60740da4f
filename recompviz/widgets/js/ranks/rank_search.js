// The search for plans over the view: what it does, its progress, and a button to stop it. Until it ends, the figures are grey.

import { html, setText } from "../shared/elements.js";
import { UNANSWERED } from "../shared/kernel_note.js";
import { makeWorkLine } from "../shared/work_line.js";

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
  const names = { className: "rv-opening-line rv-rank-search", text: "rv-rank-search-text", progress: "Progress of the search for plans", stop: "Stop" };
  const work = makeWorkLine(root, model, names, update);
  work.stop.title = "stop the search; the plans found so far stay";
  const panels = html("div", "rv-opening-panels", root);
  for (const part of ["Budget for each rank", "Memory over the step"]) html("div", "rv-opening-panel", panels, part);

  function update() {
    const search = model.get("_search");
    const shown = Boolean(model.get("_board").lanes);
    const working = search.state === "working" && !work.silent;
    panels.hidden = shown;
    work.line.hidden = search.state === "done";
    work.bar.hidden = work.stop.hidden = !working;
    work.bar.value = search.fraction;
    const words = searchText(search, shown, work.silent);
    setText(work.text, shown ? words : `${model.get("_title")} on several ranks: ${words}`);
    root.classList.toggle("rv-interim", search.state === "working");
  }
  return { update: work.heard, destroy: work.destroy };
}
