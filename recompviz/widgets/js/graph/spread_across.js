// Places across for the items of a box: least-squares fits to the places of their neighbours, under least distances.

const NODE_GAP = 7;
const LINE_GAP = 6;
const MODULE_GAP = 12;
const FITS = 8;

/** The non-decreasing sequence nearest to `values` in weighted least squares. Mirrors isotonic in recompviz/widgets/layout/layered.py. */
export function isotonicFit(values, weights) {
  const pools = [];
  for (let i = 0; i < values.length; i++) {
    let pool = { mean: values[i], weight: weights[i], count: 1 };
    while (pools.length && pools[pools.length - 1].mean > pool.mean) {
      const last = pools.pop();
      const weight = last.weight + pool.weight;
      pool = { mean: (last.mean * last.weight + pool.mean * pool.weight) / weight, weight, count: last.count + pool.count };
    }
    pools.push(pool);
  }
  return pools.flatMap((pool) => Array(pool.count).fill(pool.mean));
}

/** The lines of the longest paths, which are kept straight: at most one line leaves and one enters each item. */
export function mainLines(tree, lines, things) {
  const out = new Map();
  for (const i of lines) {
    const from = things.get(tree.lines[3 * i + 1]);
    if (!out.has(from)) out.set(from, []);
    out.get(from).push([things.get(tree.lines[3 * i + 2]), i]);
  }
  const height = new Map();
  const main = new Set();
  const taken = new Set();
  for (const element of [...things.values()].sort((a, b) => b.rank - a.rank)) {
    const next = out.get(element) ?? [];
    height.set(element, 1 + Math.max(-1, ...next.map(([to]) => height.get(to) ?? 0)));
    for (const [to, i] of [...next].sort((a, b) => (height.get(b[0]) ?? 0) - (height.get(a[0]) ?? 0))) {
      if (to.rank === element.rank + 1 && !taken.has(to)) {
        main.add(i);
        taken.add(to);
        break;
      }
    }
  }
  return main;
}

/** Set the place across of every element of some columns. Returns their breadth. */
export function spreadAcross(columns) {
  const offsets = columns.map((column) => {
    column.sort((a, b) => a.order - b.order);
    let at = 0;
    return column.map((element, i) => {
      if (i) at += column[i - 1].breadth + (element.thread && column[i - 1].thread ? LINE_GAP : element.box || column[i - 1].box ? MODULE_GAP : NODE_GAP);
      element.at = at;
      return at;
    });
  });
  for (let fit = 0; fit < FITS; fit++) {
    const forward = fit % 2 === 0;
    for (let i = 0; i < columns.length; i++) {
      const r = forward ? i : columns.length - 1 - i;
      const wanted = [];
      const weights = [];
      columns[r].forEach((element, j) => {
        let pull = 0;
        let weight = 0;
        for (const [other, shift, w, later] of element.near) {
          if (fit < 2 && later === forward) continue;
          pull += w * (other.at - shift);
          weight += w;
        }
        wanted.push((weight ? pull / weight : element.at) - offsets[r][j]);
        weights.push(weight || 0.01);
      });
      isotonicFit(wanted, weights).forEach((place, j) => (columns[r][j].at = place + offsets[r][j]));
    }
  }
  let low = Infinity;
  let high = -Infinity;
  for (const column of columns) {
    for (const element of column) {
      low = Math.min(low, element.at);
      high = Math.max(high, element.at + element.breadth);
    }
  }
  for (const column of columns) for (const element of column) element.at -= low;
  return Math.max(0, high - low);
}
