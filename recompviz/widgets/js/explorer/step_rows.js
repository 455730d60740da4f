// The regions and the eager code of a recorded step as a table, in order of execution.

import { html, listeners, setText } from "../shared/elements.js";
import { formatBytes, formatPercent, formatTime } from "../shared/units.js";
import { rowAt } from "../data/step.js";

const OPENS = "Open its graph and plan in the Explorer";

/** The island rows with the breaks that are described in each; a break is described at its first island only. */
export function describedBreaks(islands) {
  const seen = new Set();
  return islands.map(({ breaks }) => breaks.map((number) => ({ number, first: !seen.has(number) && Boolean(seen.add(number)) })));
}

/** "1.20 of 4.03 MiB", or one number if nothing is recomputed. */
export function keptText(now, everything) {
  return now === everything ? formatBytes(now) : `${formatBytes(now)} of ${formatBytes(everything)}`;
}

/**
 * The table.
 * @param actions { open(region), hover(region), select(region) }
 */
export function makeStepRows(parent, step, actions) {
  const { listen, release } = listeners();
  const root = html("section", "rv-step-rows", parent);
  const scroll = html("div", "rv-table-scroll", root);
  scroll.tabIndex = 0;
  const table = html("table", "rv-table", scroll);
  html("caption", "rv-hidden", table, "Regions and eager code in the order of the forward pass");
  const header = html("tr", "", html("thead", "", table));
  for (const [name, className] of [["#", "rv-step-number"], ["Runs", ""], ["Line", ""], ["Values", "rv-step-number"], ["Kept for the backward pass", ""], ["Extra time", "rv-step-number"]]) {
    html("th", className, header, name).scope = "col";
  }
  const body = html("tbody", "", table);
  const largest = Math.max(1, ...step.regions.map((region) => region.saved[0]));
  const described = describedBreaks(step.islands);
  const rows = [];

  function addIsland(number) {
    const island = step.islands[number];
    if (number === 0 && island.most === 0 && !island.breaks.length) return;
    const row = html("tr", "rv-step-island", body);
    html("td", "", row);
    const what = html("td", "rv-step-what", row);
    html("span", "rv-step-tag", what, "eager");
    const lines = html("td", "rv-step-place", row);
    if (!island.breaks.length) {
      what.append(number === step.regions.length ? "loss and other code outside the model" : "code outside the model");
      html("div", "", lines, island.place);
    }
    const known = described[number].filter(({ first }) => !first).map(({ number: at }) => step.breaks[at].place);
    if (known.length) {
      const more = known.length < described[number].length ? ", and: " : "";
      html("span", "rv-muted", what, `the break${known.length > 1 ? "s" : ""} above${more}`);
      for (const place of new Set(known)) html("div", "rv-muted", lines, place);
    }
    for (const { number: at } of described[number].filter(({ first }) => first)) {
      const { place, code, reason, hints } = step.breaks[at];
      const details = html(hints.length ? "details" : "div", "rv-step-break", what);
      html(hints.length ? "summary" : "div", "", details, reason);
      for (const hint of hints) html("div", "rv-step-hint", details, hint);
      html("code", "rv-step-code", what, code);
      html("div", "", lines, place);
    }
    html("td", "", row);
    const held = html("td", "rv-muted", row, island.held || island.most ? `holds ${formatBytes(island.held)}` : "holds nothing");
    if (island.most > island.held) held.title = `at most ${formatBytes(island.most)} while it ran`;
    html("td", "", row);
  }

  function addRegion(number) {
    const region = step.regions[number];
    const row = html("tr", "rv-step-region", body);
    html("td", "rv-step-number", row, String(number + 1));
    const open = html("button", "rv-link", html("td", "rv-step-what", row), region.name);
    open.title = OPENS;
    open.disabled = region.values === 0;
    listen(open, "click", (event) => {
      event.stopPropagation();
      actions.open(number);
    });
    const line = html("td", "rv-step-place", row, region.place);
    line.title = region.code;
    html("td", "rv-step-number", row, region.values.toLocaleString("en"));
    const kept = html("td", "rv-step-kept", row);
    const bar = html("span", "rv-step-bar", kept);
    bar.style.setProperty("--rv-all", `${(100 * region.saved[0]) / largest}%`);
    const text = html("span", "", kept);
    const extra = html("td", "rv-step-number", row);
    listen(row, "pointerenter", () => actions.hover(number));
    listen(row, "pointerleave", () => actions.hover(-1));
    listen(row, "click", () => actions.select(number));
    rows.push({ row, bar, text, extra, open });
  }
  addIsland(0);
  for (let i = 0; i < step.regions.length; i++) {
    addRegion(i);
    addIsland(i + 1);
  }

  return {
    /** Whether the kernel answers, so that regions can be opened. */
    answers(on) {
      rows.forEach(({ open }, i) => {
        open.disabled = !on || step.regions[i].values === 0;
        open.title = on ? OPENS : "The kernel does not answer, so the region cannot be opened";
      });
    },
    update({ point, selected, opened }) {
      rows.forEach(({ row, bar, text, extra, open }, i) => {
        const { saved, overhead, time } = step.regions[i];
        const at = rowAt(step, point, i);
        bar.style.setProperty("--rv-now", `${(100 * saved[at]) / largest}%`);
        setText(text, keptText(saved[at], saved[0]));
        setText(extra, overhead[at] ? `+${formatTime(overhead[at])}` : "0");
        extra.title = overhead[at] && time ? `${formatPercent(overhead[at] / time)} of the region's forward time` : "";
        row.classList.toggle("rv-picked-row", i === selected);
        open.setAttribute("aria-expanded", String(i === opened));
      });
    },
    /** Bring the row of a region into view. */
    show(number) {
      rows[number]?.row.scrollIntoView({ block: "nearest" });
    },
    destroy: release,
  };
}
