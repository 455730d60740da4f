// The blocks that are alive at a step and why: a table by bytes, linked with the graph, the bands and the source lines.

import { html, listeners, setText } from "../shared/elements.js";
import { formatBytes } from "../shared/units.js";
import { aliveRows } from "../data/blocks.js";
import { layersOf } from "../data/bars.js";
import { swatchOf } from "./landscape_pixels.js";
import { makeDataTable, linkCell } from "../shared/data_table.js";
import { shortPlace } from "./card.js";
import { phasedName } from "./timeline_legend.js";

/** The rows of one category, of one source line, or all rows. */
export function filterRows(rows, graph, filter) {
  return rows.filter(
    (row) =>
      (filter.category === null || row.category === filter.category) &&
      (filter.line === null || (row.node >= 0 && graph.nodes[row.node].source === filter.line)),
  );
}

/**
 * The panel.
 * @param strata of strataOf: the swatches have the colours of the landscape
 * @param actions { select(node), line(source or null), category(number or null) }
 */
export function makeAliveView(parent, graph, strata, labels, actions) {
  const { listen, release } = listeners();
  const title = html("div", "rv-drawer-title", parent);
  title.setAttribute("role", "status");
  const filters = html("span", "rv-filters", parent);
  let reply = null;
  let layers = [];
  let selected = -1;
  let seen = { reply: null, step: -1, signature: "null null" };
  const table = makeDataTable(
    parent,
    [
      {
        name: "value",
        fill: (cell, row) => {
          html("span", "rv-swatch", cell).style.background = swatchOf(row.block < 0 ? 0 : layers[row.block], row.category, strata.names.length);
          if (row.node >= 0) linkCell(cell, row.label, () => actions.select(row.node));
          else html("span", "rv-muted", cell, row.label);
        },
      },
      { name: "bytes", className: "rv-number-cell", fill: (cell, row) => cell.append(formatBytes(row.bytes)) },
      { name: "what", fill: (cell, row) => linkCell(cell, categoryLabel(row.category), () => actions.category(row.category), `Only ${categoryLabel(row.category)}`) },
      { name: "born", className: "rv-number-cell", fill: (cell, row) => cell.append(row.born < 0 ? "before" : String(row.born + 1)) },
      { name: "last use", className: "rv-number-cell", fill: (cell, row) => cell.append(row.outlives ? "after" : String(row.last + 1)) },
      { name: "why it is alive", className: "rv-why", fill: (cell, row) => Object.assign(cell, { textContent: row.why, title: row.why }) },
      {
        name: "source",
        className: "rv-source",
        fill: (cell, row) => {
          const [place, text] = (row.node >= 0 ? graph.nodes[row.node].source : "").split("\t");
          if (place) linkCell(cell, `${shortPlace(place)} `, () => actions.line(graph.nodes[row.node].source), `All values of ${shortPlace(place)}`).title = place;
          if (text) html("span", "rv-muted", cell, text.trim());
        },
      },
    ],
    { caption: "What is alive, by bytes", noun: "blocks", pick: (row) => actions.select(row.node), can: (row) => row.node >= 0, mark: (row) => row.node >= 0 && row.node === selected },
  );
  table.foot.append(filters);

  function categoryLabel(number) {
    return reply?.categories.find((category) => category.number === number)?.label ?? "";
  }

  function chip(text, kind) {
    const button = html("button", "rv-button rv-filter", filters, `${text} ×`);
    button.setAttribute("aria-label", `Remove the filter ${text}`);
    button.dataset.kind = kind;
  }
  listen(filters, "click", (event) => {
    const { kind } = event.target.closest("button")?.dataset ?? {};
    if (kind) actions[kind](null);
  });

  return {
    /** @param filter { category: number or null, line: source or null } */
    show(next, step, phase, filter) {
      reply = next;
      if (!reply) return;
      const peak = step < 0;
      const at = peak ? reply.peakStep : step;
      const signature = `${filter.category} ${filter.line}`;
      if (at < 0 || (reply === seen.reply && step === seen.step && signature === seen.signature)) return;
      const rows = filterRows(aliveRows(reply, at, labels()), graph, filter);
      const bytes = rows.reduce((sum, row) => sum + row.bytes, 0);
      const where = `step ${at + 1} of ${reply.steps}, ${phasedName(phase(at), labels()[reply.stepLabels[at]] ?? "")}`;
      setText(title, `${peak ? "At the peak" : "Alive"}: ${where} · ${formatBytes(bytes)} total bytes`);
      if (signature !== seen.signature) filters.replaceChildren();
      if (signature !== seen.signature && filter.category !== null) chip(categoryLabel(filter.category), "category");
      if (signature !== seen.signature && filter.line !== null) chip(shortPlace(filter.line.split("\t")[0]), "line");
      seen = { reply, step, signature };
      layers = layersOf(reply, strata);
      table.setRows(() => rows);
    },
    select(v) {
      selected = v;
      table.mark();
    },
    entry: table.entry,
    restore: table.restore,
    destroy() {
      table.destroy();
      release();
    },
  };
}
