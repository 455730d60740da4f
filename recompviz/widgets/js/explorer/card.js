// The card of a node: its operator, module and source, its size and cost, its state in the plan, and its pin. It floats
// beside a node under the pointer. While a node is selected, it has a place in the graph where it covers no box, or else below
// the graph: the graph keeps its place, its size and its texts.

import { html, listeners, setName, setText } from "../shared/elements.js";
import { costWithUnit } from "../data/base_time.js";
import { STATE, STATE_NAMES } from "../data/value_states.js";
import { costUnit } from "./header.js";
import { stateChip } from "./state_chip.js";
import { formatBytes, subscript } from "../shared/units.js";

/** The rows of the card as [name, value]; `state.theory` says whether the paper's notions are among them. */
export function cardRows(graph, v, state, lower, boundary) {
  const node = graph.nodes[v];
  const [place, line] = node.source.split("\t");
  const rows = [
    ["operator", [node.op, inGraph(node)].filter(Boolean).join(", ")],
    ["module", node.module],
    ["source", [shortPlace(place), line?.trim()].filter(Boolean).join("\n")],
    ["value", [node.shape, node.dtype].filter(Boolean).join(" ")],
    [state.theory ? "size Mᵥ" : "size", `${formatBytes(graph.memory[v])}${state.theory ? " (formula bytes)" : ""}`],
    ["held", heldText(graph, v, state.is, state.pin)],
    [state.theory ? "cost Tᵥ" : costUnit(graph.timeUnit).time ? "time" : "cost", `${costWithUnit(graph.time[v], graph.timeUnit)}${/ \(\w+\)$/.exec(costUnit(graph.timeUnit).time ? graph.timeUnit : "")?.[0] ?? ""}`],
    ["segment", state.theory && `V${subscript(state.segment)} of ${state.segmentCount}`],
    ["Lᵛ", state.theory && `${lower} of ${graph.count} values, boundary ${boundary}`],
  ];
  return rows.filter(([, value]) => value);
}

/** The label of the box of a value if it is not a part of the value's name: "linear" for "addmm". */
function inGraph({ key, label }) {
  return !label || key.includes(label) ? "" : `in the graph: ${label}`;
}

/** Why memory does not hold a value until a backward call reads it, or "" if it does. @param state of value_states.js; @param pin 1 if it is pinned to be kept */
function heldText(graph, v, state, pin) {
  if (state === STATE.unneeded) return `until its last use in the forward pass: nothing reads it later${pin === 1 ? ", so the pin has no effect" : ""}`;
  return state === STATE.kept && graph.unread?.[v] ? "only for recomputation: no backward call reads it" : "";
}

/** One line about a node under the pointer, or what to do if there is none. @param there the states by the plan compared with, or null */
export function nodeReading(graph, v, states, there) {
  if (v < 0) return "point at a box to read it here; click it for all about it";
  const other = there === null ? "" : there[v] === states[v] ? ", by both plans" : `, by the other plan ${STATE_NAMES[there[v]]}`;
  const unread = states[v] === STATE.kept && graph.unread?.[v] ? ", no backward call reads it" : "";
  return [graph.nodes[v].key, `${STATE_NAMES[states[v]]}${other}${unread}`, formatBytes(graph.memory[v]), costWithUnit(graph.time[v], graph.timeUnit), graph.nodes[v].shape].filter(Boolean).join(" · ");
}

/** The last two parts of a path: "…/networks/_resnet.py:56". */
export function shortPlace(place) {
  const parts = place.split("/");
  return parts.length > 2 ? `…/${parts.slice(-2).join("/")}` : place;
}

const WIDTHS = [300, 440]; // pixels, of a card in the graph: a wider one is less high

/**
 * The card: `show(v, …)` places it beside a rectangle of `frame`, `hide()` hides it.
 * @param actions { pin(v, 1 to keep or −1 to recompute), line(source, card), close() }
 */
