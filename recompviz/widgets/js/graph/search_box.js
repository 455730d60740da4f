// The search box: the number of results, Enter for the next result, Shift+Enter for the previous one, Esc to clear.

import { html, listeners, setText } from "../shared/elements.js";
import { findNodes } from "./search.js";

/** The search box; calls `found(nodes)` after each change, `go(v)` to jump to a result, and `left()` when Escape ends the search. */
export function makeSearchBox(parent, graph, { found, go, left }) {
  const { listen, release } = listeners();
  const root = html("div", "rv-search", parent);
  root.setAttribute("role", "search");
  const input = html("input", "rv-search-input", root);
  Object.assign(input, { type: "search", placeholder: "Search: conv, layer3, >10 MiB", title: "Name, operator, module, shape or size; Enter: next, Shift+Enter: previous" });
  input.setAttribute("aria-label", "Search values by name, operator or size");
  const count = html("span", "rv-search-count", root);
  count.setAttribute("role", "status");
  let nodes = [];
  let at = -1;

  function search() {
    nodes = findNodes(graph, input.value);
    at = -1;
    showCount();
    found(nodes);
  }

  function showCount() {
    const text = !input.value.trim() ? "" : !nodes.length ? "none" : at < 0 ? `${nodes.length} of ${graph.count}` : `${at + 1}/${nodes.length}`;
    setText(count, text);
  }

  listen(input, "input", search);
  listen(input, "keydown", (event) => {
    event.stopPropagation(); // JupyterLab has commands on bare keys
    if (event.key === "Enter" && nodes.length) {
      at = (at + (event.shiftKey ? -1 : 1) + (at < 0 && event.shiftKey ? 1 : 0) + nodes.length) % nodes.length;
      showCount();
      go(nodes[at]);
      event.preventDefault();
    } else if (event.key === "Escape" && input.value) {
      input.value = "";
      search();
      left();
    }
  });
  return {
    focus: () => input.focus(),
    /** What is searched for and the result shown, for a box that is made anew. */
    entry: () => ({ text: input.value, at }),
    restore(before) {
      if (!before.text) return;
      input.value = before.text;
      search();
      at = Math.min(before.at, nodes.length - 1);
      showCount();
    },
    destroy: release,
  };
}
