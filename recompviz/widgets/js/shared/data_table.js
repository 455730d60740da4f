// A table of many rows. It shows the first rows and their number, and all rows on demand.

import { html, listeners, setText } from "./elements.js";

export const SHOWN_ROWS = 50;
const FEW_MORE = 10; // rows; so few more are shown at once

// the action of each button made by linkCell; the table that holds the button calls it
const actionOf = new WeakMap();

/** "showing 50 of 230 rows", "230 rows" if all are shown, "1 row"; `noun` is plural. */
export function countText(shown, all, noun = "rows", one = noun.replace(/s$/, "")) {
  const what = all === 1 ? one : noun;
  return shown < all ? `showing ${shown.toLocaleString("en")} of ${all.toLocaleString("en")} ${what}` : `${all.toLocaleString("en")} ${what}`;
}

/**
 * A table whose columns fill the cells.
 * @param columns [{ name, className, fill(cell, row) }]
 * @param options { caption, noun, one: the noun for one row, pick(row) on a click, mark(row) → whether the row is selected }
 */
export function makeDataTable(parent, columns, options) {
  const { listen, release } = listeners();
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
  let inputs = null; // what the rows were made from
  let place = null; // where the rows were scrolled to, [top, left]; the browser says 0 while the table is not shown
  let wanted = null; // the place of a table that this one replaces, until its rows are drawn
  listen(scroll, "scroll", () => scroll.clientHeight && (place = [scroll.scrollTop, scroll.scrollLeft]), { passive: true });

  function draw() {
    const shown = rows.length <= most + FEW_MORE ? rows : rows.slice(0, most);
    setText(count, countText(shown.length, rows.length, options.noun, options.one));
    all.hidden = shown.length === rows.length;
    body.replaceChildren(
      ...shown.map((row) => {
        const line = html("tr", "");
        for (const column of columns) column.fill(html("td", column.className ?? "", line), row);
        return line;
      }),
    );
    mark();
  }

  function mark() {
    let fresh = null; // the first row that was not marked before
    [...body.children].forEach((line, i) => {
      const before = line.classList.contains("rv-picked-row");
      if (line.classList.toggle("rv-picked-row", Boolean(options.mark?.(rows[i]))) && !before) fresh ??= line;
    });
    if (wanted) scrollBack();
    else if (fresh) showRow(fresh);
  }

  /** Scroll to the place that the user had chosen. It holds for the frame in which a view that is made anew is painted. */
  function scrollBack() {
    if (!scroll.clientHeight || !rows.length) return;
    const [top, left] = (place = wanted);
    scroll.scrollTo({ top, left, behavior: "instant" });
    requestAnimationFrame(() => requestAnimationFrame(() => (wanted = null)));
  }

  /** Scroll the rows, and not the page, by the least distance that shows a row below the head. */
  function showRow(line) {
    const [row, frame] = [line.getBoundingClientRect(), scroll.getBoundingClientRect()];
    const top = frame.top + header.getBoundingClientRect().height;
    scroll.scrollTop += row.top < top ? row.top - top : Math.max(0, row.bottom - frame.bottom);
  }
  listen(all, "click", () => {
    most = Infinity;
    draw();
  });
  listen(body, "click", (event) => {
    const action = actionOf.get(event.target.closest("button"));
    if (action) return action();
    const line = [...body.children].indexOf(event.target.closest("tr"));
    return line < 0 ? undefined : options.pick?.(rows[line]);
  });
  return {
    foot,
    mark,
    /** Hide or show the whole table. */
    hide: (away) => (foot.hidden = scroll.hidden = away),
    /** Draw the rows of `next()`, unless they would be made from the same values `from` as the rows shown: scroll position and focus stay. */
    setRows(next, from = [{}]) {
      if (inputs?.length === from.length && from.every((value, i) => value === inputs[i])) return;
      inputs = from;
      rows = next();
      draw();
    },
    /** How many rows are shown and where they are scrolled to, for a table that is made anew. */
    entry: () => ({ most, place: wanted ?? place }),
    restore(before) {
      most = before.most;
      wanted = before.place;
      if (rows.length) draw();
    },
    destroy: release,
  };
}

/** The text of a cell as a button, so that the keyboard can reach it; `act()` is called for a click. */
export function linkCell(cell, text, act, label = "") {
  const button = html("button", "rv-link", cell, text);
  if (label) button.setAttribute("aria-label", label);
  actionOf.set(button, act);
  return button;
}
