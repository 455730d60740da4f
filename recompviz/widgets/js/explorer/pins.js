// Pins: values that the user forces to be kept or recomputed, their cost, and the bar that shows both.

import { html, listeners, progressBar, setText } from "../shared/elements.js";
import { formatBytes, formatPercent } from "../shared/units.js";
import { leastTotal, rowFor } from "../data/plan_table.js";
import { UNANSWERED } from "../shared/kernel_note.js";

/** The pins after node v is pinned (1 to keep, −1 to recompute). Pinning it again in the same direction removes the pin. */
export function togglePin(pins, v, direction) {
  const now = pinOf(pins, v);
  const without = (list) => list.filter((u) => u !== v);
  const next = { ...pins, keep: without(pins.keep), recompute: without(pins.recompute) };
  if (now !== direction) (direction > 0 ? next.keep : next.recompute).push(v);
  return next;
}

/** 1 if a node is pinned to be kept, −1 to be recomputed, 0 if it is not pinned. */
export function pinOf(pins, v) {
  return pins.keep.includes(v) ? 1 : pins.recompute.includes(v) ? -1 : 0;
}

/** The pin of every node, or null if nothing is pinned. */
export function pinArray(pins, count) {
  if (!pins.keep.length && !pins.recompute.length) return null;
  return Int8Array.from({ length: count }, (_, v) => pinOf(pins, v));
}

/**
 * What pins cost at a budget, as differences between the plans with and without pins.
 * @returns { overhead, bytes, least, peak }
 *   overhead: of the plan for this budget; null if no plan fits
 *   bytes: how much the least total at the same overhead is above the budget; null if no plan with the pins has so little
 *   least: of the least feasible total
 *   peak: of the peak of the plan for this budget
 */
export function pinCost(free, pinned, budget) {
  const without = rowFor(free, budget);
  const under = rowFor(pinned, budget);
  const least = leastTotal(pinned) - leastTotal(free);
  if (without < 0) return { overhead: null, bytes: null, least, peak: null };
  let total = Infinity;
  for (let row = 0; row < pinned.rows; row++) if (pinned.overheads[row] <= free.overheads[without]) total = Math.min(total, pinned.totalPeaks[row]);
  return {
    overhead: under < 0 ? null : pinned.overheads[under] - free.overheads[without],
    bytes: Number.isFinite(total) ? Math.max(0, total - budget) : null,
    least,
    peak: under < 0 ? null : pinned.totalPeaks[under] - free.totalPeaks[without],
  };
}

/** A share that is not 0: "+2.1%", or "less than 0.1%". */
const smallShare = (share, sign) => (share < 0.0005 ? "less than 0.1%" : `${sign}${formatPercent(share)}`);

/** The cost as text. */
export function costText(cost, base, budget) {
  const parts = [];
  if (cost.overhead === null) parts.push(`no plan fits ${formatBytes(budget)} under these pins`);
  else if (Math.abs(cost.overhead) < 1e-9) parts.push("costs no extra time at this budget");
  else parts.push(`${cost.overhead > 0 ? "costs " : "saves "}${smallShare(Math.abs(cost.overhead) / (base.time || 1), cost.overhead > 0 ? "+" : "")} of ${base.name} at this budget`);
  if (cost.overhead !== null && cost.overhead > 0) parts.push(cost.bytes === null ? "no budget gives the same time" : `or ${formatBytes(cost.bytes)} more at the same time`);
  if (cost.peak !== null) parts.push(cost.peak ? `peak ${cost.peak > 0 ? "+" : "−"}${formatBytes(Math.abs(cost.peak))}` : "same peak");
  if (cost.least) parts.push(`least feasible ${cost.least > 0 ? "+" : "−"}${formatBytes(Math.abs(cost.least))}`);
  return parts.join(" · ");
}

/** What the pins cost, or how far their solve is; "" without pins and without a message. @param silent whether the kernel does not answer */
export function pinsText(pins, status, silent, free, pinned, budget, base) {
  const count = pins.keep.length + pins.recompute.length;
  if (status.state === "solving") return silent ? UNANSWERED : `${status.text}…`;
  if (status.state === "failed") return status.text;
  if (count && free && pinned) return costText(pinCost(free, pinned, budget), base, budget);
  return count ? status.text || "not solved" : status.text;
}

/** The text for the card of a pinned value. All pins are solved together, so that each alone has no cost. */
export function pinnedText(pins, text) {
  const count = pins.keep.length + pins.recompute.length;
  return count > 1 ? `${count} pins together: ${text}` : text;
}

/**
 * The bar of pins; hidden without pins and without a message.
 * @param actions { unpin(v), clear(), stop(), select(v) }
 */
export function makePinsView(parent, graph, actions) {
  const { listen, release } = listeners();
  const root = html("section", "rv-pins", parent);
  root.setAttribute("aria-label", "Pins");
  const chips = html("div", "rv-chips", root);
  const text = html("span", "rv-pins-text", root);
  text.setAttribute("role", "status");
  const bar = progressBar(root, "Progress of the solve");
  html("span", "rv-gap", root);
  const stop = html("button", "rv-button", root, "Stop");
  stop.setAttribute("aria-label", "Stop solving");
  const clear = html("button", "rv-button", root, "Clear pins");
  listen(stop, "click", actions.stop);
  listen(clear, "click", actions.clear);
  let drawn = "";

  return {
    /** @param status the `_solving` trait; @param words of pinsText; @param silent whether the kernel does not answer */
    update(pins, status, words, silent) {
      const count = pins.keep.length + pins.recompute.length;
      const asked = status.state === "solving";
      const solving = asked && !silent;
      const message = asked || status.state === "failed" || (status.state === "done" && status.text.includes("raised"));
      root.hidden = !count && !message && !pins.lost;
      stop.hidden = bar.hidden = !solving;
      clear.hidden = !count && !pins.lost;
      setText(clear, count ? "Clear pins" : "OK");
      bar.value = status.fraction;
      root.dataset.state = status.state;
      setText(text, [words, pins.lost].filter(Boolean).join(" · "));
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
          away.setAttribute("aria-label", `Remove the pin of ${graph.nodes[v].key}`);
          listen(away, "click", () => actions.unpin(v));
        }
      }
    },
    destroy: release,
  };
}
