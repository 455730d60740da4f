// Whether a training step fits into a device, as pure functions: the devices, the sentence, and the lines of code.

import { binaryUnit, formatBytes, formatDecimal, formatTime, parseBudget, unitName, DEVICE_UNIT } from "../shared/units.js";
import { millisecondsOf, shareText } from "../data/base_time.js";
import { leastTotal, rowFor, totalText, totalWriter } from "../data/plan_table.js";
import { CATEGORY } from "../data/categories.js";
import { keepAllTotal } from "./header.js";

// the most figures after the third of a budget in the code
const MOST_MORE = 6;

/** Memory of common devices, in bytes. Their makers count in powers of ten. */
export const DEVICES = [16, 24, 40, 80, 141].map((size) => size * 1e9);

/**
 * The target that a user typed: "100 MiB", "12 GB" or "12", which means 12 GB; null if it is no size. Sizes are written
 * in the units that the user typed.
 */
export function typedTarget(text) {
  const [, number, word] = /^\s*([\d,]*\.?\d+)\s*([a-z]*)\s*$/i.exec(text) ?? [];
  if (number === undefined) return null;
  const unit = word ? unitName(word) : DEVICE_UNIT;
  const label = `${number.replaceAll(",", "")} ${unit}`;
  const bytes = Math.floor(parseBudget(label, 0) ?? 0);
  return bytes ? { bytes, label, device: true, binary: unit.includes("i"), typed: true } : null;
}

/** Why a typed text is refused. */
export function notASize(text, examples) {
  const short = text.trim().length > 20 ? `${text.trim().slice(0, 19)}…` : text.trim();
  return `“${short}” is not a size; for example ${examples}`;
}

/**
 * Why the plan shown does not fit the budget that the user asked for; "" if it does.
 * @param about { searching: a search for better plans goes on, unsearched: none has ended, sizes: as sizesText gives them, pinned,
 *   target: the device that the user chose, or null }
 */
export function misfitText(wanted, table, { searching = false, unsearched = false, sizes = "this step", pinned = false, target = null } = {}) {
  const least = leastTotal(table);
  if (wanted >= least) return "";
  const bytes = totalWriter(table);
  const asked = target ? deviceText(target, bytes) : bytes(wanted);
  const shown = (which) => `shown: the least${which}, ${bytes(least)}`;
  if (searching) return `searching: no plan for ${asked} yet; ${shown(" so far")}`;
  if (unsearched) return `no plan yet for ${asked}; ${shown(" so far")}`;
  return `${asked} does not fit ${sizes}${pinned ? " with these pins" : ""}; ${shown("")}`;
}

/** A target as the user named it, and in the units of the view if they are others: "16 GB (14.9 GiB)". `write` writes bytes. */
export function deviceText(target, write) {
  return target.device && !target.binary ? `${target.label} (${write(target.bytes)})` : target.label;
}

/** The devices that are marked on the axis of budgets: the common ones, and the one that the user typed. */
export function markedDevices(target) {
  const own = target?.device && !DEVICES.includes(target.bytes) ? [{ bytes: target.bytes, label: target.label }] : [];
  return [...DEVICES.map((bytes) => ({ bytes, label: formatDecimal(bytes) })), ...own].sort((a, b) => a.bytes - b.bytes);
}

/** "batch 64, length 512"; "this step" if no size can be changed. */
export function sizesText(axes, now) {
  return axes.map(([name], i) => `${name} ${now[i]}`).join(", ") || "this step";
}

/** How a table fits into a number of bytes: { row, overhead } of the cheapest plan; row is −1 if no plan fits. */
export function fitOf(table, bytes) {
  const row = rowFor(table, bytes);
  return { row, overhead: row < 0 ? Infinity : table.overheads[row] };
}

/**
 * "at most 3.7% of the forward above the best possible"; "" without a bound. Mirrors gap_text in
 * recompviz/core/bounds/step_bounds.py. @param name what the gap is a share of
 */
export function gapText(gap, name = "the forward") {
  if (gap === null || Number.isNaN(gap)) return "";
  if (gap <= 0) return "the best possible";
  const percent = 100 * gap * (1 - 1e-12);
  return `at most ${percent < 10 ? (Math.max(1, Math.ceil(10 * percent)) / 10).toFixed(1) : Math.ceil(percent)}% of ${name} above the best possible`;
}

/**
 * How much less than a plan of `total` bytes and some overhead any strategy may recompute, at most. The bound of a row holds
 * for every strategy within the total of that row, and so for smaller totals too.
 * @param bound of each row of `table`
 */
export function gapAbove(table, bound, total, overhead) {
  let least = 0;
  for (let row = 0; row < table.rows; row++) if (table.totalPeaks[row] >= total) least = Math.max(least, bound[row]);
  return overhead - least;
}

/** The gap of a plan in words. Pins take plans away, so that the best possible without pins is a bound for plans with pins. */
export function planGapText(first, bound, table, row, base) {
  if (!bound || bound.length !== first.rows || !base.time) return "";
  const text = gapText(gapAbove(first, bound, table.totalPeaks[row], table.overheads[row]) / base.time, base.name);
  if (table.base < 0) return text;
  return text.startsWith("at most") ? `${text} without the pins` : `${text}, with or without the pins`;
}

