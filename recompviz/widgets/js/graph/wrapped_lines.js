// How a wrapped box is broken into lines: like a text, or as a U if it has nested skip connections. A line is a part of
// the ranks: { first, last, row, shift }, where `shift` is the distance of its first rank from the left. In a U, two
// lines share a row: a part of the way down, and the part of the way up that its skip connections lead to. Mirrors
// recompviz/widgets/layout/wrapped.py.

export const ROW_GAP = 22;
export const LANE = 6; // between skip connections above a row
// A box longer than this, as a multiple of the window, is broken, so that its labels are drawn at full size.
const WRAP = 1.05;
const LEAST_WRAP = 700;
const LINE_HEIGHT = 62;
export const U_GAP = 60; // between the sides of a U
const U_INDENT = 26; // of each row of a U
// a U is drawn if its scale in the window is at least this share of the scale of the text
const U_SHARE = 0.6;
const ROWS_SHARE = 0.7; // the same for a U with more rows than the largest U
// a scene is not drawn larger than at this scale
const MOST_SCALE_OF_LINES = 1.25;
// lines chosen before are kept until the box is this much longer or higher than with new ones
const STICKY = 1.5;

/**
 * The lines of a box.
 * @param box { widths, gapAfter, breadths } of every rank, { spans } the ranks of the ends of its lines, { chain } those of its skip connections
 * @param view { width, height } of the window, and { least } the least scale of a U
 * @param before the breaks chosen before, or undefined
 * @returns { parts, breaks }; `breaks` is the choice in a form that stays valid when the widths change
 */
export function wrappedLines(box, view, before) {
  const laid = (breaks) => {
    const parts = partsOf(box, breaks);
    return { breaks, parts, scale: scaleOf(box, parts, view) };
  };
  let best = laid(textBreaks(box, view));
  // the U with the most rows that is about as large as the largest
  const us = box.chain.slice(1).map((_, i) => laid({ chain: spread(box.chain, i + 2) }));
  const largest = Math.max(0, ...us.map((u) => u.scale));
  const most = us.findLast((u) => u.scale >= ROWS_SHARE * largest);
  if (most && most.scale >= Math.max(view.least ?? 0, U_SHARE * best.scale)) best = most;
  const kept = before && laid(before);
  if (kept && kept.scale * STICKY * (before.chain ? 1 / U_SHARE : 1) >= best.scale) return kept;
  return best;
}

/** `count` elements of a list, evenly spread; the last is among them. */
export function spread(list, count) {
  return Array.from({ length: count }, (_, i) => list[Math.floor(((i + 1) * list.length) / count) - 1]);
}

function lengthOf({ widths, gapAfter }, first, last) {
  let length = 0;
  for (let r = first; r <= last; r++) length += widths[r] + (r < last ? gapAfter[r] : 0);
  return length;
}

function partsOf(box, { starts, chain }) {
  const count = box.widths.length;
  if (!chain) return starts.map((first, i) => ({ first, last: (starts[i + 1] ?? count) - 1, row: i, shift: 0 }));
  const left = chain.map(([down], i) => ({ first: i ? chain[i - 1][0] + 1 : 0, last: down, row: i, shift: U_INDENT * i }));
  const right = chain.map(([, up], i) => ({ first: up, last: (i ? chain[i - 1][1] : count) - 1, row: i, shift: 0 }));
  const inner = chain[chain.length - 1];
  const middle = { first: inner[0] + 1, last: inner[1] - 1, row: chain.length, shift: 0 };
  const length = (part) => lengthOf(box, part.first, part.last);
  const width = Math.max(...left.map((part, i) => length(part) + length(right[i]) + U_GAP + 2 * U_INDENT * i), length(middle) + 2 * U_INDENT * chain.length);
  for (const part of right) part.shift = width - U_INDENT * part.row - length(part);
  middle.shift = (width - length(middle)) / 2;
  return [...left, middle, ...right.reverse()];
}

/** The scale at which some lines fit into the window, from the sums of the breadths in each rank. */
function scaleOf(box, parts, view) {
  let width = 1;
  const heights = [];
  for (const part of parts) {
    width = Math.max(width, part.shift + lengthOf(box, part.first, part.last));
    for (let r = part.first; r <= part.last; r++) heights[part.row] = Math.max(heights[part.row] ?? 0, box.breadths[r]);
  }
  const height = heights.reduce((sum, h) => sum + h + ROW_GAP, 0);
  return Math.min(view.width / width, view.height / height, MOST_SCALE_OF_LINES);
}

/** The first rank of each line of a text. A line ends within its last third, where the fewest edges cross. */
function textBreaks({ widths, gapAfter, spans }, view) {
  const total = widths.reduce((sum, w, r) => sum + w + gapAfter[r], 0);
  const most = Math.max(LEAST_WRAP, WRAP * view.width, Math.sqrt((total * LINE_HEIGHT * view.width) / view.height));
  if (total <= most) return { starts: [0] };
  const target = total / Math.ceil(total / most);
  const crossing = new Int32Array(widths.length + 1);
  for (const [from, to] of spans) {
    crossing[from + 1] += 1;
    crossing[to + 1] -= 1;
  }
  for (let r = 1; r < crossing.length; r++) crossing[r] += crossing[r - 1];
  const starts = [0];
  let r = 0;
  let long = 0;
  let best = -1;
  while (r < widths.length) {
    const more = widths[r] + gapAfter[r];
    if (long > 0 && long + more > target * 1.08) {
      const at = best > starts[starts.length - 1] ? best : r;
      starts.push(at);
      r = at;
      long = 0;
      best = -1;
      continue;
    }
    if (long > target * 0.7 && (best < 0 || crossing[r] <= crossing[best])) best = r;
    long += more;
    r += 1;
  }
  return { starts };
}
