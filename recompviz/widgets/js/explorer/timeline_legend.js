// The legend of the timeline, one line: categories and lines. A category is a button that filters.

import { html, listeners } from "../shared/elements.js";
import { formatBytes } from "../shared/units.js";

export const PHASES = ["forward", "recompute", "backward", "accumulate", "optimizer"];
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

/** The legend; `choose(category or null)` is called when the filter changes. */
export function makeTimelineLegend(parent, choose) {
  const { listen, release } = listeners();
  const legend = html("div", "rv-legend", parent);
  listen(legend, "click", (event) => {
    const item = event.target.closest("[data-category]");
    if (item) choose(item.getAttribute("aria-pressed") === "true" ? null : Number(item.dataset.category));
  });

  /** @param filter the category in full colour, or null; the last argument says which lines are drawn, `compared` with the name of the other plan. */
  function update(reply, filter, { measured, compared }) {
    const [large, small] = splitCategories(reply);
    const signature = [...large.map(({ number }) => number), "", ...small.map(({ number }) => number), filter, measured, compared].join();
    if (legend.dataset.signature === signature) return;
    legend.dataset.signature = signature;
    legend.replaceChildren();
    for (const { number, label } of large) {
      const item = html("button", "rv-legend-item", legend);
      item.title = [`${label}: ${MEANING[label]}`, "click: only these"].join("\n");
      item.setAttribute("aria-pressed", String(filter === number));
      item.dataset.category = number;
      html("span", `rv-key rv-key-${number}`, item);
      item.append(SHORT[label] ?? label);
    }
    if (small.length) {
      const item = html("span", "rv-legend-item", legend);
      item.title = "below 1 % of the peak:\n" + small.map(({ label, most }) => `${label}, at most ${formatBytes(most)}: ${MEANING[label]}`).join("\n");
      item.append(`+${small.length}`);
    }
    for (const [name, text] of [["ghost", "keep all"], ...(measured ? [["measured", "measured"]] : []), ...(compared ? [["rival", `compared with ${compared}`]] : [])]) {
      const item = html("span", "rv-legend-item", legend);
      html("span", `rv-key rv-key-line rv-key-${name}`, item);
      item.append(text);
    }
  }

  return { update, destroy: release };
}
