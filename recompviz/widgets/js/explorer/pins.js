// Pins: values that must be kept or recomputed, what that costs, and the bar that tells of it.

import { html, listeners, setText } from "../shared/elements.js";
import { formatBytes, formatPercent } from "../shared/units.js";
import { leastTotal, rowFor } from "../data/plan_table.js";

/** Pins after a node was pinned in a direction (1 keep, −1 recompute); the same again takes the pin away. */
export function togglePin(pins, v, direction) {
  const now = pinOf(pins, v);
  const without = (list) => list.filter((u) => u !== v);
  const next = { ...pins, keep: without(pins.keep), recompute: without(pins.recompute) };
  if (now !== direction) (direction > 0 ? next.keep : next.recompute).push(v);
  return next;
}

/** 1 if a node is pinned to be kept, −1 to be recomputed, 0 if it is free. */
export function pinOf(pins, v) {
  return pins.keep.includes(v) ? 1 : pins.recompute.includes(v) ? -1 : 0;
}

/** One number a node, or null where nothing is pinned. */
export function pinArray(pins, count) {
  if (!pins.keep.length && !pins.recompute.length) return null;
  return Int8Array.from({ length: count }, (_, v) => pinOf(pins, v));
}

/**
 * What pins cost at a budget: overhead more than without them, and bytes more for no more overhead than without.
 * @returns { overhead, bytes, least }: null where no plan fits; `least` is the rise of the least feasible total
 */
export function pinCost(free, pinned, budget) {
  const without = rowFor(free, budget);
  const under = rowFor(pinned, budget);
  const least = leastTotal(pinned) - leastTotal(free);
  if (without < 0) return { overhead: null, bytes: null, least };
  let total = Infinity;
  for (let row = 0; row < pinned.rows; row++) if (pinned.overheads[row] <= free.overheads[without]) total = Math.min(total, pinned.totalPeaks[row]);
  return {
    overhead: under < 0 ? null : pinned.overheads[under] - free.overheads[without],
    bytes: Number.isFinite(total) ? Math.max(0, total - budget) : null,
    least,
  };
}

/** The cost in words. */
export function costText(cost, forward, budget) {
  const parts = [];
  if (cost.overhead === null) parts.push(`no plan fits ${formatBytes(budget)} under these pins`);
  else if (Math.abs(cost.overhead) < 1e-9) parts.push("costs no extra time at this budget");
  else parts.push(`${cost.overhead > 0 ? "costs +" : "saves "}${formatPercent(Math.abs(cost.overhead) / forward)} of the forward at this budget`);
  if (cost.overhead !== null && cost.overhead > 0) parts.push(cost.bytes === null ? "no budget makes up for it" : `or ${formatBytes(cost.bytes)} more at the same time`);
  if (cost.least) parts.push(`least feasible ${cost.least > 0 ? "+" : "−"}${formatBytes(Math.abs(cost.least))}`);
  return parts.join(" · ");
}

/**
 * The bar of pins, hidden where there is nothing to tell.
 * @param actions { unpin(v), clear(), stop(), select(v) }
 */
export function makePinsView(parent, graph, actions) {
  const { listen, release } = listeners();
  const forward = graph.time.reduce((sum, t) => sum + t, 0) || 1;
  const root = html("section", "rv-pins", parent);
  root.setAttribute("aria-label", "Pins");
  const chips = html("div", "rv-chips", root);
  const text = html("span", "rv-pins-text", root);
  text.setAttribute("role", "status");
  const bar = html("progress", "rv-progress", root);
  bar.max = 1;
  bar.setAttribute("aria-label", "Progress of the solve");
  html("span", "rv-gap", root);
  const stop = html("button", "rv-button", root, "Stop");
  stop.setAttribute("aria-label", "Stop solving");
  const clear = html("button", "rv-button", root, "Clear pins");
  listen(stop, "click", actions.stop);
  listen(clear, "click", actions.clear);
  let drawn = "";

  return {
    /** @param status the `_solving` trait */
    update(pins, status, free, pinned, budget) {
      const count = pins.keep.length + pins.recompute.length;
      const solving = status.state === "solving";
      const told = solving || status.state === "failed" || (status.state === "done" && status.text.includes("raised"));
      root.hidden = !count && !told;
      stop.hidden = bar.hidden = !solving;
      clear.hidden = !count;
      bar.value = status.fraction;
      root.dataset.state = status.state;
      if (solving) setText(text, `${status.text}…`);
      else if (status.state === "failed") setText(text, status.text);
      else if (count && free && pinned) setText(text, costText(pinCost(free, pinned, budget), forward, budget));
      else setText(text, count ? status.text || "not solved" : status.text);
      const signature = JSON.stringify(pins.keep) + JSON.stringify(pins.recompute);
      if (signature === drawn) return;
      drawn = signature;
      chips.replaceChildren();
      for (const [list, word, className] of [[pins.keep, "keep", "rv-chip-keep"], [pins.recompute, "recompute", "rv-chip-recompute"]]) {
        for (const v of list) {
          const chip = html("span", `rv-chip ${className}`, chips);
          const name = html("button", "rv-chip-name", chip, `${word} ${graph.nodes[v].key}`);
          listen(name, "click", () => actions.select(v));
          const away = html("button", "rv-chip-away", chip, "×");
          away.setAttribute("aria-label", `Take away the pin of ${graph.nodes[v].key}`);
          listen(away, "click", () => actions.unpin(v));
        }
      }
    },
    destroy: release,
  };
}
