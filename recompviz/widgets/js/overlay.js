// What is laid over the nodes' own state: which are alive at a step, which are pinned, where two plans differ. Each
// is told by a border and a small sign in the corner as well as by colour.

/** The classes that a node gets from the three overlays. */
export function overlayClass(alive, pin, difference) {
  let name = "";
  if (alive !== null) name += alive ? " rv-alive" : " rv-asleep";
  if (pin) name += pin > 0 ? " rv-pin-keep" : " rv-pin-recompute";
  if (difference) name += difference > 0 ? " rv-only-first" : " rv-only-second";
  return name;
}

/** The sign in a node's corner: a pin to keep, to recompute, kept by the first plan only, by the second only. */
export function overlayGlyph(pin, difference) {
  return (pin > 0 ? "▼" : pin < 0 ? "↻" : "") + (difference > 0 ? "①" : difference < 0 ? "②" : "");
}

/** The three overlays of `count` nodes; `set` gives the nodes whose look changed. */
export function makeOverlay(count) {
  let state = { alive: null, pins: null, difference: null };
  const classOf = (v, from = state) => overlayClass(from.alive ? from.alive[v] : null, from.pins?.[v] ?? 0, from.difference?.[v] ?? 0);
  return {
    set(change) {
      const before = state;
      state = { ...state, ...change };
      const changed = [];
      for (let v = 0; v < count; v++) if (classOf(v, before) !== classOf(v)) changed.push(v);
      return changed;
    },
    classOf: (v) => classOf(v),
    glyphOf: (v) => overlayGlyph(state.pins?.[v] ?? 0, state.difference?.[v] ?? 0),
    /** The nodes that any overlay marks. */
    every() {
      return Array.from({ length: count }, (_, v) => v).filter((v) => classOf(v));
    },
    get state() {
      return state;
    },
  };
}