export function makeCard(frame, graph, actions) {
  const { listen, release } = listeners();
  const card = html("div", "rv-card", frame);
  card.setAttribute("role", "tooltip");
  const head = html("div", "rv-card-head", card);
  const controls = html("div", "rv-card-pins", card);
  controls.setAttribute("role", "group");
  controls.setAttribute("aria-label", "Pin this value");
  let shown = -1;
  let place; // in the graph, of the card of a selected node; null if none is free, undefined until it was looked for
  let room = { high: 0, wide: 0 }; // the height that the card has needed below the graph since a node was selected, at its width
  const buttons = [[1, "must be kept (K)"], [-1, "must be recomputed (R)"]].map(([direction, text]) => {
    const button = html("button", "rv-button", controls, text);
    listen(button, "click", () => actions.pin(shown, direction));
    return [direction, button];
  });
  const cost = html("div", "rv-card-pinned", card);
  cost.setAttribute("role", "status");
  const what = html("div", "rv-card-what", card);
  const foot = html("div", "rv-card-foot", card);
  const away = html("button", "rv-button rv-card-away", null, "×");
  away.setAttribute("aria-label", "Close: deselect this value");
  away.title = "deselect (Esc)";
  listen(away, "click", actions.close);
  listen(what, "click", (event) => event.target.closest("button") && actions.line(graph.nodes[shown].source, card));
  /** A place in the graph and a size, { left, top, width, height }, or null. */
  function findPlace(spot) {
    for (const width of WIDTHS) {
      card.style.width = `${width}px`;
      const size = { width, height: card.offsetHeight };
      const found = spot(size, place ?? null);
      if (found) return { ...size, ...found };
    }
    return null;
  }

  /** Give the card of a selected node its place. Another node under the pointer is read there, and changes neither place nor height. */
  function dock(selected, spot) {
    card.classList.add("rv-inside");
    if (selected || place === undefined) place = findPlace(spot);
    if (place) {
      for (const [name, value] of Object.entries(place)) card.style[name] = `${value}px`;
      return;
    }
    card.classList.remove("rv-inside");
    card.removeAttribute("style");
    const wide = card.offsetWidth;
    if (selected || wide !== room.wide) room = { wide, high: Math.max(wide === room.wide ? room.high : 0, card.offsetHeight) };
    card.style.height = `${room.high}px`;
  }

  return {
    root: card,
    /** The height that the card covers below the boxes, in pixels. */
    get below() {
      return card.matches(".rv-there.rv-selected:not(.rv-inside)") ? card.offsetHeight : 0;
    },
    /**
     * @param state { is, one of value_states.js, segment, segmentCount, pin, pinWords, canPin, theory }; @param docked whether a node is selected
     * @param spot({ width, height }, before) where a card of this size covers no box: { left, top } in the graph, or null; `before` is kept if it is free
     */
    show(v, rectangle, state, lower, boundary, selected, docked, spot) {
      shown = v;
      head.replaceChildren();
      what.replaceChildren();
      stateChip(head, state.is);
      setName(html("strong", "", head), graph.nodes[v].key);
      if (selected) head.append(away);
      const list = html("dl", "", what);
      for (const [name, value] of cardRows(graph, v, state, lower, boundary)) {
        html("dt", "", list, name);
        const detail = html("dd", name === "source" ? "rv-source" : "", list);
        setName(detail, value);
        if (name === "source" && selected) {
          html("button", "rv-link", detail, " all values of this line");
        }
      }
      controls.hidden = !selected || !state.canPin;
      for (const [direction, button] of buttons) button.setAttribute("aria-pressed", String(state.pin === direction));
      setText(cost, selected ? state.pinWords : "");
      cost.hidden = cost.textContent === "";
      foot.textContent = selected ? "selected: click it again or press Esc to deselect it" : "";
      foot.hidden = !selected;
      card.classList.add("rv-there");
      card.classList.toggle("rv-selected", docked);
      // it has controls while it is docked, which a tooltip must not have
      card.setAttribute("role", docked ? "region" : "tooltip");
      if (docked) card.setAttribute("aria-label", "Selected value");
      else card.removeAttribute("aria-label");
      card.removeAttribute("style"); // its natural width must not depend on where it was before
      if (docked) return dock(selected, spot);
      card.classList.remove("rv-inside");
      const { width, height } = card.getBoundingClientRect();
      const left = rectangle.right + 10 + width <= frame.clientWidth ? rectangle.right + 10 : rectangle.left - 10 - width;
      const top = Math.min(Math.max(6, rectangle.top - 10), Math.max(6, frame.clientHeight - height - 6));
      // beside the node where there is room, so that it does not cover the node
      card.style.left = `${Math.max(6, left)}px`;
      card.style.top = `${top}px`;
    },
    hide() {
      room = { high: 0, wide: 0 };
      card.classList.remove("rv-there", "rv-selected", "rv-inside");
      place = undefined;
    },
    destroy: release,
  };
}
