// Where a wrapped box is broken into lines, like a text.

// a box longer than this is broken; a very long one into lines that fill a window of this shape, for lines of this height
const WRAP_LENGTH = 1250;
const WINDOW_SHAPE = 3.2;
const LINE_HEIGHT = 62;

/** The first column of each line. A line ends within its last third, where the fewest edges cross. */
export function lineBreaks(tree, lines, things, widths, gapAfter) {
  const total = widths.reduce((sum, w, r) => sum + w + gapAfter[r], 0);
  const most = Math.max(WRAP_LENGTH, Math.sqrt(total * LINE_HEIGHT * WINDOW_SHAPE));
  if (total <= most * 1.15) return [0];
  const target = total / Math.ceil(total / most);
  const crossing = new Int32Array(widths.length + 1);
  for (const i of lines) {
    crossing[things.get(tree.lines[3 * i + 1]).rank + 1] += 1;
    crossing[things.get(tree.lines[3 * i + 2]).rank + 1] -= 1;
  }
  for (let r = 1; r < crossing.length; r++) crossing[r] += crossing[r - 1];
  const breaks = [0];
  let r = 0;
  let long = 0;
  let best = -1;
  while (r < widths.length) {
    const more = widths[r] + gapAfter[r];
    if (long > 0 && long + more > target * 1.08) {
      const at = best > breaks[breaks.length - 1] ? best : r;
      breaks.push(at);
      r = at;
      long = 0;
      best = -1;
      continue;
    }
    if (long > target * 0.7 && (best < 0 || crossing[r] <= crossing[best])) best = r;
    long += more;
    r += 1;
  }
  return breaks;
}
