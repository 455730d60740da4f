// Several ranks under one budget: which plans run, when the passes run, and the bytes of each layer at any time. Mirrors
// recompviz/core/ranks/rank_board.py and schedule_times.py.

import { typed } from "../data/wire.js";

// layers are sent as whole numbers from 0 to this one
const LARGEST = 65535;
// the time of the optimizer's step as it is drawn, in forward passes
const OPTIMIZER = 0.15;

/** The `_board` trait. */
export function readBoard(message) {
  const lanes = message.lanes.map((lane) => {
    const layers = typed(Uint16Array, lane.layers);
    const rows = lane.rows;
    return {
      name: lane.name,
      passes: lane.passes.map(([kind, stage, microBatch]) => ({ kind, stage, microBatch })),
      stages: lane.stages,
      forward: lane.forward,
      rows,
      overheads: typed(Float64Array, lane.overheads),
      peaks: typed(Float64Array, lane.peaks),
      before: lane.before,
      scale: lane.scale / LARGEST,
      columns: layers.length / (rows * lane.passes.length * message.layers.length) - 1,
      layers,
    };
  });
  return { ...message, lanes };
}

/** For each lane the row of least recomputation that fits; the leanest row if none fits. */
export function rowsFor(board, budget) {
  const fits = (lane, row) => lane.peaks[row] <= budget;
  const first = (count, good) => {
    for (let row = 0; row < count; row++) if (good(row)) return row;
    return count - 1;
  };
  if (board.shared) {
    const row = first(board.lanes[0].rows, (r) => board.lanes.every((lane) => fits(lane, r)));
    return board.lanes.map(() => row);
  }
  return board.lanes.map((lane) => first(lane.rows, (row) => fits(lane, row)));
}

/** The least budget that every rank fits. */
export const leastOf = (board) => Math.max(...board.lanes.map((lane) => lane.peaks[lane.rows - 1]));
/** The largest peak without recomputation. */
export const mostOf = (board) => Math.max(...board.lanes.map((lane) => lane.peaks[0]));

/** The peaks of the lanes. */
export const peaksOf = (board, rows) => board.lanes.map((lane, i) => lane.peaks[rows[i]]);

/** The lanes by falling peak. */
export function orderOf(board, rows) {
  const peaks = peaksOf(board, rows);
  return peaks.map((_, i) => i).sort((a, b) => peaks[b] - peaks[a] || a - b);
}

/** Recomputation of a stage of a lane for one micro-batch, in ms. */
export const extraOf = (lane, row, at) => lane.overheads[row * lane.stages.length + at];

/** Recomputation of all stages of a lane for one micro-batch. */
export const extrasOf = (lane, row) => lane.stages.reduce((sum, _, at) => sum + extraOf(lane, row, at), 0);

/** The time of a pass. */
export function durationOf(lane, row, { kind, stage }) {
  const at = lane.stages.indexOf(stage);
  if (kind === "optimizer") return OPTIMIZER * lane.forward[at];
  return kind === "forward" ? lane.forward[at] : 2 * lane.forward[at] + extraOf(lane, row, at);
}

const key = (kind, stage, microBatch) => `${kind} ${stage} ${microBatch}`;

/** The passes that must have ended before a pass. */
function needsOf({ kind, stage, microBatch }) {
  if (kind === "forward") return [key(kind, stage - 1, microBatch)];
  return kind === "backward" ? [key(kind, stage + 1, microBatch), key("forward", stage, microBatch)] : [];
}

/** For each lane [start, stop] of each pass. */
export function timesOf(board, rows) {
  const known = new Set(board.lanes.flatMap((lane) => lane.passes.map((p) => key(p.kind, p.stage, p.microBatch))));
  const ended = new Map();
  const found = board.lanes.map(() => []);
  for (let moved = true; moved; ) {
    moved = false;
    board.lanes.forEach((lane, i) => {
      const mine = found[i];
      while (mine.length < lane.passes.length) {
        const one = lane.passes[mine.length];
        const needs = needsOf(one).filter((need) => known.has(need));
        if (needs.some((need) => !ended.has(need))) break;
        const start = Math.max(mine.length ? mine[mine.length - 1][1] : 0, ...needs.map((need) => ended.get(need)));
        const stop = start + durationOf(lane, rows[i], one);
        mine.push([start, stop]);
        ended.set(key(one.kind, one.stage, one.microBatch), stop);
        moved = true;
      }
    });
  }
  return found;
}

/** The time of the whole step. */
export const lengthOf = (times) => Math.max(0, ...times.flat().map(([, stop]) => stop));

/** The bytes of a layer in a column of a pass; pass −1 is before the first one. */
export function bytesAt(lane, count, row, pass, column, layer) {
  if (pass < 0) return lane.before[layer];
  return lane.layers[((row * lane.passes.length + pass) * (lane.columns + 1) + column) * count + layer] * lane.scale;
}

/** The pieces of a lane in time: [start, stop, pass, column]; waiting is the last column of the pass before. */
export function piecesOf(lane, times, length) {
  const pieces = [];
  let at = 0;
  times.forEach(([start, stop], pass) => {
    if (start > at) pieces.push([at, start, pass - 1, lane.columns]);
    for (let k = 0; k < lane.columns; k++) {
      pieces.push([start + ((stop - start) * k) / lane.columns, start + ((stop - start) * (k + 1)) / lane.columns, pass, k]);
    }
    at = stop;
  });
  if (length > at) pieces.push([at, length, times.length - 1, lane.columns]);
  return pieces;
}

/** The piece at a time. */
export function pieceAt(pieces, time) {
  let low = 0;
  let high = pieces.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (pieces[middle][0] <= time) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** The piece with the most bytes. */
export function peakPiece(lane, count, row, pieces) {
  let best = 0;
  let most = -1;
  pieces.forEach(([, , pass, column], i) => {
    let sum = 0;
    for (let layer = 0; layer < count; layer++) sum += bytesAt(lane, count, row, pass, column, layer);
    if (sum > most * (1 + 1e-9)) [best, most] = [i, sum];
  });
  return best;
}

/** What a rank does in a piece, in words. */
export function pieceText(board, lane, [, , pass, column]) {
  if (pass < 0) return "before the first pass";
  const { kind, stage, microBatch } = lane.passes[pass];
  if (kind === "optimizer") return "the optimizer's step";
  const part = lane.stages.length > 1 ? ` in stage ${stage + 1}` : "";
  const which = board.schedule ? `${kind} pass of micro-batch ${microBatch + 1}${part}` : `${kind} pass`;
  return column === lane.columns ? `after the ${which}` : which;
}

/** Points [budget, added time as a share of the step without recomputation] of the curve, by falling budget. */
export function curveOf(board) {
  const least = leastOf(board);
  const budgets = [...new Set(board.lanes.flatMap((lane) => [...lane.peaks]))].filter((peak) => peak >= least).sort((a, b) => b - a);
  const without = lengthOf(timesOf(board, board.lanes.map(() => 0)));
  return budgets.map((budget) => [budget, lengthOf(timesOf(board, rowsFor(board, budget))) / (without || 1) - 1]);
}
