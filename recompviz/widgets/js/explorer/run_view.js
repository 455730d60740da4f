// Running a plan: a button that names the device, progress with cancel, and the measured beside the predicted peak.

import { measuredShare, pairsText, signedShare } from "../data/base_time.js";
import { html, listeners, progressBar, setText } from "../shared/elements.js";
import { formatBytes, formatPercent, formatTime } from "../shared/units.js";

/** The result of the certificate. "bitwise" is written only if the certificate says so. */
export function badgeText(run) {
  if (!run.certified) return "✗ not certified";
  return run.certificate.includes("bitwise equal") ? "✓ bitwise equal" : "✓ within a tolerance of eager, which differs from itself";
}

/** "predicted X, measured Y, Z% off". */
export function verdict(run) {
  const off = run.measuredPeak ? Math.abs(run.measuredPeak - run.predictedPeak) / run.measuredPeak : 0;
  return `predicted ${formatBytes(run.predictedPeak)}, measured ${formatBytes(run.measuredPeak)}, ${(off * 100).toFixed(off < 0.1 ? 2 : 1)}% off`;
}

/**
 * "step: eager X (predicted V), plan Y (predicted W) · measured +Z% of the step (+A% to +B%, N pairs), predicted +U%";
 * "within noise" for +Z% if the pairs do not show which step takes longer; "" if the steps were not timed.
 */
export function timesText(run) {
  if (!run?.eagerStep) return "";
  const found = measuredShare(run);
  const measured = found.noise ? "within noise" : `${found.text} of the step`;
  const spread = run.spread ? ` (${found.range ? `${found.range}, ` : ""}${pairsText(run.pairs)})` : "";
  const predicted = (time) => (time ? ` (predicted ${formatTime(time)})` : "");
  const times = `step: eager ${formatTime(run.eagerStep)}${predicted(run.predictedEager)}, plan ${formatTime(run.plannedStep)}${predicted(run.predictedStep)}`;
  return `${times} · measured ${measured}${spread}${run.predictedShare == null ? "" : `, predicted ${signedShare(run.predictedShare)}`}`;
}

const TIMES_TITLE =
  "Medians of pairs of an eager and a planned step, in turn. Measured: the extra time as a share of the eager step. In brackets: its spread over the pairs, " +
  "the 95% interval of the median; with fewer than six pairs, the smallest and the largest. Within noise: the spread contains 0. " +
  "On the CPU it is taken from processor times, which other programs hardly change. Predicted: the sum of the operators' measured times; other programs that ran during the steps are not in it.";

/** The controls in `parent`, the times in `about`, which shows `otherwise` before a run, and the result in `line`; `actions` { run(), cancel(), budget(bytes) }. */
export function makeRunView(parent, about, otherwise, line, device, actions) {
  const { listen, release } = listeners();
  const root = html("div", "rv-run", parent);
  const result = html("span", "rv-run-result", line);
  const badge = html("span", "rv-badge", line);
  const bar = progressBar(root, "Progress of the run");
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
    /** @param status the `_run` trait; @param run the last run of the row shown, or null */
    update(status, run) {
      const running = status.state === "running";
      text.dataset.state = status.state;
      button.hidden = !status.can || running;
      cancel.hidden = bar.hidden = !running;
      bar.value = status.fraction ?? 0;
      const say = running || status.state === "failed" || status.state === "cancelled";
      message = say ? status.text : "hover a bar to read it · click to select it · drag to zoom";
      text.hidden = !say && run !== null;
      smaller = status.offer ?? 0;
      offer.hidden = status.state !== "failed" || !smaller;
      setText(offer, `Try ${formatBytes(smaller)}`);
      text.title = say ? message : "";
      if (running && !timer) {
        began = Date.now();
        timer = setInterval(elapsed, 1000);
      } else if (!running) {
        clearInterval(timer);
        timer = 0;
      }
      if (running) elapsed();
      else setText(text, message);
      setText(about, timesText(run) || otherwise);
      about.title = timesText(run) && TIMES_TITLE;
      about.classList.toggle("rv-timed", timesText(run) !== "");
      result.hidden = badge.hidden = !run || say;
      if (run) {
        setText(result, verdict(run));
        setText(badge, badgeText(run));
        badge.className = `rv-badge ${run.certified ? "rv-badge-ok" : "rv-badge-bad"}`;
        badge.title = `${run.certificate}\nrun on ${run.device} in ${run.seconds.toFixed(1)} s${run.notes.map((n) => `\n${n}`).join("")}`;
      }
    },
    destroy: () => {
      clearInterval(timer);
      release();
    },
  };
}
