// Running a plan: a button that names the device, progress with cancel, and the measured beside the predicted peak.

import { ENOUGH_PAIRS, measuredShare, pairsText, shareText, signedShare } from "../data/base_time.js";
import { html, listeners, progressBar, setText } from "../shared/elements.js";
import { formatBytes, formatPercent, formatTime } from "../shared/units.js";

const MUCH_LONGER = 2; // times the predicted step: other programs take the device, rather than old measurements
const TOLD_FROM = 0.05; // of the predicted step: a smaller difference is not told

/** The result of the certificate. "bitwise" is written only if the certificate says so. */
export function badgeText(run) {
  if (!run.certified) return "✗ not certified";
  return run.certificate.includes("bitwise equal") ? "✓ bitwise equal" : "✓ equal within a tolerance";
}

/** "peak: predicted X, measured Y, Z% off". */
export function verdict(run, write = formatBytes) {
  const off = run.measuredPeak ? Math.abs(run.measuredPeak - run.predictedPeak) / run.measuredPeak : 0;
  return `peak: predicted ${write(run.predictedPeak)}, measured ${write(run.measuredPeak)}, ${(off * 100).toFixed(off < 0.1 ? 2 : 1)}% off`;
}

/**
 * The measured and the predicted times of a step, one line for each: "measured step: eager X, plan Y, +Z% (+A% to +B%, N pairs)";
 * "within noise" or "no slower than eager" for +Z% if the pairs do not show the extra time; no line if the steps were not timed.
 * The second line ends with how far the eager step is from its prediction. A prediction that it contradicts is said to be too
 * high, or the run to be slower, and what to do.
 * @param scaled whether the predicted times are scaled from those of other sizes
 */
export function timesLines(run, scaled = false) {
  if (!run?.eagerStep) return [];
  const found = measuredShare(run);
  const spread = run.spread ? ` (${found.range ? `${found.range}, ` : ""}${pairsText(run.pairs)})` : "";
  const predicted = [
    run.predictedEager && `eager ${formatTime(run.predictedEager)}`,
    run.predictedStep && `plan ${formatTime(run.predictedStep)}`,
    run.predictedShare != null && signedShare(run.predictedShare),
  ].filter(Boolean);
  const measured = `measured step: eager ${formatTime(run.eagerStep)}, plan ${formatTime(run.plannedStep)}, ${found.text === "no slower" ? "no slower than eager" : found.text}${spread}`;
  if (run.tooHigh && run.predictedStep) return [measured, `predicted step: plan ${formatTime(run.predictedStep)}, too high because the machine was busy: run the cell again`];
  if (run.tooLow && !scaled && run.predictedStep && timesAsLong(run) >= MUCH_LONGER)
    return [measured, `predicted step: ${formatTime(run.predictedStep)}; both took ${longerText(run)}: retry when nothing else runs`];
  return predicted.length ? [measured, `predicted step: ${predicted.join(", ")}${run.tooLow ? `; ${slowerText(run, scaled)}` : offText(run)}`] : [measured];
}

/** How far the measured eager step is from its prediction, if enough pairs were timed and it is not near. */
function offText({ eagerStep, predictedEager, pairs }) {
  const off = predictedEager && pairs >= ENOUGH_PAIRS ? eagerStep / predictedEager - 1 : 0;
  return Math.abs(off) < TOLD_FROM ? "" : `; eager took ${formatPercent(Math.abs(off))} ${off > 0 ? "longer" : "less"}`;
}

const timesAsLong = ({ eagerStep, predictedEager }) => eagerStep / predictedEager;

function longerText(run) {
  const ratio = timesAsLong(run);
  return ratio < MUCH_LONGER ? `${formatPercent(ratio - 1)} longer` : `${ratio.toFixed(1)} times as long`;
}

/** How much longer than predicted the steps of a run took, and what helps. */
function slowerText(run, scaled) {
  const next = scaled ? "their times are scaled from the traced size: trace this size for better ones" : "rv.calibrate(trace, fresh=True) times the operators again";
  return `both steps took ${longerText(run)}; ${next}`;
}

/** The newest run for the budget shown if the plan shown was not run: a search or pins have replaced its plan since. @param run the last run of the plan shown, or null */
export function replacedRun(runs, run, { budget, wanted }) {
  return run ? null : (runs.findLast((each) => each.wanted === wanted || each.budget === budget) ?? null);
}

/** What is said of a run whose plan is not shown any more: "Not measured yet. Run 1 measured an earlier plan for this budget: peak X, step +Y%". */
export function replacedText(run, base) {
  const step = run.eagerStep ? `step ${measuredShare(run).text}${run.pairs < ENOUGH_PAIRS ? ` (${pairsText(run.pairs)})` : ""}` : `predicted ${shareText(run.overhead, base)} of ${base.name}`;
  return `Not measured yet. Run ${run.number} measured an earlier plan for this budget: peak ${formatBytes(run.measuredPeak)}, ${step}`;
}

const HINTS = ["every value from birth to last use", "hover a bar to read it · click to select it · drag to zoom"];

