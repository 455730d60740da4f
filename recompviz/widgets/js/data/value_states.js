// What a plan does with each value: keeps it for the backward pass, recomputes it, or neither, because nothing needs it
// after its last use in the forward pass. Mirrors recompviz/core/steps/value_states.py. It runs at each tick of the slider.

/** The states of a value; those of a keep mask are the first two. */
export const STATE = { recomputed: 0, kept: 1, unneeded: 2 };

/** The states in words. */
export const STATE_NAMES = ["recomputed", "kept", "not needed later"];

/**
 * The state of each value under a plan. A value without a call, for example a view of a parameter, has the state of the mask.
 * @param schedule of makeSchedule(joint, kept)
 */
export function valueStates(joint, kept, schedule) {
  const { saved, recomputed } = schedule;
  const states = Uint8Array.from(kept);
  const seen = new Uint8Array(kept.length);
  const put = (v, state) => {
    // of several calls of a value: recomputed goes before kept, kept before unneeded
    states[v] = seen[v] ? Math.min(states[v], state) : state;
    seen[v] = 1;
  };
  for (let c = 0; c < joint.forwardCount; c++) {
    const { node, views, makes } = joint.calls[c];
    const stays = makes.some((s) => saved[s] || joint.results.has(s));
    const state = recomputed[c] ? STATE.recomputed : stays ? STATE.kept : STATE.unneeded;
    if (node >= 0) put(node, state);
    for (const v of views) put(v, state);
  }
  return states;
}
