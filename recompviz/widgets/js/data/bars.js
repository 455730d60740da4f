// The bars of the memory landscape: every block of a reply from its first step to its last, in the order of the stack.

import { CATEGORY } from "./categories.js";

/** The layer of each block of a reply: 1 for gradients of parameters, s + 2 for a value of stratum s, and the last one for all other blocks. */
export function layersOf({ blocks, stepNodes }, strata) {
  const layers = new Uint8Array(blocks.bytes.length);
  let stratum = 0; // of the last value whose node is known: calls without a node belong to it
  for (let i = 0; i < layers.length; i++) {
    const category = blocks.categories[i];
    if (category >= CATEGORY.kept && category <= CATEGORY.recomputed) {
      const v = stepNodes[blocks.first[i]];
      if (v >= 0) stratum = strata.of[v];
      layers[i] = stratum + 2;
    } else layers[i] = category === CATEGORY.parameterGradient ? 1 : strata.names.length + 2;
  }
  return layers;
}

/**
 * The bars of a reply, from the bottom of the stack to its top: memory allocated before the step, gradients of
 * parameters, the strata in order, and all other blocks. Within a layer the oldest is at the bottom.
 * @param strata { names, of } from strataOf
 * @returns { first, stop, bytes, categories, layers, blocks }; a stratum s is layer s + 2; block −1 is memory allocated before the step
 */
export function barsOf(reply, strata) {
  const { blocks, steps } = reply;
  const fixed = reply.categories.filter((category) => category.bytes > 0);
  const count = blocks.bytes.length;
  const layerOf = layersOf(reply, strata);
  const sizes = new Uint32Array(strata.names.length + 4);
  for (let i = 0; i < count; i++) sizes[layerOf[i] + 1]++;
  sizes[0] = fixed.length;
  for (let layer = 1; layer < sizes.length; layer++) sizes[layer] += sizes[layer - 1];
  const all = fixed.length + count;
  const bars = {
    first: new Uint32Array(all),
    stop: new Uint32Array(all),
    bytes: new Float64Array(all),
    categories: new Uint8Array(all),
    layers: new Uint8Array(all),
    blocks: new Int32Array(all),
  };
  fixed.forEach((category, i) => {
    bars.stop[i] = steps;
    bars.bytes[i] = category.bytes;
    bars.categories[i] = category.number;
    bars.blocks[i] = -1;
  });
  for (let i = 0; i < count; i++) {
    const at = sizes[layerOf[i]]++;
    bars.first[at] = blocks.first[i];
    bars.stop[at] = blocks.stop[i];
    bars.bytes[at] = blocks.bytes[i];
    bars.categories[at] = blocks.categories[i];
    bars.layers[at] = layerOf[i];
    bars.blocks[at] = i;
  }
  return bars;
}

/** The bytes of all bars at some steps, which rise: the height of the stack. Equal to the timeline of the simulator. */
export function heightsOf(bars, steps) {
  const heights = new Float64Array(steps.length);
  stack(bars, steps, heights, () => {});
  return heights;
}

/**
 * The columns in which each bar is alive, where each column shows a step; the steps rise.
 * @returns columnsOf(bar, ends), which sets ends[0] to the first column and ends[1] to the one after the last
 */
export function columnRanges({ first, stop }, steps) {
  const columns = steps.length;
  const low = columns ? steps[0] : 0;
  const high = columns ? steps[columns - 1] : -1;
  const before = new Uint32Array(high - low + 2); // step − low → the number of columns before it
  for (let c = 0, s = low; s <= high + 1; s++) {
    while (c < columns && steps[c] < s) c++;
    before[s - low] = c;
  }
  return (k, ends) => {
    ends[0] = first[k] <= low ? 0 : first[k] > high ? columns : before[first[k] - low];
    ends[1] = stop[k] > high ? columns : stop[k] <= low ? 0 : before[stop[k] - low];
  };
}

/**
 * Stack the bars at some steps, which rise, from the bottom. `put(bar, column, under, over)` is called for each bar and each
 * step at which it is alive; `heights`, zeros before, holds the bytes stacked so far. Only bars before `end` are stacked.
 */
export function stack(bars, steps, heights, put, end = bars.bytes.length) {
  const columnsOf = columnRanges(bars, steps);
  const ends = [0, 0];
  for (let k = 0; k < end; k++) {
    columnsOf(k, ends);
    for (let c = ends[0]; c < ends[1]; c++) {
      const under = heights[c];
      heights[c] = under + bars.bytes[k];
      put(k, c, under, heights[c]);
    }
  }
}
