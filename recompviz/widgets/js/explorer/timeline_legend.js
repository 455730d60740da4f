// The legend of the timeline: categories, phases and lines. A category is a button that filters.

import { html, svg, listeners } from "../shared/elements.js";

export const PHASES = ["forward", "recompute", "backward", "accumulate", "optimizer"];

/** The legend; `choose(category or null)` is called when the filter changes. */
export function makeTimelineLegend(parent, choose) {
  const { listen, release } = listeners();
  const legend = html("div", "rv-legend", parent);
  listen(legend, "click", (event) => {
    const item = event.target.closest("[data-category]");
    if (item) choose(item.getAttribute("aria-pressed") === "true" ? null : Number(item.dataset.category));
  });

  /** @param filter the category in full colour, or null; the last argument says which lines are drawn. */
  function update(reply, filter, { measured, compared }) {
    const phases = [...new Set(reply.phases)].sort();
    const names = [
      ...reply.categories.map((category) => [`rv-key rv-category-${category.number}`, category.label, category.number]),
      ...phases.map((phase) => [`rv-key rv-key-strip rv-phase-${phase}`, PHASES[phase]]),
      ["rv-key rv-key-ghost", "keep all"],
      ...(measured ? [["rv-key rv-key-measured", "measured"]] : []),
      ...(compared ? [["rv-key rv-key-rival", "compared with"]] : []),
    ];
    const signature = `${names.map((pair) => pair[1]).join()}${filter}`;
    if (legend.dataset.signature === signature) return;
    legend.dataset.signature = signature;
    legend.replaceChildren();
    for (const [className, text, category] of names) {
      const item = html(category === undefined ? "span" : "button", "rv-legend-item", legend);
      if (category !== undefined) {
        item.title = `Only ${text}`;
        item.setAttribute("aria-pressed", String(filter === category));
        item.dataset.category = category;
      }
      const key = svg("svg", { width: 11, height: 11, class: className }, item);
      svg("rect", { width: 11, height: 11, rx: 2 }, key);
      item.append(text);
    }
  }

  return { update, destroy: release };
}
