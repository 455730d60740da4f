// Predict, then reveal: before a step, the reader draws the next bar of the chart, or marks the values and gradients that
// the step frees. The step then says whether that was right.

import { html } from "../shared/elements.js";
import { clickable } from "./scene_view.js";

/** A size that a reader has drawn, from the height of the pointer above the axis; a multiple of the gauge's grain. */
export function drawnSize(gauge, y) {
  const size = Math.round((gauge.bottom - y) / gauge.scale / gauge.grain) * gauge.grain;
  return Math.min(Math.max(size, 0), gauge.most);
}

/** Whether a prediction is right. Sizes may differ by half a grain, sets must be equal. */
export function isRight(prediction, given, grain = 1) {
  if (prediction.kind === "bar") return Math.abs(given - prediction.answer) <= grain / 2;
  return given.size === prediction.answer.length && prediction.answer.every((key) => given.has(key));
}

/** Mount the questions of a scene. Scenes without predictions have none, and then no checkbox either. */
export function mountPredictor(parent, bar, scene, view, events, on) {
  const questions = scene.predictions ?? [];
  const gauge = scene.gauge;
  parent.hidden = true;
  const idle = () => {};
  if (!questions.some(Boolean)) {
    return { ask: () => ({}), patch: () => ({}), judge: idle, onChange: idle, onReveal: idle, onToggle: idle };
  }
  const label = html("label", "rv-tfield rv-tcheck", bar);
  const toggle = html("input", "", label);
  toggle.type = "checkbox";
  label.append("Predict");
  label.title = "Say before each step what it changes";
  toggle.checked = on;
  const verdict = html("span", "rv-tanswer", parent);
  verdict.setAttribute("role", "status");
  const words = html("span", "", parent);
  const size = html("input", "", parent);
  size.type = "number";
  size.min = 0;
  size.step = "any";
  size.setAttribute("aria-label", "Predicted memory");
  const unit = html("span", "rv-tnote", parent, gauge.unit);
  const reveal = html("button", "rv-tbutton", parent, "Reveal");
  reveal.type = "button";
  const score = html("span", "rv-tnote", parent);
  let shown = 0;
  let given = null; // the size or the set that the reader predicts, null before
  let [right, asked] = [0, 0];
  let calls = { change: idle, reveal: idle, toggle: idle };
  const question = () => (toggle.checked ? questions[shown] : null);

  function patch() {
    const now = question();
    if (!now || given === null) return {};
    if (now.kind === "freed") return Object.fromEntries([...given].map((key) => [key, { style: "marked" }]));
    const [x, width] = gauge.slots[shown + 1];
    const height = given * gauge.scale;
    return { guess: { style: "guess", x, width, y: gauge.bottom - height, height } };
  }

  function ask(frame) {
    shown = frame;
    given = null;
    const now = question();
    parent.hidden = !toggle.checked;
    words.textContent = now?.words ?? "";
    size.hidden = unit.hidden = now?.kind !== "bar";
    size.value = "";
    reveal.hidden = !now;
    for (const key of scene.choices) {
      const choosable = now?.kind === "freed" && now.choices.includes(key);
      view.nodes.get(key).setAttribute("tabindex", choosable ? "0" : "-1");
      view.nodes.get(key).classList.toggle("rv-choice", choosable);
    }
    return {};
  }

  function judge(frame) {
    const now = toggle.checked ? questions[frame] : null;
    verdict.textContent = "";
    if (!now || given === null) return;
    const good = isRight(now, given, gauge.grain);
    asked += 1;
    right += good ? 1 : 0;
    verdict.textContent = good ? `Right: ${now.solution}.` : `Not quite: ${now.solution}.`;
    verdict.classList.toggle("rv-tgood", good);
    score.textContent = `${right} of ${asked} right`;
  }

  function draw(event) {
    const now = question();
    if (now?.kind !== "bar") return false;
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(view.root.getScreenCTM().inverse());
    const [left, right] = [gauge.slots[0][0], gauge.slots.at(-1)[0] + gauge.slots.at(-1)[1]];
    if (at.x < left || at.x > right || at.y < gauge.top - 8 || at.y > gauge.bottom + 8) return false;
    given = drawnSize(gauge, at.y);
    size.value = Number((given / gauge.divisor).toPrecision(4));
    calls.change();
    return true;
  }

  let dragging = false;
  let drawn = false;
  const quiet = (event) => (event.preventDefault(), event.stopPropagation());
  events.listen(view.root, "pointerdown", (event) => (dragging = drawn = draw(event)) && event.preventDefault(), { capture: true });
  events.listen(window, "pointermove", (event) => dragging && draw(event));
  events.listen(window, "pointerup", () => (dragging = false));
  events.listen(view.root, "click", (event) => drawn && (quiet(event), (drawn = false)), { capture: true });
  events.listen(size, "input", () => ((given = size.value === "" ? null : Number(size.value) * gauge.divisor), calls.change()));
  events.listen(size, "keydown", (event) => event.key === "Enter" && !event.shiftKey && (quiet(event), calls.reveal()));
  events.listen(reveal, "click", () => {
    if (question()?.kind === "freed") given ??= new Set(); // nothing is marked: nothing is freed
    calls.reveal();
  });
  events.listen(toggle, "change", () => calls.toggle());
  for (const key of scene.choices) {
    const mark = () => {
      const now = question();
      if (now?.kind !== "freed" || !now.choices.includes(key)) return;
      given ??= new Set();
      if (!given.delete(key)) given.add(key);
      calls.change();
    };
    const node = view.nodes.get(key);
    clickable(node, node.querySelector("title")?.textContent ?? key, mark, events);
    node.classList.remove("rv-click");
    node.setAttribute("tabindex", "-1");
  }
  return {
    ask,
    patch,
    judge,
    onChange: (call) => (calls.change = call),
    onReveal: (call) => (calls.reveal = call),
    onToggle: (call) => (calls.toggle = call),
  };
}
