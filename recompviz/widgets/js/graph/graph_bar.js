// The bar above the graph (search, colouring, modules, direction, zoom) and the legend under it.

import { html, svg, listeners } from "../shared/elements.js";
import { COLOURINGS, HUES, LEVELS, quantityText } from "./colouring.js";
import { makeSearchBox } from "./search_box.js";

const DIRECTIONS = [
  ["wrapped", "☰", "Wrapped like a text"],
  ["right", "→", "Left to right"],
  ["down", "↓", "Top down"],
];

/** The bar; `actions` { found, go, left, colour, collapse, expand, mode, shapes, zoom, fit }. */
export function makeGraphBar(parent, graph, hasModules, actions) {
  const { listen, release } = listeners();
  const bar = html("div", "rv-bar", parent);
  bar.setAttribute("role", "toolbar");
  bar.setAttribute("aria-label", "Graph");
  const search = makeSearchBox(bar, graph, actions);
  const note = html("div", "rv-graph-note", bar);
  note.setAttribute("role", "status");
  html("span", "rv-gap", bar);
  const button = (text, title, act) => {
    const element = html("button", "rv-button", bar, text);
    element.title = title;
    element.setAttribute("aria-label", title);
    if (act) listen(element, "click", act);
    return element;
  };
  const colour = html("label", "rv-colour", bar, "colour ");
  const select = html("select", "rv-select", colour);
  select.setAttribute("aria-label", "Colour by");
  for (const [value, text] of COLOURINGS) html("option", "", select, text).value = value;
  listen(select, "change", () => actions.colour(select.value));
  listen(select, "keydown", (event) => event.stopPropagation());
  const colourOf = (name) => (select.value = name);
  html("span", "rv-small-gap", bar);
  const collapse = hasModules ? button("▣ modules", "Collapse all modules", actions.collapse) : null;
  const expand = hasModules ? button("⊞ every value", "Expand all modules", actions.expand) : null;
  html("span", "rv-small-gap", bar);
  const shapes = hasModules && graph.nodes.some((node) => node.shape) ? button("⟶ shapes", "Shapes of the values on the lines", () => actions.shapes(shapes.getAttribute("aria-pressed") !== "true")) : null;
  const modes = new Map(DIRECTIONS.map(([mode, text, title]) => [mode, button(text, title, () => actions.mode(mode))]));
  html("span", "rv-small-gap", bar);
  button("+", "Zoom in", () => actions.zoom(1.4));
  button("−", "Zoom out", () => actions.zoom(1 / 1.4));
  button("Fit", "Fit the graph", actions.fit).title = "Fit the graph, where names are legible; again: all of it";
  return {
    note,
    search,
    /** Whether the names of the paper's view are used, and its colouring by segment is offered. */
    theory(on) {
      for (const option of select.options) {
        const [value, text, plain] = COLOURINGS.find(([name]) => name === option.value);
        option.disabled = value === "segment" && !on;
        option.textContent = option.disabled ? "segment (in Paper's view)" : on ? text : (plain ?? text);
      }
    },
    colour: colourOf,
    shapes: (on) => shapes?.setAttribute("aria-pressed", String(on)),
    /** Which direction is shown, and whether everything is open, closed, or neither. */
    show(mode, opened) {
      for (const [name, element] of modes) element.setAttribute("aria-pressed", String(name === mode));
      collapse?.setAttribute("aria-pressed", String(opened === "none"));
      expand?.setAttribute("aria-pressed", String(opened === "all"));
    },
    destroy() {
      search.destroy();
      release();
    },
  };
}

const SCALE_STEP = 14; // pixels, of a class in the scale of a quantity

