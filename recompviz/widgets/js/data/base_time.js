// What extra time is a per cent of: the step, or the forward pass where the time of the step is not known.

import { formatCost, formatPercent, formatTime } from "../shared/units.js";

/** The least number of pairs that show an extra time; that of recompviz/core/reports/step_times.py. */
export const ENOUGH_PAIRS = 6;
const MILLISECONDS = { ns: 1e-6, µs: 1e-3, ms: 1, s: 1e3 };

/** The milliseconds of one unit of the costs, for example of "µs (measured)"; null if the costs are not times. */
export function millisecondsOf(unit) {
  return MILLISECONDS[/^(ns|µs|ms|s)(?: \(\w+\))?$/.exec(unit)?.[1]] ?? null;
}

/** A cost with its unit: a time in ms or s, or units of another cost. A time below 0.01 ms keeps its figures. */
export function costWithUnit(cost, unit) {
  const each = millisecondsOf(unit ?? "ms");
  const known = each !== null && !(cost > 0 && cost * each < 0.01);
  return known ? formatTime(cost * each) : `${formatCost(cost)} ${(unit ?? "ms").replace(/ \(\w+\)$/, "")}`;
}

/** The base { time, name }: the predicted step, or the forward pass if its time is not known; in the unit of the costs. */
export function baseOf(graph) {
  if (graph.stepTime) return { time: graph.stepTime, name: "the step" };
  return { time: forwardTime(graph), name: "the forward" };
}

/** A signed share: 0.052 → "+5.2%"; "0%" if it rounds to nothing. */
export function signedShare(share) {
  const text = formatPercent(Math.abs(share));
  return Number.parseFloat(text) === 0 ? "0%" : `${share < 0 ? "−" : "+"}${text}`;
}

/**
 * The measured extra time of a run as a share of its eager step: { text, range, noise }. With `noise` the pairs do not show
 * how much longer the planned step takes: the spread contains 0, or the plan recomputes something and no extra time was found.
 */
export function measuredShare(run) {
  const [low, high] = run.spread ?? [NaN, NaN];
  const range = run.pairs > 1 && run.spread ? `${signedShare(low)} to ${signedShare(high)}` : "";
  const noise = low <= 0 && (high >= 0 || run.overhead > 0);
  // a plan that recomputes is not faster, so no number is given; that it took no longer is seen
  const text = !noise ? signedShare(run.plannedStep / run.eagerStep - 1) : high < 0 ? "no slower" : "within noise";
  return { text, range, noise };
}

/** "n pairs" of an eager and a planned step; "1 pair: too few to tell" below ENOUGH_PAIRS. */
export function pairsText(count) {
  return `${count} pair${count === 1 ? "" : "s"}${count < ENOUGH_PAIRS ? ": too few to tell" : ""}`;
}

/** The time of the forward pass. */
export function forwardTime(graph) {
  return graph.time.reduce((sum, t) => sum + t, 0);
}

/** "+3.9%"; "+0%" without a base. */
export function shareText(overhead, base) {
  return `+${formatPercent(base.time ? overhead / base.time : 0)}`;
}
