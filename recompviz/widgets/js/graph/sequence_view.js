// The panel of the lower sets of a plan: sizes of L_i, V_i, U_i and the boundary, and the four terms of the peak formula
// as numbers and as a chart with one column per segment.

import { html, svg, listeners, setText } from "../shared/elements.js";
import { formatBytes, subscript } from "../shared/units.js";

const TERMS = ["M(Uᵢ₋₁) cache", "2M(Vᵢ) segment", "M(δ⁺(Lᵢ)∖Lᵢ) gradients", "M(δ⁻(δ⁺(Lᵢ))∖Lᵢ) needed"];
const TERM_CHART = { width: 300, height: 44 };
// more columns would be thinner than a pixel: each column then shows the maximum of several segments
const MOST_COLUMNS = 150;

/** The panel; calls `choose(i)` with i from 1, or with 0 to close it. */
export function makeSequenceView(parent, toggle, choose) {
  const { listen, release } = listeners();
  const root = html("section", "rv-sequence", parent);
  root.hidden = true;
  root.setAttribute("aria-label", "Lower sets of the plan");
  const left = html("div", "rv-sequence-left", root);
  const head = html("div", "rv-sequence-head", left);
  const button = (text, title, act) => {
    const element = html("button", "rv-button", head, text);
    element.setAttribute("aria-label", title);
    element.title = title;
    listen(element, "click", act);
    return element;
  };
  const before = button("◀", "Previous lower set", () => choose(Math.max(1, index - 1)));
  const where = html("strong", "rv-sequence-where", head);
  where.setAttribute("role", "status");
  const after = button("▶", "Next lower set", () => choose(index + 1));
  const peakButton = button("to the peak", "Lower set at the formula's peak", () => choose(sequence.peak + 1));
  const note = html("div", "rv-muted rv-sequence-note", left);
  const facts = html("div", "rv-sequence-facts", left);
  const chart = svg("svg", { class: "rv-sequence-chart", viewBox: `0 0 ${TERM_CHART.width} ${TERM_CHART.height}`, preserveAspectRatio: "none", role: "img" }, root);
  const terms = html("dl", "rv-terms", root);
  const values = TERMS.map((name, t) => {
    const term = html("dt", "", terms);
    html("span", `rv-term-key rv-term-${t}`, term);
    term.append(name);
    return html("dd", "", terms);
  });
  html("dt", "rv-term-sum", terms, "sum, formula bytes");
  values.push(html("dd", "rv-term-sum", terms));
  let sequence = null;
  let index = 0;

  function draw() {
    chart.replaceChildren();
    const k = sequence.steps.length;
    const most = Math.max(...sequence.steps.map((step) => step.total), 1);
    const columns = Math.min(k, MOST_COLUMNS);
    for (let c = 0; c < columns; c++) {
      let best = Math.floor((c * k) / columns);
      for (let i = best; i < Math.floor(((c + 1) * k) / columns); i++) if (sequence.steps[i].total > sequence.steps[best].total) best = i;
      const chosen = index - 1 >= Math.floor((c * k) / columns) && index - 1 < Math.max(1, Math.floor(((c + 1) * k) / columns));
      const shown = chosen ? index - 1 : best;
      const x = (c * TERM_CHART.width) / columns;
      const w = Math.max(0.8, TERM_CHART.width / columns - (columns < 80 ? 1 : 0.2));
      let y = TERM_CHART.height;
      const column = svg("g", { class: chosen ? "rv-column rv-chosen" : "rv-column" }, chart);
      column.dataset.i = shown + 1;
      svg("rect", { x, y: 0, width: w, height: TERM_CHART.height, class: "rv-column-ground" }, column);
      sequence.steps[shown].terms.forEach((bytes, t) => {
        const h = (bytes / most) * (TERM_CHART.height - 4);
        y -= h;
        svg("rect", { x, y, width: w, height: h, class: `rv-term-${t}` }, column);
      });
    }
    chart.setAttribute("aria-label", `Formula bytes of ${k} segments, most at segment ${sequence.peak + 1}`);
  }

  function show() {
    root.hidden = !index;
    toggle.setAttribute("aria-pressed", String(index > 0));
    if (!index) return;
    const step = sequence.steps[index - 1];
    const i = subscript(index);
    setText(where, `L${i} of ${sequence.steps.length}`);
    // aria-disabled, because a disabled button would lose the focus and with it the keys
    for (const [element, off] of [[before, index === 1], [after, index === sequence.steps.length], [peakButton, index === sequence.peak + 1]]) {
      element.setAttribute("aria-disabled", String(off));
    }
    setText(note, sequence.canonical ? (index === sequence.peak + 1 ? "the peak of the formula" : "") : "not a lower-set sequence: any set of values may be kept; Lᵢ are the prefixes whose boundary is kept");
    const kinds = [`L${i} ${step.size} values`, `V${i} ${step.members}`, `∂(L${i}) ${step.boundary} · ${formatBytes(step.boundaryBytes)}`, `U${i} ${formatBytes(step.held)}`];
    facts.replaceChildren(...kinds.map((text, n) => html("span", `rv-fact rv-fact-${n}`, null, text)));
    step.terms.forEach((bytes, t) => setText(values[t], formatBytes(bytes)));
    for (let t = 0; t < 4; t++) values[t].dataset.bytes = step.terms[t];
    setText(values[4], formatBytes(step.total));
    values[4].dataset.bytes = step.total;
    draw();
  }

  listen(toggle, "click", () => choose(index ? 0 : 1));
  listen(chart, "click", (event) => {
    const i = Number(event.target.closest?.("[data-i]")?.dataset.i ?? 0);
    if (i) choose(i);
  });
  listen(root, "keydown", (event) => {
    const next = { ArrowLeft: Math.max(1, index - 1), ArrowRight: index + 1, Home: 1, End: sequence?.steps.length }[event.key];
    if (event.key === "Escape") choose(0);
    else if (next === undefined) return;
    else choose(next);
    event.preventDefault();
    event.stopPropagation();
  });

  return {
    update(nextSequence, nextIndex) {
      sequence = nextSequence;
      index = nextIndex;
      show();
    },
    focus: () => after.focus({ preventScroll: true }),
    destroy: release,
  };
}
