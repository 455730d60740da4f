// Draws the boxes of a scene as SVG elements. Each has an accessible name; only changed boxes are updated.

import { svg } from "../shared/elements.js";
import { flagClasses, cornerSigns } from "./overlay.js";
import { LEGIBLE, NAMED, TWO_LINES } from "./graph_window.js";
import { fittingText } from "./box_style.js";

const LABEL = 12.5; // px
export const LABEL_MARGIN = 6; // px of the world, of a label beside the borders of its box
const NARROWEST = 0.68; // of the natural width of a label
const LEAST_NAME = 11; // px on the screen
const BESIDE = 10; // px between a name and the text beside it
const FACT = 11; // px on the screen, as in modules.css
const LABEL_FITS = 16; // labels are fitted again in this many steps of the scale
const LEAST_NAME_SCALE = 0.4; // the box is lower than its name at a smaller scale
const LEAST_LETTERS = 3; // of a shortened name
let ruler = null;

/** The label that fits a width, and the width to which it is narrowed, or 0: [text, narrowed]. `measure(text)` is its natural width. */
export function fittedLabel(text, width, measure) {
  const natural = measure(text);
  if (natural <= width) return [text, 0];
  if (NARROWEST * natural <= width) return [text, width];
  const shortened = (length) => `${text.slice(0, length)}…`;
  let length = text.length - 1;
  while (length > 1 && NARROWEST * measure(shortened(length)) > width) length--;
  return [shortened(length), Math.min(width, measure(shortened(length)))];
}

/**
 * The name of a closed module that fits a width: whole, without the numbers of the blocks that it folds, or cut at its end;
 * "" if only a few letters fit. `measure(text)` is the width of a text.
 */
export function fittedName(name, width, measure) {
  const short = name.replace(/\.\d+–\d+$/, "");
  const fits = [name, short].find((text) => measure(text) <= width);
  if (fits) return fits;
  for (let length = short.length - 1; length >= LEAST_LETTERS; length--) {
    const cut = `${short.slice(0, length)}…`;
    if (measure(cut) <= width) return cut;
  }
  return "";
}

/** The natural width of a label of a box. */
export function widthOf(text) {
  return measured(text, `560 ${LABEL}px`);
}

function measured(text, font) {
  ruler ??= document.createElement("canvas").getContext("2d");
  ruler.font = `${font} system-ui, sans-serif`;
  return ruler.measureText(text).width;
}

/** Write the label of a value. @param share of its width for letters that do not become smaller with the box */
function writeLabel({ text, name, w }, share) {
  const [label, narrowed] = fittedLabel(name, (w - LABEL_MARGIN) * share, widthOf);
  text.textContent = label;
  if (narrowed) {
    text.setAttribute("textLength", (narrowed / share).toFixed(1));
    text.setAttribute("lengthAdjust", "spacingAndGlyphs");
  } else text.removeAttribute("textLength");
}

