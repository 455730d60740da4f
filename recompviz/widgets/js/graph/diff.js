// The nodes that differ between two states; only these are painted.

/** Positions at which two arrays differ; all positions if there is no `before`. */
export function diff(before, after) {
  const changed = [];
  for (let i = 0; i < after.length; i++) if (!before || before[i] !== after[i]) changed.push(i);
  return changed;
}