/** The legend of a colouring; `ends` are the upper ends of a quantity's classes, `timeUnit` the unit of the costs. */
export function drawLegend(legend, id, colouring, ends, hasModules, graph) {
  const { timeUnit } = graph;
  const unneeded = graph.unread?.some((bytes) => bytes > 0);
  legend.replaceChildren();
  const item = (text, draw, width = 26, className = "", before = "") => {
    const element = html("span", `rv-legend-item${className}`, legend);
    element.append(before);
    const key = svg("svg", { width, height: 14, viewBox: `${-width / 2} -7 ${width} 14` }, element);
    key.style.setProperty("--rv-hatch", `url(#${id}-hatch)`);
    for (let i = 0; i < HUES; i++) key.style.setProperty(`--rv-hue-fill-${i}`, `url(#${id}-hue-${i})`);
    draw(key);
    element.append(text);
  };
  const box = (className) => (key) => svg("rect", { x: -11.5, y: -5.5, width: 23, height: 11, rx: 3, class: className }, key);
  if (colouring === "state") {
    item("kept", box("rv-keep"));
    item("recomputed", box("rv-recompute"));
    if (unneeded) item("not needed later", box("rv-unneeded"), 26, " rv-not-theory");
    if (hasModules) {
      item("share of the bytes held for the backward pass", (key) => {
        box("rv-module-key")(key);
        svg("rect", { x: -9, y: -2, width: 18, height: 4, rx: 2, class: "rv-share-ground" }, key);
        svg("rect", { x: -9, y: -2, width: 11, height: 4, rx: 2, class: "rv-share" }, key);
      });
    }
  } else {
    item("solid border: kept", box("rv-key-solid"));
    item("dashed: recomputed", box("rv-key-dashed"));
    if (unneeded) item("grey: not needed later", box("rv-key-unneeded"), 26, " rv-not-theory");
    if (colouring === "segment") for (let i = 0; i < HUES; i++) item(i ? `V${"₂₃₄"[i - 1]}…` : "V₁, V₅…", box(`rv-key-plain rv-hue-${i}`));
    else {
      const [least, most] = [ends[0], ends.at(-1)].map((end) => quantityText(colouring, end, timeUnit));
      const first = LEVELS - ends.length + 1;
      const all = colouring === "bytes" && hasModules ? ", all values; held: for the backward pass" : "";
      item(`${most}, the largest box${all}`, (key) => {
        ends.forEach((_, i) => svg("rect", { x: i * SCALE_STEP - (ends.length * SCALE_STEP) / 2, y: -5.5, width: SCALE_STEP, height: 11, class: `rv-level-${first + i}` }, key));
      }, ends.length * SCALE_STEP, "", ends.length > 1 ? `≤ ${least}` : "");
      item("bar: share of the largest", (key) => {
        box(`rv-key-plain rv-level-${LEVELS}`)(key);
        svg("rect", { x: -9, y: 0.5, width: 9, height: 3, class: `rv-level-bar rv-on-level-${LEVELS}` }, key);
      });
    }
  }
  // these are always there: outlines come and go with the pointer, and a longer legend would move what is below
  item("selected", box("rv-key-picked"), 26, " rv-when-picked");
  item("under the pointer", (key) => {
    box("rv-key-hovered")(key);
    svg("rect", { x: -8, y: -2, width: 16, height: 4, rx: 1, class: "rv-key-inside" }, key);
  }, 26, " rv-when-hovered");
  item("runs at the step read", box("rv-key-step"), 26, " rv-when-running");
  item("faded: not in memory at this step", box("rv-key-faded"), 26, " rv-when-step");
  item("faded: not of this source line", box("rv-key-faded"), 26, " rv-when-line");
  for (const [letter, text] of [["K", "pinned to be kept"], ["R", "pinned to be recomputed"]]) {
    item(text, (key) => (svg("text", { y: 4, class: "rv-key-pin" }, key).textContent = letter), 18, " rv-when-pinned");
  }
  item("① kept by this plan only", box("rv-key-first"), 26, " rv-when-compared");
  item("② by the other only", box("rv-key-second"), 26, " rv-when-compared");
  item("boundary ∂", box("rv-key-boundary"), 26, " rv-theory-only");
  if (colouring !== "segment") {
    item("segments V₁, V₂, …", (key) => {
      svg("rect", { x: -15, y: -7, width: 15, height: 14, class: "rv-band-0" }, key);
      svg("rect", { y: -7, width: 15, height: 14, class: "rv-band-1" }, key);
    }, 30, " rv-theory-only");
  }
}
