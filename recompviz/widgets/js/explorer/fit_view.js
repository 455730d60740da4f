// "Will it fit?": sizes of the batch, devices, one sentence, and the lines of code that train so.

import { heightKeeper, html, listeners, progressBar, setText } from "../shared/elements.js";
import { afterFrame } from "../shared/measuring.js";
import { formatBytes, formatDecimal } from "../shared/units.js";
import { CATEGORY } from "../data/categories.js";
import { rowFor, totalText } from "../data/plan_table.js";
import { keepAllTotal } from "./header.js";
import { curveOf } from "./switches.js";
import { UNANSWERED } from "../shared/kernel_note.js";
import { DEVICES, codeFor, codeLabel, bytesOfAnySize, estimateText, fitMark, fitSentence, leftOut, notASize, sizesFrom, sizesText, typedTarget } from "./fit.js";

// ms from the last key on a slider of sizes until the step is resized
const PAUSE = 400;

// what the button that copies the code does
const COPY = "Copy the lines of code that train within this memory, for the sizes shown";

// model → the target that the user chose, or null for a budget that the user chose; it stays when the view is made anew
// for other sizes
const chosen = new WeakMap();

/** The target of a model: a device or a number of bytes, as typedTarget in fit.js gives it; null for the budget shown. */
export function targetOf(model) {
  return chosen.get(model) ?? null;
}

/** Let a target be that of a model. */
export function aimAt(model, target) {
  chosen.set(model, target);
}

/** Forget the target, because the user chose a budget. */
export function forgetTarget(model) {
  aimAt(model, null);
}

/** Write a text to the clipboard, also on a page that is not served securely. */
async function copy(text, root) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = html("textarea", "rv-hidden", root);
    area.value = text;
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

/**
 * The strip.
 * @param all() gives every table
 * @param actions { row(row), typed(bytes), resize(sizes, budget), keep() stops a resizing, changed() after a new target }
 */
