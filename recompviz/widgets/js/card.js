// The card of a node: what it is, what it costs, what the plan does with it.

import { html } from "./elements.js";
import { formatBytes, subscript } from "./units.js";

/** The rows of a node's card as [name, value]. */
export function cardRows(graph, v, state, lower, boundary) {
  const node = graph.nodes[v];
  const [place, line] = node.source.split("\t");
  const rows = [
    ["operator", node.op],
    ["module", node.module],
    ["source", [shortPlace(place), line?.trim()].filter(Boolean).join("\n")],
    ["value", [node.shape, node.dtype].filter(Boolean).join(" ")],
    ["size Mᵥ", `${formatBytes(graph.memory[v])} (formula bytes)`],
    ["cost Tᵥ", `${graph.time[v]} time unit${graph.time[v] === 1 ? "" : "s"}`],
    ["segment", `V${subscript(state.segment)} of ${state.segmentCount}`],
    ["Lᵛ", `${lower} of ${graph.count} values, boundary ${boundary}`],
  ];
  return rows.filter(([, value]) => value);
}

/** The end of a path, which says enough: "…/networks/_resnet.py:56". */
export function shortPlace(place) {
  const parts = place.split("/");
  return parts.length > 2 ? `…/${parts.slice(-2).join("/")}` : place;
}

/** The card; `show(v, …)` beside a rectangle of `frame`, `hide()`. */
export function makeCard(frame, graph) {
  const card = html("div", "rv-card", frame);
  card.setAttribute("role", "tooltip");
  return {
    show(v, rectangle, state, lower, boundary, pinned) {
      card.replaceChildren();
      const head = html("div", "rv-card-head", card);
      html("span", state.kept ? "rv-chip rv-chip-keep" : "rv-chip rv-chip-recompute", head, state.kept ? "kept" : "recomputed");
      html("strong", "", head, graph.nodes[v].key);
      const list = html("dl", "", card);
      for (const [name, value] of cardRows(graph, v, state, lower, boundary)) {
        html("dt", "", list, name);
        html("dd", name === "source" ? "rv-source" : "", list, value);
      }
      if (pinned) html("div", "rv-card-foot", card, "pinned: click it again or press Esc to let go");
      card.classList.add("rv-there");
      card.classList.toggle("rv-pinned", pinned);
      const { width, height } = card.getBoundingClientRect();
      const left = rectangle.right + 10 + width <= frame.clientWidth ? rectangle.right + 10 : rectangle.left - 10 - width;
      const top = Math.min(Math.max(6, rectangle.top - 10), Math.max(6, frame.clientHeight - height - 6));
      // beside the node where there is room, so that it never hides the node itself
      card.style.left = `${Math.max(6, left)}px`;
      card.style.top = `${top}px`;
    },
    hide() {
      card.classList.remove("rv-there", "rv-pinned");
    },
  };
}
