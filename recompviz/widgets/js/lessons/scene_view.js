// Draws a scene: the elements from Python, and patches that change them. Mirrors recompviz/widgets/lessons/scene.py.

import { svg } from "../shared/elements.js";

const PICTURE_HEIGHT = 390;
const SMALLEST_SCALE = 0.6;

/** The values of an element under the change of a patch; without a change its own values. */
export function valuesOf(element, change) {
  const [, style, attributes, text] = element;
  return { ...attributes, style, text, ...change };
}

/** Draw a scene into `parent`. Returns { root, nodes, apply(patch) }; calls `go(frame)` for clicks on elements that lead to a frame. */
export function sceneView(parent, scene, go = () => {}, events = null) {
  const root = svg("svg", {
    viewBox: `0 0 ${scene.width} ${scene.height}`,
    role: "group",
    "aria-label": scene.title,
    class: "rv-scene",
  });
  root.style.maxWidth = `${Math.round(scene.width * 1.35)}px`;
  // with its controls, a picture fits a page of 1280 × 720; a very tall one is not made too small to read
  root.style.maxHeight = `max(${PICTURE_HEIGHT}px, 54vh, ${Math.round(scene.height * SMALLEST_SCALE)}px)`;
  const nodes = new Map();
  const elements = new Map();
  for (const element of scene.elements) {
    const [tag, style, attributes, text, key, frame, label, tip] = element;
    const node = svg(tag, { ...attributes, class: `rvt-${style}` }, root);
    if (text) node.textContent = text;
    if (tip) svg("title", {}, node).textContent = tip;
    if (key) {
      nodes.set(key, node);
      elements.set(key, element);
    }
    if (frame >= 0 && events) clickable(node, label, () => go(frame), events);
  }
  parent.append(root);
  let changed = new Set();
  const apply = (patch) => {
    for (const key of new Set([...changed, ...Object.keys(patch)])) {
      const node = nodes.get(key);
      if (!node) continue;
      const { style, text, ...attributes } = valuesOf(elements.get(key), patch[key]);
      const kept = ["rv-click", "rv-choice"].filter((name) => node.classList.contains(name));
      node.setAttribute("class", [`rvt-${style}`, ...kept].join(" "));
      if (node.localName === "text" && node.textContent !== text) node.textContent = text;
      for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
    }
    changed = new Set(Object.keys(patch));
  };
  return { root, nodes, apply };
}

/** Make an SVG element clickable and, if it has a label, usable by keyboard. */
export function clickable(node, label, act, events) {
  node.classList.add("rv-click");
  if (!label) return events.listen(node, "click", act);
  node.setAttribute("role", "button");
  node.setAttribute("tabindex", "0");
  node.setAttribute("aria-label", label);
  events.listen(node, "click", act);
  events.listen(node, "keydown", (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    act(event);
  });
}
