// The legend of the timeline, one line: categories and lines. A category is a button that filters.

import { html, listeners } from "../shared/elements.js";
import { formatBytes } from "../shared/units.js";
import { CATEGORY } from "../data/categories.js";
import { middleSwatch, swatchOf } from "./landscape_pixels.js";

export const PHASES = ["forward", "recompute", "backward", "accumulate", "optimizer"];

/** The phase and the name of a step; the phase alone is not said twice: "backward/log_softmax_backward". */
export function phasedName(phase, name) {
  return name.startsWith(phase) && ["/", " ", undefined].includes(name[phase.length]) ? name : `${phase} ${name}`;
}
/** Short names of categories. */
export const SHORT = { "kept values": "kept", "transient values": "transient", "recomputed values": "recomputed", "gradients in flight": "gradients", "parameter gradients": "param. gradients" };
/** What the categories are, in plain words. */
export const MEANING = {
  parameters: "the weights of the model",
  buffers: "buffers of the model, for example running means",
  inputs: "the inputs of the batch",
  targets: "the targets of the batch",
  "optimizer state": "what the optimizer keeps for each parameter",
  "kept values": "values of the forward pass that stay for the backward pass",
  "transient values": "values that are freed within the forward pass, after their last use there",
  "recomputed values": "values that are computed again in the backward pass",
  "gradients in flight": "gradients of values; each is freed when the backward pass has used it",
  "parameter gradients": "gradients of the weights, which stay until the optimizer's step",
  loss: "the loss",
  workspace: "scratch memory inside one operator",
  unattributed: "measured memory of no other kind",
};
const STACKED = [CATEGORY.kept, CATEGORY.transient, CATEGORY.recomputed]; // they have the colours of the parts of the model
const SMALL = 0.01; // share of the peak; categories that stay below it are one item

/** The categories that are worth an item, and the others: two lists. */
export function splitCategories(reply) {
  const large = [];
  const small = [];
  reply.categories.forEach((category, c) => {
    let most = 0;
    for (let s = c * reply.steps; s < (c + 1) * reply.steps; s++) most = Math.max(most, reply.bands[s]);
    (most >= SMALL * reply.peak ? large : small).push({ ...category, most });
  });
  return [large, small];
}

/**
 * The legend; `choose(category or null)` is called when the filter changes.
 * @param parts the names of the strata, from the bottom of the landscape upwards
 */
export function makeTimelineLegend(parent, parts, choose) {
  const { listen, release } = listeners();
  const legend = html("div", "rv-legend", parent);
  let whole = false; // whether small categories have items, too
  let redraw = () => {};
  listen(legend, "click", (event) => {
    if (event.target.closest("[aria-expanded]")) {
      whole = !whole;
      redraw();
      legend.querySelector("[aria-expanded]").focus({ preventScroll: true });
      return;
    }
    const item = event.target.closest("[data-category]");
    if (item) choose(item.getAttribute("aria-pressed") === "true" ? null : Number(item.dataset.category));
  });

  function addCategory({ number, label, most }, filter, small) {
    const item = html("button", "rv-legend-item", legend);
    item.title = [`${label}: ${MEANING[label]}`, small && `at most ${formatBytes(most)}`, "click: only these"].filter(Boolean).join("\n");
    item.setAttribute("aria-pressed", String(filter === number));
    item.dataset.category = number;
    const key = html("span", `rv-key rv-key-${number}`, item);
    if (STACKED.includes(number)) key.style.background = middleSwatch(number, parts.length);
    item.append(SHORT[label] ?? label);
  }

  /** The colours of the parts of the model, each with its name. */
  function addParts() {
    if (parts.length < 2) return; // one colour, which the categories show
    const item = html("span", "rv-legend-item rv-parts", legend);
    item.title = `the colours: the part of the model that computes a value\nfrom the bottom: ${parts.join(", ")}`;
    item.append("parts:");
    html("span", "rv-part-name", item, parts[0]);
    const keys = html("span", "rv-part-keys", item);
    parts.forEach((name, i) => {
      const key = html("span", "rv-key", keys);
      key.style.background = swatchOf(2 + i, CATEGORY.kept, parts.length);
      key.title = name;
    });
    html("span", "rv-part-name", item, parts.at(-1));
  }

  /** @param filter the category in full colour, or null; the last argument says which lines are drawn, `compared` with the name of the other plan. */
  function update(reply, filter, lines) {
    redraw = () => update(reply, filter, lines);
    const { measured, compared } = lines;
    const [large, small] = splitCategories(reply);
    const signature = [...large.map(({ number }) => number), "", ...small.map(({ number }) => number), filter, measured, compared, whole].join();
    if (legend.dataset.signature === signature) return;
    legend.dataset.signature = signature;
    legend.replaceChildren();
    for (const category of large) addCategory(category, filter, false);
    if (whole) for (const category of small) addCategory(category, filter, true);
    if (small.length) {
      const item = html("button", "rv-legend-item", legend, whole ? "fewer" : `+${small.length} small`);
      item.title = whole ? "Hide the categories below 1 % of the peak" : "below 1 % of the peak:\n" + small.map(({ label, most }) => `${label}, at most ${formatBytes(most)}: ${MEANING[label]}`).join("\n");
      item.setAttribute("aria-expanded", String(whole));
    }
    addParts();
    for (const [name, text] of [["ghost", "keep all"], ...(measured ? [["measured", "measured"]] : []), ...(compared ? [["rival", `compared with ${compared}`]] : [])]) {
      const item = html("span", "rv-legend-item", legend);
      html("span", `rv-key rv-key-line rv-key-${name}`, item);
      item.append(text);
    }
  }

  return { update, destroy: release };
}
