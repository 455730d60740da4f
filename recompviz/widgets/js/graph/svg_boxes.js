// Draws the boxes of a scene as SVG elements. Each has an accessible name; only changed boxes are updated.

import { svg } from "../shared/elements.js";
import { flagClasses, cornerSigns } from "./overlay.js";

const LABEL = 12.5;
const LEAST_LABEL = 11;
let ruler = null;

/** The label that fits a width and its font size, from LEAST_LABEL to LABEL: [text, size]. `measure(text)` is the width at LABEL. */
export function fittedLabel(text, width, measure) {
  const size = Math.min(LABEL, (LABEL * width) / Math.max(1, measure(text)));
  if (size >= LEAST_LABEL) return [text, size];
  const most = (width * LABEL) / LEAST_LABEL;
  let length = text.length - 1;
  while (length > 1 && measure(`${text.slice(0, length)}…`) > most) length--;
  return [`${text.slice(0, length)}…`, LEAST_LABEL];
}

function widthOf(text) {
  ruler ??= document.createElement("canvas").getContext("2d");
  ruler.font = `560 ${LABEL}px system-ui, sans-serif`;
  return ruler.measureText(text).width;
}

/** The renderer of an SVG group; `light` of the layers emphasises lines. */
export function makeSvgBoxes(layer, graph, light) {
  let scene = null;
  let groups = [];
  return {
    draw(next, texts) {
      scene = next;
      layer.replaceChildren();
      groups = scene.items.map((item, b) => {
        const module = item >= graph.count;
        const w = scene.w[b];
        const h = scene.h[b];
        const group = svg("g", { transform: `translate(${scene.x[b]} ${scene.y[b]})`, role: module ? "button" : "graphics-symbol", tabindex: "-1" }, layer);
        svg("rect", { x: -w / 2, y: -h / 2, width: w, height: h, rx: 5 }, group);
        if (module) {
          group.dataset.m = item - graph.count;
          group.setAttribute("aria-expanded", "false");
          svg("rect", { class: "rv-share-ground", x: -w / 2 + 6, y: h / 2 - 8, width: w - 12, height: 4.5, rx: 2 }, group);
          svg("rect", { class: "rv-share", x: -w / 2 + 6, y: h / 2 - 8, width: 0, height: 4.5, rx: 2 }, group);
          svg("text", { class: "rv-box-name", x: -w / 2 + 7, y: -h / 2 + 13 }, group).textContent = texts[b].name;
          if (texts[b].times) {
            svg("text", { class: "rv-box-times", x: w / 2 - 7, y: -h / 2 + 13 }, group).textContent = texts[b].times;
            svg("path", { class: "rv-stack", d: [3, 6].map((d) => `M${-w / 2 + d + 2} ${h / 2 + d}H${w / 2 + d - 3}q3 0 3 -3V${-h / 2 + d + 2}`).join("") }, group);
          }
          svg("text", { class: "rv-box-fact", x: -w / 2 + 7, y: -h / 2 + 25.5 }, group);
        } else {
          group.dataset.v = item;
          const [label, size] = fittedLabel(texts[b].name, w - 3, widthOf);
          svg("text", { y: 4.2, style: `font-size: ${size.toFixed(1)}px` }, group).textContent = label;
        }
        group.setAttribute("class", module ? "rv-node rv-module" : "rv-node");
        return group;
      });
    },
    /** Paint one box: its class, and for a closed module its share and its second line. */
    setStyle(b, style) {
      const group = groups[b];
      group.firstChild.setAttribute("class", style.className);
      if (scene.items[b] >= graph.count) {
        group.childNodes[2].setAttribute("width", ((scene.w[b] - 12) * style.bar).toFixed(1));
        group.querySelector(".rv-box-fact").textContent = style.fact;
      } else if (style.bar !== undefined || group.childNodes.length > 2) {
        let bar = group.querySelector(".rv-level-bar");
        if (!bar && style.bar) bar = svg("rect", { class: "rv-level-bar", x: -scene.w[b] / 2 + 3, y: scene.h[b] / 2 - 4, height: 2.5 }, group);
        bar?.setAttribute("width", ((scene.w[b] - 6) * (style.bar ?? 0)).toFixed(1));
      }
    },
    flag(b, flags) {
      const group = groups[b];
      const module = scene.items[b] >= graph.count;
      group.setAttribute("class", `${module ? "rv-node rv-module" : "rv-node"}${flagClasses(flags)}`);
      const signs = cornerSigns(flags);
      let corner = group.querySelector(".rv-corner");
      if (!corner && signs) corner = svg("text", { class: "rv-corner", x: scene.w[b] / 2 - 1, y: -scene.h[b] / 2 + 3 }, group);
      if (corner) corner.textContent = signs;
    },
    name(b, text) {
      if (groups[b].getAttribute("aria-label") !== text) groups[b].setAttribute("aria-label", text);
    },
    /** The boxes with an accessible name: all, because each is an element. */
    named: () => groups.keys(),
    /** The element of every box. */
    elements: () => groups,
    focus: (b) => groups[b].focus({ preventScroll: true }),
    light,
    /** The elements change when they are set, so nothing is left to paint. */
    paint() {},
    clear: () => layer.replaceChildren(),
  };
}