/**
 * The mark of a device, and what it means: { mark, words, fits: "yes", "no" or "open" }. The mark is "✓" if everything can
 * be kept, or everything but what pins recompute. It is "+7.0%" with recomputation, and "✗" if no plan fits. While a search
 * may still find a plan, it is "…" or "≤ +7.0%".
 * @param about { searching: a search for better plans goes on, unsearched: none has ended, fixed: bytes that no plan can free }
 */
export function fitMark(table, bytes, base, { searching = false, unsearched = false, fixed = 0 } = {}) {
  const { row, overhead } = fitOf(table, bytes);
  if (row >= 0) {
    if (overhead === 0) return { mark: "✓", words: "everything can be kept", fits: "yes" };
    const least = table.base >= 0 ? table.overheads.reduce((a, b) => Math.min(a, b), Infinity) : 0; // that of the pins alone
    const ofPins = least ? `${shareText(least, base)} of ${base.name}` : "";
    if (overhead === least) return { mark: "✓", words: `everything can be kept except what the pins need recomputed, for ${ofPins}`, fits: "yes" };
    const extra = `${searching ? "≤ " : ""}${shareText(overhead, base)}`;
    const share = `fits for ${searching ? "at most " : ""}${extra.replace("≤ ", "")} of ${base.name}`;
    return { mark: extra, words: ofPins ? `${share}, of which the pins alone need ${ofPins}` : share, fits: "yes" };
  }
  if (fixed > bytes) return { mark: "✗", words: "no plan can fit: what is alive in the whole step is larger", fits: "no" };
  if (searching) return { mark: "…", words: "searching for a plan that fits", fits: "open" };
  if (unsearched) return { mark: "?", words: "not known, because the search for plans did not end", fits: "open" };
  return { mark: "✗", words: "no plan that fits was found", fits: "no" };
}

/** "+7.0% of the step, 31 ms" */
function cost(overhead, base, unit, searching) {
  const each = millisecondsOf(unit);
  const ms = each ? `, ${formatTime(overhead * each)}` : "";
  return `${searching ? "at most " : ""}${shareText(overhead, base)} of ${base.name}${ms}`;
}

/**
 * The sentence: whether the step fits into the target, at what extra time, and what a checkpoint around each block needs.
 * @param facts { table, given: the table of baselines or null, target: { bytes, label, device, binary }, base, unit, axes, now, searching, bound }
 */
export function fitSentence({ table, given, target, base, unit, axes, now, searching = false, bound = "" }) {
  const bytes = totalWriter(table);
  const asked = deviceText(target, bytes);
  const subject = sizesText(axes, now);
  const { row, overhead } = fitOf(table, target.bytes);
  const verb = subject.includes(",") ? "fit" : "fits";
  const at = given?.names.indexOf("per-module") ?? -1;
  const block = at < 0 ? "" : "; a checkpoint around each block needs ";
  if (row < 0) {
    const doesNot = searching ? "may fit" : verb === "fit" ? "do not fit" : "does not fit";
    return `${searching ? "searching: " : ""}${subject} ${doesNot} in ${asked}: the leanest plan ${searching ? "so far" : "found"} needs ${bytes(leastTotal(table))}${at < 0 ? "" : `${block}${bytes(given.totalPeaks[at])}`}`;
  }
  if (overhead === 0) return `${subject} ${verb} in ${asked} with nothing recomputed; keeping everything needs ${bytes(keepAllTotal(table))}`;
  const rival = at < 0 ? "" : `${block}${bytes(given.totalPeaks[at])}, ${shareText(given.overheads[at], base)}`;
  return `${subject} ${verb} in ${asked} for ${cost(overhead, base, unit, searching)}${bound && `, ${bound}`}${rival}`;
}

/** Sizes as text if they are not those of the traced step, else "". */
export function otherSizes(axes, now) {
  return axes.every(([, size], i) => size === now[i]) ? "" : sizesText(axes, now);
}

/** What other sizes are computed from; "" for the sizes of the traced step. A run repeats or cuts the traced batch. */
export function sizesFrom(axes, now) {
  if (!otherSizes(axes, now)) return "";
  return `computed from the step traced at ${sizesText(axes, axes.map(([, size]) => size))}`;
}

/** What the totals leave out: "" if the step has an optimizer. */
export function leftOut(hasOptimizer) {
  return hasOptimizer ? "" : "optimizer state not counted";
}

/**
 * A budget as the shortest text of at least three significant figures that chooses the same plan. Of two such texts, it is
 * the one rounded down.
 * @param same whether a number of bytes chooses the same plan
 */
