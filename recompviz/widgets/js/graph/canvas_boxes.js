// Paints a box for each node of a large scene, and its lines, on a canvas: updating thousands of elements would take
// longer than a frame. Only what is visible is painted; all boxes of one style form one path.

import { svg } from "../shared/elements.js";
import { cornerSigns, FLAG } from "./overlay.js";
import { SHAPE_FONT } from "./edge_shapes.js";
import { HUES, LEVELS } from "./colouring.js";
import { LEGIBLE, NAMED } from "./graph_window.js";
import { fittedLabel, widthOf, LABEL_MARGIN } from "./svg_boxes.js";

// the scale below which boxes have no border and no hatch
const BORDERS = 0.25;
const MARKED = FLAG.boundary | FLAG.picked | FLAG.step | FLAG.onlyFirst | FLAG.onlySecond | FLAG.segment | FLAG.hit | FLAG.hovered | FLAG.pinKeep | FLAG.pinRecompute | FLAG.cached;
const COLOUR_NAMES = ["keep", "keep-line", "on-keep", "recompute", "recompute-ground", "recompute-hatch", "on-recompute", "edge", "text", "muted", "accent", "cursor", "good", "second", "surface", "module-ground", "on-hue", "band-0", "band-1"];

/** The renderer of the canvas, which lies under the SVG. The focused box has an element in `layer`. */
export function makeCanvasBoxes(canvas, layer, graph) {
  const pen = canvas.getContext("2d");
  let scene = null;
  let texts = [];
  let styles = [];
  let flags = new Uint16Array(0);
  let counts = []; // of `differing`, for closed modules
  let camera = { scale: 1, x: 0, y: 0 };
  let view = { width: 0, height: 0 };
  let colours = null;
  let hatch = null;
  let lines = null;
  let lit = null;
  let faded = false; // the lines that are not lit
  // only an element can have the focus; each focused box gets a new one, so that screen readers announce every move
  const standIns = [];
  let focused = -1;
  const fitting = new Map(); // label → as much of it as fits into the box of a node

  function standIn(b) {
    const module = scene.items[b] >= graph.count;
    const group = svg("g", { class: "rv-stand-in", transform: `translate(${scene.x[b]} ${scene.y[b]})`, role: module ? "button" : "graphics-symbol", tabindex: "-1" });
    if (module) group.setAttribute("aria-expanded", "false");
    group.dataset[module ? "m" : "v"] = module ? scene.items[b] - graph.count : scene.items[b];
    svg("rect", { x: -scene.w[b] / 2, y: -scene.h[b] / 2, width: scene.w[b], height: scene.h[b], rx: 5 }, group);
    return group;
  }

  function readColours() {
    const style = getComputedStyle(canvas);
    colours = Object.fromEntries(COLOUR_NAMES.map((name) => [name, style.getPropertyValue(`--rv-${name}`).trim()]));
    for (let i = 0; i <= LEVELS; i++) for (const name of [`level-${i}`, `on-level-${i}`]) colours[name] = style.getPropertyValue(`--rv-${name}`).trim();
    for (let i = 0; i < HUES; i++) colours[`hue-${i}`] = style.getPropertyValue(`--rv-hue-${i}`).trim();
    const tile = document.createElement("canvas");
    tile.width = tile.height = 12;
    const p = tile.getContext("2d");
    p.fillStyle = colours["recompute-ground"];
    p.fillRect(0, 0, 12, 12);
    p.strokeStyle = colours["recompute-hatch"];
    p.lineWidth = 4;
    p.beginPath();
    for (const d of [-12, 0, 12]) {
      p.moveTo(d - 2, 14);
      p.lineTo(d + 14, -2);
    }
    p.stroke();
    hatch = pen.createPattern(tile, "repeat");
    hatch.setTransform?.(new DOMMatrix().scale(0.5));
  }

  function groundOf(style) {
    if (style.level !== undefined) return colours[`level-${style.level}`];
    if (style.hue !== undefined) return colours[`hue-${style.hue}`];
    if (style.empty) return colours["module-ground"];
    return style.kept ? colours.keep : camera.scale < BORDERS ? colours.recompute : hatch;
  }

  function paint() {
    if (!scene || !view.width) return;
    if (!colours) readColours();
    const ratio = Math.min(2, globalThis.devicePixelRatio || 1);
    const width = Math.round(view.width * ratio);
    const height = Math.round(view.height * ratio);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, width, height);
    pen.setTransform(ratio * camera.scale, 0, 0, ratio * camera.scale, ratio * camera.x, ratio * camera.y);
    const left = -camera.x / camera.scale;
    const top = -camera.y / camera.scale;
    const right = left + view.width / camera.scale;
    const bottom = top + view.height / camera.scale;
    const near = camera.scale >= BORDERS;
    const seen = [];
    for (let b = 0; b < scene.items.length; b++) {
      if (scene.x[b] + 40 >= left && scene.x[b] - 40 <= right && scene.y[b] + 40 >= top && scene.y[b] - 40 <= bottom) seen.push(b);
    }
    const groups = new Map();
    const put = (key, draw, b) => {
      if (!groups.has(key)) groups.set(key, { draw, boxes: [] });
      groups.get(key).boxes.push(b);
    };
    for (const tint of [0, 1]) {
      pen.fillStyle = colours[`band-${tint}`];
      for (const b of seen) if (styles[b]?.tint === tint) pen.fillRect(scene.x[b] - 23.2, scene.y[b] - scene.h[b] / 2 - 4.5, 46.4, scene.h[b] + 9);
    }
    pen.strokeStyle = colours.edge;
    pen.lineWidth = Math.max(1.3, 0.5 / camera.scale);
    pen.globalAlpha = lit && faded ? 0.3 : 1;
    if (camera.scale > 0.12) pen.stroke(lines);
    pen.globalAlpha = 1;
    if (lit) {
      pen.strokeStyle = colours.text;
      pen.stroke(lit);
    }
    for (const b of seen) {
      const style = styles[b];
      if (!style) continue;
      const faint = flags[b] & (FLAG.outside | FLAG.notAlive) ? 1 : 0;
      put(`${style.empty ?? ""}${style.kept}${style.level}${style.hue}${faint}`, { style, faint }, b);
    }
    for (const { draw, boxes } of groups.values()) {
      pen.globalAlpha = draw.faint ? 0.2 : 1;
      pen.fillStyle = groundOf(draw.style);
      pen.strokeStyle = draw.style.empty ? colours.muted : draw.style.kept ? colours["keep-line"] : colours.recompute;
      pen.lineWidth = 1.4;
      pen.setLineDash(draw.style.kept || draw.style.empty ? [] : [3.5, 2]);
      pen.beginPath();
      for (const b of boxes) {
        const x = scene.x[b] - scene.w[b] / 2;
        const y = scene.y[b] - scene.h[b] / 2;
        if (near) pen.roundRect(x, y, scene.w[b], scene.h[b], 5);
        else pen.rect(x, y, scene.w[b], scene.h[b]);
      }
      pen.fill();
      if (near) pen.stroke();
    }
    pen.setLineDash([]);
    // the share of kept bytes of a closed module, over the rest
    pen.fillStyle = colours.keep;
    for (const b of seen) {
      if (scene.items[b] < graph.count || !styles[b]?.bar || styles[b].level !== undefined) continue;
      pen.globalAlpha = flags[b] & (FLAG.outside | FLAG.notAlive) ? 0.2 : 1;
      pen.fillRect(scene.x[b] - scene.w[b] / 2 + 4, scene.y[b] + scene.h[b] / 2 - 8, (scene.w[b] - 8) * styles[b].bar, 6);
    }
    pen.globalAlpha = 1;
    for (const b of seen) if (flags[b] & MARKED) drawMarks(b);
    if (camera.scale >= LEGIBLE && scene.shapes) {
      pen.textAlign = "left";
      pen.font = SHAPE_FONT;
      pen.fillStyle = colours.muted;
      for (const { x, y, text } of scene.shapes) if (x + 130 >= left && x <= right && y + 12 >= top && y <= bottom) pen.fillText(text, x, y);
    }
    if (camera.scale >= NAMED) {
      const share = Math.min(1, camera.scale / LEGIBLE); // letters do not become smaller than 11 px
      pen.textAlign = "center";
      pen.font = `560 ${12.5 / share}px system-ui, sans-serif`;
      for (const b of seen) {
        const style = styles[b];
        if (!style) continue;
        pen.globalAlpha = flags[b] & (FLAG.outside | FLAG.notAlive) ? 0.3 : 1;
        pen.fillStyle = style.level !== undefined ? colours[`on-level-${style.level}`] : style.hue !== undefined ? colours["on-hue"] : style.empty ? colours.text : style.kept ? colours["on-keep"] : colours["on-recompute"];
        const module = scene.items[b] >= graph.count;
        pen.fillText(module && texts[b].times ? `${texts[b].name} ${texts[b].times}` : module ? texts[b].name : shortened(texts[b].name, (scene.w[b] - LABEL_MARGIN) * share), scene.x[b], scene.y[b] + (module ? -6 * share : 4 / share), scene.w[b] - LABEL_MARGIN);
        if (module && share === 1) pen.fillText(style.fact, scene.x[b], scene.y[b] + 8, scene.w[b] - 8);
        if (style.bar && !module) pen.fillRect(scene.x[b] - scene.w[b] / 2 + 3, scene.y[b] + scene.h[b] / 2 - 4, (scene.w[b] - 6) * style.bar, 2.5);
      }
      pen.globalAlpha = 1;
    }
  }

  /** A label of a node that is too long for its box, cut at its end. */
  function shortened(text, width) {
    const key = `${Math.floor(width)} ${text}`;
    if (!fitting.has(key)) fitting.set(key, fittedLabel(text, width, widthOf)[0]);
    return fitting.get(key);
  }

  function drawMarks(b) {
    const f = flags[b];
    const wide = Math.max(3, 2 / camera.scale);
    pen.lineWidth = wide;
    pen.strokeStyle = f & FLAG.picked ? colours.text : f & (FLAG.boundary | FLAG.hit) ? colours.accent : f & FLAG.step ? colours.cursor : f & FLAG.onlyFirst ? colours.good : f & FLAG.onlySecond ? colours.second : colours.text;
    pen.setLineDash(f & FLAG.picked ? [] : f & FLAG.onlySecond ? [2, 2.5] : f & FLAG.hit ? [5, 3] : []);
    if (f & ~(FLAG.hovered | FLAG.pinKeep | FLAG.pinRecompute | FLAG.cached | FLAG.segment | FLAG.outside | FLAG.alive | FLAG.notAlive)) pen.strokeRect(scene.x[b] - scene.w[b] / 2, scene.y[b] - scene.h[b] / 2, scene.w[b], scene.h[b]);
    pen.setLineDash([]);
    if (f & FLAG.hovered) {
      // a thin ring around the box, as in the style sheet of SVG boxes; that of a selected box is its border
      const away = wide + 1.5 / camera.scale;
      pen.lineWidth = 1.6 / camera.scale;
      pen.strokeStyle = colours.text;
      pen.strokeRect(scene.x[b] - scene.w[b] / 2 - away, scene.y[b] - scene.h[b] / 2 - away, scene.w[b] + 2 * away, scene.h[b] + 2 * away);
    }
    const sign = cornerSigns(f, counts[b]);
    if (sign) {
      const pinned = f & (FLAG.pinKeep | FLAG.pinRecompute);
      const place = [scene.x[b] + scene.w[b] / 2 + 6, scene.y[b] - scene.h[b] / 2 + 4];
      pen.font = `700 ${12 / Math.min(1, camera.scale)}px system-ui, sans-serif`;
      pen.textAlign = "end";
      if (pinned) {
        // a dark ground around the letter, as in the style sheet of SVG boxes
        pen.lineJoin = "round";
        pen.lineWidth = 7 / Math.min(1, camera.scale);
        pen.strokeStyle = colours.text;
        pen.strokeText(sign, ...place);
      }
      pen.fillStyle = pinned ? colours.surface : colours.text;
      pen.fillText(sign, ...place);
    }
  }

  function pathOf(chosen) {
    const path = new Path2D();
    for (let e = 0; e + 1 < scene.offsets.length; e++) {
      if (chosen && !chosen(e)) continue;
      for (let p = scene.offsets[e]; p < scene.offsets[e + 1]; p++) {
        if (p === scene.offsets[e]) path.moveTo(scene.points[2 * p], scene.points[2 * p + 1]);
        else path.lineTo(scene.points[2 * p], scene.points[2 * p + 1]);
      }
    }
    return path;
  }

  return {
    draw(next, nextTexts) {
      scene = next;
      texts = nextTexts;
      styles = [];
      flags = new Uint16Array(scene.items.length);
      counts = [];
      lit = null;
      lines = pathOf(null);
    },
    setStyle: (b, style) => void (styles[b] = style),
    flag(b, f, counted = null) {
      flags[b] = f;
      counts[b] = counted;
    },
    name: (b, text) => b === focused && standIns.at(-1)?.setAttribute("aria-label", text),
    named: () => (focused < 0 ? [] : [focused]),
    focus(b, title) {
      focused = b;
      standIns.push(standIn(b));
      standIns.at(-1).setAttribute("aria-label", title);
      layer.append(standIns.at(-1));
      standIns.at(-1).focus({ preventScroll: true });
      while (standIns.length > 1) standIns.shift().remove();
    },
    /** Light the lines for which `chosen(line)`, and with `fade` fade the others; null for none. */
    light(chosen, fade) {
      lit = chosen ? pathOf(chosen) : null;
      faded = fade;
    },
    setCamera(nextCamera, nextView) {
      camera = nextCamera;
      view = nextView;
    },
    paint,
    /** Read the colours again after the theme of the page changed. */
    recolour() {
      colours = null;
      paint();
    },
    clear() {
      scene = null;
      focused = -1;
      for (const each of standIns.splice(0)) each.remove();
      pen.setTransform(1, 0, 0, 1, 0, 0);
      pen.clearRect(0, 0, canvas.width, canvas.height);
    },
  };
}
