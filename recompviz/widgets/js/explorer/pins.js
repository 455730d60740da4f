// Pins: values that the user forces to be kept or recomputed, their cost, and the bar that shows both.

import { html, listeners, progressBar, setText } from "../shared/elements.js";
import { formatBytes } from "../shared/units.js";
import { shareText } from "../data/base_time.js";
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
 * @returns { overhead, bytes, least, peak, from, to }
 *   overhead: of the plan for this budget; null if no plan fits
 *   bytes: how much the least total at the same overhead is above the budget; null if no plan with the pins has so little
 *   least: of the least total
 *   peak: of the peak of the plan for this budget
 *   from, to: the overheads without and with pins; null if no plan fits
 */
export function pinCost(free, pinned, budget) {
  const without = rowFor(free, budget);
  const under = rowFor(pinned, budget);
  const least = leastTotal(pinned) - leastTotal(free);
  if (without < 0) return { overhead: null, bytes: null, least, peak: null, from: null, to: null };
  let total = Infinity;
  for (let row = 0; row < pinned.rows; row++) if (pinned.overheads[row] <= free.overheads[without]) total = Math.min(total, pinned.totalPeaks[row]);
  return {
    overhead: under < 0 ? null : pinned.overheads[under] - free.overheads[without],
    bytes: Number.isFinite(total) ? Math.max(0, total - budget) : null,
    least,
    peak: under < 0 ? null : pinned.totalPeaks[under] - free.totalPeaks[without],
    from: free.overheads[without],
    to: under < 0 ? null : pinned.overheads[under],
  };
}

/**
 * The cost in plain sentences. The extra times are written as in the header, so that both say the same.
 * @param count of the pins
 */
export function costText({ overhead, bytes, least, peak, from, to }, base, budget, count = 1) {
  const subject = count === 1 ? "This pin" : `These ${count} pins together`;
  const verb = (word) => (count === 1 ? `${word}s` : word);
  const [these, it] = count === 1 ? ["this pin", "it"] : ["these pins", "them"];
  const [before, after] = [from, to].map((time) => shareText(time, base));
  const change = before === after ? `by less than 0.1% of ${base.name}` : `from ${before} to ${after} of ${base.name}`;
  const sentences = [];
  if (overhead === null) sentences.push(`No plan fits ${formatBytes(budget)} with ${count === 1 ? "this pin" : `these ${count} pins`}`);
  else if (Math.abs(overhead) < 1e-9) sentences.push(`${subject} ${verb("cost")} no extra time at this budget`);
  else if (overhead < 0) sentences.push(`The search with ${these} found a faster plan for this budget, which holds without ${it}, too: the extra time falls ${change}`);
  else {
    const larger = bytes === null ? "a larger budget does not avoid this" : `a budget ${formatBytes(bytes)} larger avoids this`;
    sentences.push(`${subject} ${verb("raise")} the extra time at this budget ${change}; ${larger}`);
  }
  if (peak) sentences.push(`The peak is ${formatBytes(Math.abs(peak))} ${peak > 0 ? "higher" : "lower"}`);
  if (least > 0) sentences.push(`The least budget found is ${formatBytes(least)} higher`);
  else if (least) sentences.push(`The search with ${these} found a leaner plan, which holds without ${it}, too: the least budget is ${formatBytes(-least)} lower`);
  return `${sentences.join(". ")}.`;
}

/** Whether the search under pins may still find a better plan for a budget: the known one costs more than without pins. */
export function mayImprove(status, free, pinned, budget) {
  if (status.state !== "solving" || !status.interim || !free) return false;
  return rowFor(pinned, budget) < 0 || pinCost(free, pinned, budget).overhead > 0;
}

/** What the pins cost together, or how far their solve is; "" without pins and without a message. @param silent whether the kernel does not answer */
export function pinsText(pins, status, silent, free, pinned, budget, base) {
  const count = pins.keep.length + pins.recompute.length;
  const solving = status.state === "solving";
  if (solving && silent) return UNANSWERED;
  if (status.state === "failed" || (status.state === "cancelled" && !status.interim)) return status.text;
  const cost = (!solving || status.interim) && count && free && pinned ? pinCost(free, pinned, budget) : null;
  if (cost && status.interim) {
    const rest = solving ? (cost.overhead === 0 ? "Searching for better plans at other budgets…" : "Searching for better plans…") : "The search for better plans was stopped.";
    return `${costText(cost, base, budget, count)} ${rest}`;
  }
  if (cost) return costText(cost, base, budget, count);
  if (solving) return `${status.text}…`;
  return count ? status.text || "not solved" : status.text;
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
