// What extra time is a per cent of: the step, or the forward pass where the time of the step is not known.

import { formatPercent } from "../shared/units.js";

const MILLISECONDS = { ns: 1e-6, µs: 1e-3, ms: 1, s: 1e3 };

/** The milliseconds of one unit of the costs, for example of "µs (measured)"; null if the costs are not times. */
export function millisecondsOf(unit) {
  return MILLISECONDS[/^(ns|µs|ms|s)(?: \(\w+\))?$/.exec(unit)?.[1]] ?? null;
}

/**
 * The base { time, name, from }: the eager step of the first run, else the predicted one, else the forward pass; the time
 * is in the unit of the costs.
 * @param runs of readRun, oldest first
 */
export function baseOf(graph, runs = []) {
  const run = runs.find((each) => each.eagerStep);
  const unit = millisecondsOf(graph.timeUnit);
  if (run && unit) return { time: run.eagerStep / unit, name: "the step", from: "measured" };
  if (graph.stepTime) return { time: graph.stepTime, name: "the step", from: "predicted" };
  return { time: forwardTime(graph), name: "the forward", from: "predicted" };
}

/** The predicted extra time of a run, as a share of the same eager step as everywhere in the page: that of the first run. */
export function predictedShare(run) {
  return (run.predictedStep - run.eagerStep) / (run.baseStep ?? run.eagerStep);
}

/** A signed share: 0.052 → "+5.2%"; "0%" if it rounds to nothing. */
export function signedShare(share) {
  const text = formatPercent(Math.abs(share));
  return Number.parseFloat(text) === 0 ? "0%" : `${share < 0 ? "−" : "+"}${text}`;
}

/**
 * The measured extra time of a run as a share of its eager step: { text, noise }. With `noise` the pairs do not show which
 * step takes longer, and the text is the range that they show.
 */
export function measuredShare(run) {
  const [low, high] = run.spread ?? [NaN, NaN];
  const noise = low <= 0 && high >= 0;
  return { text: noise ? `${signedShare(low)} to ${signedShare(high)}` : signedShare(run.plannedStep / run.eagerStep - 1), noise };
}

/** The time of the forward pass. */
export function forwardTime(graph) {
  return graph.time.reduce((sum, t) => sum + t, 0);
}

/** "+3.9%"; "+0%" without a base. */
export function shareText(overhead, base) {
  return `+${formatPercent(base.time ? overhead / base.time : 0)}`;
}