/** The renderer of an SVG group; `light` of the layers emphasises lines. */
export function makeSvgBoxes(layer, graph, light) {
  let scene = null;
  let groups = [];
  const names = new Map(); // closed box → { title, name, w, times }: its name, and the width that the number of folded blocks takes at LABEL
  let labels = []; // of each value: { text, name, w }
  let fitted = 1; // the share of the width of a box that its label has at the scale of the last fit
  let factScale = 1; // the scale at which the second lines are fitted
  const facts = new Map(); // closed box → its second lines, the longest first
  const factWidth = (text) => measured(text, `450 ${FACT}px`);
  function writeFact(b) {
    // letters keep their size on the screen
    const room = (scene.w[b] - 14) * factScale;
    const fact = groups[b].querySelector(".rv-box-fact");
    const { title, times } = names.get(b);
    const sign = (times * LEAST_NAME) / LABEL;
    // without room for a second line, the shortest of its texts is beside the name
    const beside = factScale < TWO_LINES && widthOf(title.textContent) * (LEAST_NAME / LABEL) + sign + BESIDE + factWidth(facts.get(b).at(-1)) <= room;
    fact.textContent = beside ? facts.get(b).at(-1) : fittingText(facts.get(b), room, factWidth);
    fact.classList.toggle("rv-beside", beside);
    fact.setAttribute("x", beside ? scene.w[b] / 2 - 7 - sign / factScale : -scene.w[b] / 2 + 7);
    fact.setAttribute("y", -scene.h[b] / 2 + (beside ? 13 : 25.5));
  }
  return {
    draw(next, texts) {
      scene = next;
      names.clear();
      labels = [];
      fitted = 1;
      facts.clear();
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
          const title = svg("text", { class: "rv-box-name", x: -w / 2 + 7, y: -h / 2 + 13 }, group);
          title.textContent = texts[b].name;
          names.set(b, { title, name: texts[b].name, w, times: texts[b].times ? widthOf(texts[b].times) + 8 : 0 });
          if (texts[b].times) {
            svg("text", { class: "rv-box-times", x: w / 2 - 7, y: -h / 2 + 13 }, group).textContent = texts[b].times;
            svg("path", { class: "rv-stack", d: [3, 6].map((d) => `M${-w / 2 + d + 2} ${h / 2 + d}H${w / 2 + d - 3}q3 0 3 -3V${-h / 2 + d + 2}`).join("") }, group);
          }
          svg("text", { class: "rv-box-fact", x: -w / 2 + 7, y: -h / 2 + 25.5 }, group);
        } else {
          group.dataset.v = item;
          labels.push({ text: svg("text", { y: "0.336em" }, group), name: texts[b].name, w });
          writeLabel(labels.at(-1), 1);
        }
        group.setAttribute("class", module ? "rv-node rv-module" : "rv-node");
        return group;
      });
    },
    /** Shorten the labels of values and the names of closed modules to the room at this scale, where letters do not become smaller; hide the names that have none. */
    fitNames(scale) {
      const share = scale < NAMED ? fitted : Math.min(1, Math.floor((LABEL_FITS * scale) / LEGIBLE) / LABEL_FITS);
      if (share !== fitted) for (const label of labels) writeLabel(label, share);
      fitted = share;
      for (const { title, name, w, times } of names.values()) {
        const room = ((w - 14) * scale * LABEL) / LEAST_NAME - times;
        const fits = scale >= LEGIBLE ? name : scale < LEAST_NAME_SCALE ? "" : fittedName(name, room, widthOf);
        title.classList.toggle("rv-nameless", !fits);
        if (title.textContent !== (fits || name)) title.textContent = fits || name;
      }
      if (factScale === scale) return;
      factScale = scale;
      for (const b of facts.keys()) writeFact(b);
    },
    /** Paint one box: its class, and for a closed module its share and its second line. */
    setStyle(b, style) {
      const group = groups[b];
      group.firstChild.setAttribute("class", style.className);
      if (scene.items[b] >= graph.count) {
        group.childNodes[2].setAttribute("width", ((scene.w[b] - 12) * style.bar).toFixed(1));
        facts.set(b, style.facts);
        writeFact(b);
      } else if (style.bar !== undefined || group.childNodes.length > 2) {
        let bar = group.querySelector(".rv-level-bar");
        if (!bar && style.bar) bar = svg("rect", { class: "rv-level-bar", x: -scene.w[b] / 2 + 3, y: scene.h[b] / 2 - 4, height: 2.5 }, group);
        bar?.setAttribute("width", ((scene.w[b] - 6) * (style.bar ?? 0)).toFixed(1));
      }
    },
    /** @param counts of `differing`, for a closed module */
    flag(b, flags, counts) {
      const group = groups[b];
      const module = scene.items[b] >= graph.count;
      group.setAttribute("class", `${module ? "rv-node rv-module" : "rv-node"}${flagClasses(flags)}`);
      const signs = cornerSigns(flags, counts);
      let corner = group.querySelector(".rv-corner");
      if (!corner && signs) corner = svg("text", { class: "rv-corner", x: scene.w[b] / 2 + 6, y: -scene.h[b] / 2 + 3 }, group);
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