export function budgetText(bytes, same) {
  const { power, unit } = binaryUnit(bytes);
  if (!power) return `${Math.floor(bytes)} B`;
  const size = bytes / 1024 ** power;
  const few = size < 10 ? 2 : size < 100 ? 1 : 0;
  for (let digits = few; digits < few + MOST_MORE; digits++) {
    const around = [Math.floor, Math.ceil].map((round) => round(size * 10 ** digits) / 10 ** digits);
    const found = around.find((number) => [Math.floor, Math.ceil].every((whole) => same(whole(number * 1024 ** power))));
    if (found !== undefined) return `${found} ${unit}`;
  }
  return `${Math.floor(bytes)} B`;
}

/**
 * The shortest text of at least three significant figures that is no less than a number of bytes and is rounded to the
 * number that the view shows: 92096430 → "87.83 MiB", which the view shows as 87.8 MiB.
 */
export function enoughFor(bytes) {
  const { power, unit } = binaryUnit(bytes);
  const size = bytes / 1024 ** power;
  const few = power === 0 ? 0 : size < 10 ? 2 : size < 100 ? 1 : 0;
  for (let digits = few; digits < few + MOST_MORE; digits++) {
    const number = Math.ceil(size * 10 ** digits) / 10 ** digits;
    if (formatBytes(number * 1024 ** power) === formatBytes(bytes)) return `${number} ${unit}`;
  }
  return `${Math.ceil(bytes)} B`;
}

/** The lines that train within the target. The size of a device keeps its name. @param same of budgetText */
export function trainingLines(target, same, remarks, hasOptimizer = true, model = "model") {
  const total = target.device ? target.label : budgetText(target.bytes, same);
  const missing = hasOptimizer ? [] : [`${leftOut(false)} there; in training it takes a part of this total`];
  const comments = [...remarks, ...missing].map((remark) => `# ${remark}`);
  return ["import recompviz as rv", "", ...comments, `${model} = rv.compile(${model}, total="${total}")`, "# the training loop stays as it is", ""].join("\n");
}

/** The target of the code: the one asked for, or the least total of a table if no plan fits. { target, fits } */
export function codeTarget(table, target) {
  if (rowFor(table, target.bytes) >= 0) return { target, fits: true };
  const label = enoughFor(leastTotal(table));
  return { target: { bytes: parseBudget(label, 0), label, device: false }, fits: false };
}

/** What the button that copies the code is called: it says before the click if the code is for another total. */
export function codeLabel(table, target, searching = false) {
  const { target: used, fits } = codeTarget(table, target);
  return fits ? "Copy the code" : `Copy the code for ${searching ? "the least so far" : "the least"}, ${totalText(table, leastTotal(table))}`;
}

/**
 * The lines of code that train with the plan for the target, or with the leanest plan if none fits. They name the sizes that
 * the numbers are for. @param facts of fitSentence
 */
export function codeFor(facts, hasOptimizer = true) {
  const { table, target, axes, now } = facts;
  const { target: used, fits } = codeTarget(table, target);
  const plan = fitSentence({ ...facts, target: used });
  const sizes = axes.length ? [`for ${sizesText(axes, now)}${axes.some(([, size], i) => size !== now[i]) ? `, ${sizesFrom(axes, now)}` : ""}`] : [];
  const remarks = [...sizes, ...(fits ? [plan] : [fitSentence(facts), `so this is the least: ${plan}`])];
  const row = rowFor(table, used.bytes);
  return trainingLines(used, (bytes) => rowFor(table, bytes) === row, remarks, hasOptimizer, facts.model);
}

/** The bytes at the peak of a reply that do not depend on the batch: parameters, buffers, their gradients, the optimizer's state. */
export function bytesOfAnySize({ categories, bands, steps, peakStep }) {
  const stays = ({ number, fixed }) => (fixed && number !== CATEGORY.input && number !== CATEGORY.target) || number === CATEGORY.parameterGradient;
  return categories.reduce((sum, category, c) => sum + (stays(category) ? (category.fixed ? category.bytes : peakStep < 0 ? 0 : bands[c * steps + peakStep]) : 0), 0);
}

/**
 * What the step may need at other sizes, before it is traced there: bytes that do not depend on the sizes stay, the others
 * are scaled. They grow with the batch as the batch does; with the length at least as the length does, and at most as its
 * square, because attention has pairs of tokens. "" for the sizes shown.
 * @param facts { table, fixed: bytes that stay, axes, now, asked: the sizes of the sliders }
 */
export function estimateText({ table, fixed, axes, now, asked }) {
  const ratio = (name, power) => axes.reduce((product, [axis], i) => product * (axis === name ? (asked[i] / now[i]) ** power : 1), 1);
  const factors = [1, 2].map((power) => ratio("batch", 1) * ratio("length", power)).sort((a, b) => a - b);
  if (axes.every((_, i) => asked[i] === now[i])) return "";
  const range = (total) => {
    const texts = factors.map((factor) => formatBytes(fixed + Math.max(0, total - fixed) * factor));
    return texts[0] === texts[1] ? `about ${texts[0]}` : `between ${texts[0]} and ${texts[1]}`;
  };
  return `estimate until it is traced: ${range(keepAllTotal(table))} with everything kept, ${range(leastTotal(table))} at least`;
}