const TIMES_TITLE =
  "Medians of pairs of an eager and a planned step, in turn. The share: the extra time as a share of the eager step. In brackets: its spread over the pairs, " +
  "the 95% interval of the median; with fewer than six pairs, the smallest and the largest. Within noise: the spread contains 0. No slower: it is below 0 although the plan recomputes something, so that the pairs differ by something else. " +
  "On the CPU it is taken from processor times, which other programs hardly change. Predicted: the sum of the operators' measured times; other programs that ran during the steps are not in it. " +
  "If a step was much faster than predicted, other programs ran while the operators were measured; the next Explorer measures them again. If both steps took longer than predicted, other programs may have run during the steps: run again when nothing else runs. If they still do, measure the operators again with rv.calibrate(trace, fresh=True), the trace as in “Save and share”, and run the cell again.";

/**
 * The controls in `parent` and the result in `line`.
 * @param base of baseOf in base_time.js; @param actions { run(), cancel(), budget(bytes), show(run) }
 */
export function makeRunView(parent, line, graph, base, actions) {
  const { listen, release } = listeners();
  const { device } = graph;
  const scaled = graph.timeUnit.endsWith("(scaled)");
  const root = html("div", "rv-run", parent);
  const lines = html("div", "rv-run-lines", line);
  const result = html("span", "rv-run-result", lines);
  const badge = html("span", "rv-badge", lines);
  const times = [0, 1].map(() => html("div", "rv-muted rv-times", lines));
  const bar = progressBar(root, "Progress of the run");
  const hints = HINTS.map((hint, i) => html("div", i ? "rv-muted rv-how-to" : "rv-muted", lines, hint));
  const replaced = html("div", "rv-replaced", lines);
  replaced.setAttribute("role", "status");
  const why = html("span", "", replaced);
  replaced.append(" ");
  const again = html("button", "rv-link", replaced, "Run again");
  const show = html("button", "rv-link", replaced);
  listen(again, "click", actions.run);
  listen(show, "click", () => actions.show(earlier));
  let earlier = null; // the run whose plan was replaced
  const text = html("span", "rv-run-text", line);
  const offer = html("button", "rv-button", line);
  offer.hidden = true;
  listen(offer, "click", () => actions.budget(smaller));
  const cancel = html("button", "rv-button", root, "Cancel");
  const button = html("button", "rv-button rv-primary", root, `▶ Run on ${device}`);
  button.title = `Run this plan for real on ${device} and measure its memory`;
  listen(button, "click", actions.run);
  listen(cancel, "click", actions.cancel);
  let began = 0;
  let timer = 0;
  let message = "";
  let smaller = 0;
  const elapsed = () => setText(text, `${message} · ${Math.round((Date.now() - began) / 1000)} s`);
  return {
    /**
     * @param status the `_run` trait; @param run the last run of the row shown, or null
     * @param old of replacedRun, or null; @param known whether its plan can be shown
     * @param write writes bytes with the figures of the budget
     */
    update(status, run, old, known, write) {
      const running = status.state === "running";
      text.dataset.state = status.state;
      button.hidden = !status.can || running;
      cancel.hidden = bar.hidden = !running;
      bar.value = status.fraction ?? 0;
      const say = running || status.state === "failed" || status.state === "cancelled";
      message = say ? status.text : "";
      text.hidden = !say;
      lines.hidden = say;
      smaller = status.offer ?? 0;
      offer.hidden = status.state !== "failed" || !smaller;
      setText(offer, `Try ${formatBytes(smaller)}`);
      text.title = message;
      if (running && !timer) {
        began = Date.now();
        timer = setInterval(elapsed, 1000);
      } else if (!running) {
        clearInterval(timer);
        timer = 0;
      }
      if (running) elapsed();
      else setText(text, message);
      const told = timesLines(run, scaled);
      times.forEach((each, i) => {
        setText(each, told[i] ?? "");
        each.classList.toggle("rv-wrapped", i > 0 && Boolean(run?.tooHigh || run?.tooLow));
        each.title = told[i] ? `${told[i]}\n${TIMES_TITLE}` : "";
      });
      result.hidden = badge.hidden = !run;
      earlier = old;
      replaced.hidden = !old;
      for (const hint of hints) hint.hidden = Boolean(run || old);
      show.hidden = !known;
      again.hidden = !status.can;
      if (old) {
        setText(why, `${replacedText(old, base)}.`);
        setText(show, `Show run ${old.number}`);
      }
      if (run) {
        setText(result, verdict(run, write));
        setText(badge, badgeText(run));
        badge.className = `rv-badge ${run.certified ? "rv-badge-ok" : "rv-badge-bad"}`;
        badge.title = `${run.certificate}\nrun on ${run.device} in ${run.seconds.toFixed(1)} s${run.notes.map((n) => `\n${n}`).join("")}`;
      }
    },
    /** When the run under way began, for a view that is made anew. */
    entry: () => ({ began: timer ? began : 0 }),
    restore(before) {
      if (!before.began || !timer) return;
      ({ began } = before);
      elapsed();
    },
    destroy: () => {
      clearInterval(timer);
      release();
    },
  };
}
