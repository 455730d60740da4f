// The keys of the memory landscape: steps, values alive at the chosen step, zoom.

const FAR = 20; // Page Up and Page Down move by this fraction of the step: 1/20

/** The bars alive at a step, from the bottom of the stack. */
export function barsAt(bars, step) {
  const alive = [];
  for (let k = 0; k < bars.bytes.length; k++) if (bars.first[k] <= step && step < bars.stop[k]) alive.push(k);
  return alive;
}

/**
 * The function for a key event; returns whether the key has a meaning.
 * @param chart { places(), place(), go(place), chosen() the step, bars(), selected(), nodeOf(bar), choose(bar), zoom(factor), whole(), deselect() }
 */
export function makeLandscapeKeys(chart) {
  const go = (by) => {
    const count = chart.places();
    const at = chart.place() < 0 ? (by > 0 ? 0 : count - 1) : chart.place() + by;
    chart.go(Math.max(0, Math.min(count - 1, at)));
  };

  /** Select the next bar above (1) or below (−1) the selected one at the chosen step. */
  function climb(direction) {
    if (chart.chosen() < 0) go(1);
    const alive = barsAt(chart.bars(), chart.chosen()).filter((k) => chart.nodeOf(k) >= 0);
    if (!alive.length) return;
    const at = alive.findIndex((k) => chart.nodeOf(k) === chart.selected());
    const next = at < 0 ? (direction > 0 ? 0 : alive.length - 1) : Math.max(0, Math.min(alive.length - 1, at + direction));
    chart.choose(alive[next]);
  }

  return (event) => {
    const far = Math.max(1, Math.round(chart.places() / FAR));
    const act = {
      ArrowLeft: () => go(event.shiftKey ? -far : -1),
      ArrowRight: () => go(event.shiftKey ? far : 1),
      PageUp: () => go(-far),
      PageDown: () => go(far),
      Home: () => chart.go(0),
      End: () => chart.go(chart.places() - 1),
      ArrowUp: () => climb(1),
      ArrowDown: () => climb(-1),
      "+": () => chart.zoom(2),
      "=": () => chart.zoom(2),
      "-": () => chart.zoom(0.5),
      0: chart.whole,
      Escape: () => {
        chart.whole();
        chart.go(-1);
        chart.deselect();
      },
    }[event.key];
    if (!act || !chart.places()) return false;
    act();
    return true;
  };
}
