// A table of many rows. It shows the first rows and their number, and all rows on demand. It is as high as its rows, up to the
// room that the style sheet gives; then it ends below a whole row, and a line says how many rows follow.

import { heightKeeper, html, listeners, setText } from "./elements.js";

export const SHOWN_ROWS = 50;
const FEW_MORE = 10; // rows; so few more are shown at once

// the action of each button made by linkCell; the table that holds the button calls it
const actionOf = new WeakMap();

/** "showing 50 of 230 rows", "230 rows" if all are shown, "1 row"; `noun` is plural. */
export function countText(shown, all, noun = "rows", one = noun.replace(/s$/, "")) {
  const what = all === 1 ? one : noun;
  return shown < all ? `showing ${shown.toLocaleString("en")} of ${all.toLocaleString("en")} ${what}` : `${all.toLocaleString("en")} ${what}`;
}

/** The height up to the end of the last whole row within `room`, for rows that end at `ends`, in rising order; all rows if they fit. */
export function wholeRows(ends, room) {
  return ends.findLast((end) => end <= room + 0.5) ?? room;
}

/** "▾ 12 more rows below", "▾ 1 more row below", or "" for none. `ends` are the lower sides of the rows, `seen` is the last pixel shown. */
export function belowText(ends, seen) {
  const count = ends.filter((end) => end > seen + 2).length;
  return count ? `▾ ${count.toLocaleString("en")} more row${count === 1 ? "" : "s"} below` : "";
}

/**
 * A table whose columns fill the cells.
 * @param columns [{ name, className, fill(cell, row) }]
 * @param options { caption, noun, one: the noun for one row, pick(row) on a click, can(row) → whether a click picks it, by default
 *   each row; mark(row) → whether the row is selected }
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
  const below = html("div", "rv-table-below rv-muted", parent);
  below.setAttribute("aria-hidden", "true"); // the number of rows is above them
  const keepHeight = heightKeeper(parent, parent); // fewer rows move nothing below
  let rows = [];
  let most = SHOWN_ROWS;
  let inputs = null; // what the rows were made from
  let place = null; // where the rows were scrolled to, [top, left]; the browser says 0 while the table is not shown
  let wanted = null; // the place of a table that this one replaces, until its rows are drawn
  let ends = []; // the lower sides of the rows, from the top of the table
  listen(scroll, "scroll", () => {
    if (scroll.clientHeight) place = [scroll.scrollTop, scroll.scrollLeft];
    tellBelow();
  }, { passive: true });

  const tellBelow = () => setText(below, belowText(ends, scroll.scrollTop + scroll.clientHeight));

  /** End the table below a whole row. */
  function fit() {
    if (!table.offsetHeight) return;
    scroll.style.maxHeight = "";
    const room = Number.parseFloat(getComputedStyle(scroll).maxHeight) || Infinity;
    ends = [...body.children].map((line) => line.offsetTop + line.offsetHeight);
    if ((ends.at(-1) ?? 0) > room) scroll.style.maxHeight = `${wholeRows(ends, room)}px`;
    tellBelow();
    keepHeight();
  }
  const sizes = new ResizeObserver(fit);
  sizes.observe(table);
  sizes.observe(parent);

  function draw() {
    const shown = rows.length <= most + FEW_MORE ? rows : rows.slice(0, most);
    setText(count, countText(shown.length, rows.length, options.noun, options.one));
    all.hidden = shown.length === rows.length;
    body.replaceChildren(
      ...shown.map((row) => {
        const line = html("tr", isPickable(row) ? "rv-pickable" : "");
        for (const column of columns) column.fill(html("td", column.className ?? "", line), row);
        return line;
      }),
    );
    fit();
    mark();
  }

  const isPickable = (row) => Boolean(options.pick) && (options.can?.(row) ?? true);

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
    return line >= 0 && isPickable(rows[line]) ? options.pick(rows[line]) : undefined;
  });
  return {
    foot,
    mark,
    /** Hide or show the whole table. */
    hide: (away) => (foot.hidden = scroll.hidden = below.hidden = away),
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
      most = before.most ?? Infinity; // JSON has no infinity
      wanted = before.place;
      if (rows.length) draw();
    },
    destroy() {
      sizes.disconnect();
      release();
    },
  };
}

/** The text of a cell as a button, so that the keyboard can reach it; `act()` is called for a click. */
export function linkCell(cell, text, act, label = "") {
  const button = html("button", "rv-link", cell, text);
  if (label) button.setAttribute("aria-label", label);
  actionOf.set(button, act);
  return button;
}
