// A table of many rows: the first of them, how many there are, and all on demand. Never silently cut.

import { html, setText } from "./elements.js";

export const SHOWN_ROWS = 50;

/** "showing 50 of 230", or "230 rows" where all are there. */
export function countText(shown, all, noun = "rows") {
  return shown < all ? `showing ${shown.toLocaleString("en")} of ${all.toLocaleString("en")} ${noun}` : `${all.toLocaleString("en")} ${noun}`;
}

/**
 * A table whose cells are made by its columns.
 * @param columns [{ name, className, fill(cell, row) }]
 * @param options { caption, noun, pick(row), mark(row) → whether it is the selected one }
 */
export function makeDataTable(parent, columns, options) {
  const foot = html("div", "rv-table-foot", parent);
  const count = html("span", "rv-muted", foot);
  const all = html("button", "rv-link", foot, "show all");
  const scroll = html("div", "rv-table-scroll", parent);
  scroll.tabIndex = 0;
  const table = html("table", "rv-table", scroll);
  html("caption", "rv-hidden", table, options.caption);
  const header = html("tr", "", html("thead", "", table));
  for (const column of columns) html("th", column.className ?? "", header, column.name).scope = "col";
  const body = html("tbody", "", table);
  let rows = [];
  let most = SHOWN_ROWS;
  let made = null;

  function draw() {
    const shown = rows.slice(0, most);
    setText(count, countText(shown.length, rows.length, options.noun));
    all.hidden = shown.length === rows.length;
    body.replaceChildren(
      ...shown.map((row) => {
        const line = html("tr", "");
        for (const column of columns) column.fill(html("td", column.className ?? "", line), row);
        line.addEventListener("click", () => options.pick?.(row));
        return line;
      }),
    );
    mark();
  }

  function mark() {
    [...body.children].forEach((line, i) => line.classList.toggle("rv-picked-row", Boolean(options.mark?.(rows[i]))));
  }
  all.addEventListener("click", () => {
    most = Infinity;
    draw();
  });
  return {
    foot,
    mark,
    /** Rows that were made from the same things as those shown are not drawn again: the reader's place and focus stay. */
    setRows(next, from = [{}]) {
      if (made?.length === from.length && from.every((thing, i) => thing === made[i])) return;
      made = from;
      rows = next();
      draw();
    },
  };
}

/** A cell's text as a button, for what can be picked by keyboard too. */
export function linkCell(cell, text, act, label = "") {
  const button = html("button", "rv-link", cell, text);
  if (label) button.setAttribute("aria-label", label);
  button.addEventListener("click", (event) => {
    event.stopPropagation();
    act();
  });
  return button;
}
