// Numbers of bytes as text and back: the only file of the page that does so. Mirrors recompviz/core/base/units.py.
//
// One rule for the whole page: binary units, and three significant figures. Only the memory of a device is written in the
// decimal units of its maker, or in those that the user typed.

const BINARY = ["B", "KiB", "MiB", "GiB", "TiB"];
const DECIMAL = ["B", "kB", "MB", "GB", "TB"];

/** A number ≥ 0 with some digits after the point. Ties go to the even digit, as in Python; toFixed rounds them up. */
function fixed(number, digits) {
  const tie = (number * 2 ** (digits + 1)) % 2 === 1;
  const below = Math.floor(number * 10 ** digits);
  return (tie && below % 2 === 0 ? below / 10 ** digits : number).toFixed(digits);
}

/** A number of bytes with a binary unit and three significant figures: 1610612736 → "1.50 GiB". */
export function formatBytes(count) {
  return bytesWith(count, 0);
}

/** The same with `more` figures: 1610612736 → "1.5000 GiB" with two more. */
export function bytesWith(count, more) {
  const { size, unit, digits } = shownBytes(Math.abs(count));
  return `${count < 0 ? "-" : ""}${fixed(size, unit ? digits + more : 0)} ${BINARY[unit]}`;
}

/** A number of bytes in its unit: { size, unit: its place in BINARY, digits after the point }. */
function shownBytes(count) {
  let [size, unit] = [count, 0];
  while (unit + 1 < BINARY.length && size >= (unit ? 1023.5 : 1024)) [size, unit] = [size / 1024, unit + 1];
  return { size, unit, digits: !unit ? 0 : size < 9.995 ? 2 : size < 99.95 ? 1 : 0 };
}

/** The bytes of one step of the last figure of a text by `formatBytes`: 1 MiB for 188 MiB, 0.1 MiB for 83.6 MiB. */
export function bytesStep(count) {
  const { unit, digits } = shownBytes(count);
  return 1024 ** unit / 10 ** digits;
}

/** The unit in which a number of bytes is at least 1: { power, unit }; 3 MiB gives 2 and "MiB". */
export function binaryUnit(bytes) {
  const power = Math.max(0, BINARY.findLastIndex((_, i) => bytes >= 1024 ** i));
  return { power, unit: BINARY[power] };
}

/** The unit in which the memory of a device is written without one: "12" means 12 GB. */
export const DEVICE_UNIT = "GB";

/** A typed unit as it is spelt: "gib" → "GiB", "kb" → "kB"; a word that is no unit stays. */
export function unitName(word) {
  const letters = word.toLowerCase();
  return [...BINARY, ...DECIMAL].find((unit) => unit.toLowerCase() === letters) ?? word;
}

/** A number of bytes in decimal units with up to three significant figures: 33.1e9 → "33.1 GB". */
export function formatDecimal(bytes) {
  if (bytes < 1000) return `${Math.round(bytes)} B`;
  let [size, unit] = [bytes, 0];
  while (unit + 1 < DECIMAL.length && size >= (unit ? 999.5 : 1000)) [size, unit] = [size / 1000, unit + 1];
  return `${Number(size.toPrecision(3))} ${DECIMAL[unit]}`;
}

/** A fraction as whole per cent, with one decimal below 10 %. */
export function formatPercent(fraction) {
  return percentWith(fraction, 0);
}

/** The same with `more` decimals. */
export function percentWith(fraction, more) {
  const percent = fraction * 100;
  return `${Math.abs(percent) < 9.95 && percent !== 0 ? percent.toFixed(1 + more) : percent.toFixed(more)}%`;
}

/** Milliseconds with two or three significant figures, in seconds from one second on: 4860 → "4.86 s". */
export function formatTime(milliseconds) {
  if (milliseconds === 0) return "0";
  if (milliseconds < 0.01) return "<0.01 ms";
  if (milliseconds < 999.5) return `${milliseconds.toPrecision(milliseconds < 1 ? 2 : 3)} ms`;
  const seconds = milliseconds / 1000;
  return `${seconds >= 999.5 ? seconds.toFixed(0) : seconds.toPrecision(3)} s`;
}

/** A cost: whole numbers as they are, others with three significant figures: 0.0123456 → "0.0123". */
export function formatCost(cost) {
  return String(Number.isInteger(cost) ? cost : Number(cost.toPrecision(3)));
}

/** Round numbers of bytes from `low` to `high`, about `count` of them, at 1, 2 or 5 times a power of 2¹⁰. */
export function byteTicks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  let unit = 1;
  while (unit * 1024 <= rough) unit *= 1024;
  const step = [1, 2, 5, 10, 20, 50, 100, 200, 256, 512, 1024].map((k) => k * unit).find((s) => s >= rough) ?? rough;
  const ticks = [];
  for (let x = Math.ceil(low / step) * step; x <= high; x += step) ticks.push(x);
  return ticks;
}

/** 12 → "₁₂". */
export function subscript(number) {
  return String(number).replace(/\d/g, (digit) => "₀₁₂₃₄₅₆₇₈₉"[digit]);
}

/** The bytes of one unit, by its name in lower case. */
export const BYTE_UNITS = { b: 1, kib: 2 ** 10, mib: 2 ** 20, gib: 2 ** 30, tib: 2 ** 40, kb: 1e3, mb: 1e6, gb: 1e9, tb: 1e12 };

// a number without a unit counts bytes from here on, and below it the unit in which the budget is shown
const SURELY_BYTES = 1e6;

/**
 * The bytes of a typed budget: "500 MiB", "1.5GB", "60%" of keep-all, or a number. Null if it is none of these. A number
 * without a unit has the unit in which keep-all is shown, unless it is large.
 */
export function parseBudget(text, keepAll) {
  const found = /^\s*([\d,]*\.?\d+)\s*([a-z]+|%)?\s*$/i.exec(text);
  if (!found) return null;
  const number = Number(found[1].replaceAll(",", ""));
  if (found[2] === "%") return (number / 100) * keepAll;
  const shown = number < SURELY_BYTES ? formatBytes(keepAll).split(" ")[1] : "B";
  const size = BYTE_UNITS[(found[2] ?? shown).toLowerCase()];
  return size ? number * size : null;
}