export function makeFitView(parent, model, graph, all, base, actions, id) {
  const { listen, release } = listeners();
  const root = html("section", "rv-fit", parent);
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Will it fit?");
  const controls = html("div", "rv-fit-controls", root);
  html("span", "rv-panel-title", controls, "Will it fit?");
  const { axes, now } = model.get("_sizes");
  const offline = Boolean(model.offline);
  let timer = 0;
  let asking = false; // whether a slider was moved to sizes that the kernel has not been asked for yet
  const sliders = (offline ? [] : axes).map(([name, size, steps], i) => {
    const label = html("label", "rv-fit-size", controls);
    const text = html("span", "", label, `${name} ${now[i]}`);
    const slider = html("input", "rv-slider rv-fit-slider", label);
    Object.assign(slider, { type: "range", min: 0, max: steps.length - 1, step: 1, id: `${id}-${name}` });
    slider.setAttribute("aria-label", name);
    slider.title = `${name} of the training step, traced at ${size}; at another ${name} its bytes are computed, and a run repeats or cuts the batch`;
    slider.value = Math.max(0, steps.indexOf(now[i]));
    const value = () => steps[Number(slider.value)];
    const show = () => {
      setText(text, `${name} ${value()}`);
      slider.setAttribute("aria-valuetext", String(value()));
    };
    show();
    listen(slider, "input", () => {
      clearTimeout(timer);
      asking = true;
      forget();
      show();
      root.classList.add("rv-fit-working");
    });
    listen(slider, "keydown", (event) => event.stopPropagation());
    listen(slider, "change", resizeSoon);
    return { value, reset: (at) => ((slider.value = Math.max(0, steps.indexOf(at))), show()) };
  });
  const devices = html("span", "rv-fit-devices", controls);
  html("span", "rv-muted", devices, "in");
  const buttons = DEVICES.map((bytes) => {
    const button = html("button", "rv-button rv-fit-device", devices);
    listen(button, "click", () => aim({ bytes, label: formatDecimal(bytes), device: true }));
    return { bytes, button };
  });
  const own = html("input", "rv-fit-own", devices);
  Object.assign(own, { type: "text", placeholder: "own: 12 GB", spellcheck: false, autocomplete: "off" });
  own.setAttribute("aria-label", "Memory of your device, for example 12 GB");
  listen(own, "keydown", (event) => {
    event.stopPropagation(); // JupyterLab has commands on bare keys
    if (event.key !== "Enter" || clearOwn()) return;
    const target = typedTarget(own.value);
    if (target) aim(target);
    else refuse(notASize(own.value, "12 GB"));
  });
  listen(own, "change", () => clearOwn()); // the emptied field is left
  /** Forget the device that the user typed if its field was emptied; the budget stays. Whether the field is empty. */
  function clearOwn() {
    if (own.value.trim()) return false;
    forget();
    if (targetOf(model)?.typed) {
      forgetTarget(model);
      actions.changed();
    }
    return true;
  }
  const note = html("span", "rv-fit-note", devices);
  note.setAttribute("role", "status");
  note.id = `${id}-own-note`;
  own.setAttribute("aria-describedby", note.id);
  /** Say why the typed text is refused; "" if it is accepted. */
  function refuse(why) {
    setText(note, why);
    own.setAttribute("aria-invalid", String(why !== ""));
  }
  let written = ""; // the text of the target that the input shows
  /** Show the target in the input if the user typed it, also after the view is made anew; else no old target. */
  function showOwn(target) {
    const text = target.typed ? target.label : "";
    if (text === written) return;
    if (text || own.value === written) own.value = text;
    refuse("");
    written = text;
  }
  const line = html("div", "rv-fit-line", root);
  const sentence = html("span", "rv-fit-sentence", line);
  const bar = progressBar(line, "Progress of the new size");
  const stop = html("button", "rv-button", line, "Cancel");
  listen(stop, "click", actions.keep);
  const code = html("button", "rv-button", line, "Copy the code");
  code.title = COPY;
  const copied = html("span", "rv-live", line); // for screen readers; the button shows that the code was copied
  copied.setAttribute("role", "status");
  const little = html("div", "rv-fit-little", root);
  listen(code, "click", async () => {
    const lines = codeFor(facts(), hasOptimizer);
    await copy(lines, root);
    about = subject();
    code.style.minWidth = `${code.getBoundingClientRect().width}px`; // the shorter text leaves the sentence its width
    sayCopied(`copied: ${lines.split("\n").find((one) => one.includes("rv.compile("))}`);
  });
  /** Say which line was copied; "" says nothing any more. */
  function sayCopied(text) {
    if (text === copied.textContent) return;
    setText(copied, text);
    code.title = text || COPY;
    showLabel();
  }
  let label = "";
  function showLabel() {
    const text = copied.textContent ? "✓ Copied" : label;
    if (!copied.textContent) code.style.minWidth = "";
    setText(code, text);
  }

  const setSizes = (sizes) => sliders.forEach((one, i) => one.reset(sizes[i]));
  for (const type of ["pointerdown", "keydown"]) listen(document, type, () => sayCopied(""), { capture: true });

  let state = { table: 0, row: 0, budget: 0, wanted: 0 };
  let about = ""; // what the texts about the last actions belong to
  /** What the reader asks about: the plan and the memory. */
  const subject = () => [state.table, state.row, target_().bytes, target_().label].join();
  /** Take away what was said about an earlier choice. */
  function forget() {
    sayCopied("");
    refuse("");
  }
  let hasOptimizer = true; // false if the step shown has parameters and no state of an optimizer
  const budgetNow = () => ({ bytes: state.wanted, label: totalText(all()[state.table], state.wanted), device: false });
  const target_ = () => targetOf(model) ?? budgetNow();

  /** Ask for the sizes of the sliders. The memory asked about stays. */
  function resize() {
    asking = false;
    actions.resize(sliders.map((one) => one.value()), target_().bytes);
  }

  function resizeSoon() {
    clearTimeout(timer);
    timer = setTimeout(resize, PAUSE);
  }

  /** What the sentence and the code are about. */
  function facts() {
    const sizes = model.get("_sizes");
    const given = all().find((table) => table?.objective === "given") ?? null;
    return { table: all()[state.table], given, target: target_(), base, unit: graph.timeUnit, model: graph.script.model, axes: sizes.axes, now: sizes.now, searching: Boolean(model.get("_searching")), bound: state.bound };
  }

  const words = () => fitSentence(facts());
  /** The table from which a device chooses. */
  const curve = () => all()[curveOf(all(), state.table)];

  /** Choose a device: the budget becomes its memory, or what keep-all needs if this is less. */
  function aim(target) {
    forget();
    aimAt(model, target);
    const row = rowFor(curve(), target.bytes);
    if (target.bytes < keepAllTotal(curve())) actions.typed(target.bytes);
    else actions.row(row);
    actions.changed();
  }

  const keepHeight = heightKeeper(sentence, root); // in a narrow view, the longest sentence so far has room; in others, a fixed number of lines
  /** A sentence that is scrolled can be reached by the keyboard. */
  function letScroll() {
    sentence.title = sentence.textContent;
    if (sentence.scrollHeight > sentence.clientHeight + 1) sentence.tabIndex = 0;
    else sentence.removeAttribute("tabindex");
  }

  const measuring = afterFrame(() => {
    keepHeight();
    letScroll();
  });

  return {
    /** Show the state of the Explorer and of a resizing. @param reply the reply shown; @param silent whether the kernel does not answer */
    update(next, reply, silent) {
      const { categories } = reply;
      state = next;
      if (about !== subject()) forget();
      about = subject();
      const has = (category) => categories.some(({ number }) => number === category);
      hasOptimizer = has(CATEGORY.optimizer) || !has(CATEGORY.parameter);
      const table = all()[state.table];
      const target = target_();
      const known = {
        searching: Boolean(model.get("_searching")),
        unsearched: Boolean(next.unsearched) && table.base < 0 && table.objective !== "given",
        fixed: categories.reduce((sum, category) => sum + (category.fixed ? category.bytes : 0), 0),
      };
      for (const { bytes, button } of buttons) {
        const { mark, words: meaning, fits } = fitMark(curve(), bytes, base, known);
        setText(button, `${formatDecimal(bytes)} ${mark}`);
        button.dataset.fits = fits;
        const name = `${formatDecimal(bytes)}: ${meaning}`;
        if (button.getAttribute("aria-label") !== name) {
          button.title = `${formatDecimal(bytes)} (${formatBytes(bytes)}): ${meaning}`;
          button.setAttribute("aria-label", name);
        }
        button.setAttribute("aria-pressed", String(target.device && target.bytes === bytes));
      }
      label = codeLabel(table, target, known.searching);
      showLabel();
      showOwn(target);
      const { axes: traced, now: shown } = model.get("_sizes");
      setText(sentence, [words(), leftOut(hasOptimizer), sizesFrom(traced, shown)].filter(Boolean).join("; "));
      root.classList.toggle("rv-fit-interim", known.searching && table.overheads[next.row] > 0); // grey, as the numbers of the header
      setText(little, model.get("_searching") ? "" : table.little);
      little.hidden = little.textContent === "";
      root.classList.toggle("rv-fit-not", rowFor(table, target.bytes) < 0 && !model.get("_searching"));
      const sizes = model.get("_sizes");
      const asked = sizes.state === "working";
      const working = asked && !silent;
      bar.hidden = stop.hidden = !working;
      bar.value = sizes.fraction;
      root.classList.toggle("rv-fit-working", working);
      const wanted = sliders.map((one) => one.value());
      const estimate = estimateText({ table, fixed: bytesOfAnySize(reply), axes: sizes.axes, now: sizes.now, asked: wanted });
      if (working) setText(sentence, [`${sizesText(sizes.axes, wanted)}: ${sizes.text} …`, estimate].filter(Boolean).join(" "));
      else if (asked) setText(sentence, UNANSWERED);
      else if (sizes.state === "failed") setText(sentence, sizes.text);
      if (next.settled) measuring.ask(); // once a drag has ended
    },
    /** Put the sliders back on the sizes shown, after a resizing failed or was cancelled. */
    reset: () => asking || setSizes(model.get("_sizes").now),
    /** What the user is typing and the sizes asked for, for a view that is made anew. */
    entry: () => ({ text: own.value === written ? null : own.value, refusal: note.textContent, asking, sizes: sliders.map((one) => one.value()) }),
    restore({ text, refusal, asking: waits, sizes }, sameStep) {
      if (waits || model.get("_sizes").state === "working") setSizes(sizes);
      if (waits) {
        asking = true;
        resizeSoon();
      }
      if (text === null || !sameStep) return;
      own.value = text;
      refuse(refusal);
    },
    destroy: () => {
      clearTimeout(timer);
      measuring.cancel();
      release();
    },
  };
}
