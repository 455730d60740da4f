// HTML elements as SVG shapes: grounds, borders, lines of text, values of inputs.

import { svg } from "../shared/elements.js";
import { gradientOf, outerParts } from "./picture_gradient.js";

const BORDER_SIDES = ["Top", "Right", "Bottom", "Left"];
const plainColours = new Map();
let colourPen = null;

/** A colour as ["#rrggbb", opacity]. A pixel is painted with it, because programs that draw SVG do not know every form. */
export function plainColour(colour) {
  if (plainColours.has(colour)) return plainColours.get(colour);
  colourPen ??= Object.assign(document.createElement("canvas"), { width: 1, height: 1 }).getContext("2d", { willReadFrequently: true });
  colourPen.clearRect(0, 0, 1, 1);
  colourPen.fillStyle = colour;
  colourPen.fillRect(0, 0, 1, 1);
  const [red, green, blue, alpha] = colourPen.getImageData(0, 0, 1, 1).data;
  plainColours.set(colour, [`#${[red, green, blue].map((value) => value.toString(16).padStart(2, "0")).join("")}`, alpha / 255]);
  return plainColours.get(colour);
}

const painted = (name, colour) => {
  const [plain, opacity] = plainColour(colour);
  return { [name]: plain, ...(opacity < 1 ? { [`${name.replace("-color", "")}-opacity`]: opacity.toFixed(3) } : {}) };
};

/** What is left of a box inside another: { left, top, right, bottom }, or null. */
export function within(box, clip) {
  const both = { left: Math.max(box.left, clip.left), top: Math.max(box.top, clip.top), right: Math.min(box.right, clip.right), bottom: Math.min(box.bottom, clip.bottom) };
  return both.right - both.left > 0.5 && both.bottom - both.top > 0.5 ? both : null;
}

/** Define a gradient of CSS on a box under a name; returns whether it is one. */
function drawGradient(into, text, { x, y, width, height }, name) {
  const gradient = gradientOf(text, width, height);
  if (!gradient) return false;
  const { repeats, x1, y1, x2, y2, stops } = gradient;
  const made = svg("linearGradient", { id: name, gradientUnits: "userSpaceOnUse", x1: x + x1, y1: y + y1, x2: x + x2, y2: y + y2, ...(repeats ? { spreadMethod: "repeat" } : {}) }, into);
  for (const [offset, colour] of stops) svg("stop", { offset, ...painted("stop-color", colour) }, made);
  return true;
}

/** The ground and the borders of an element with a box at x, y. */
export function drawGround(into, element, style, { x, y, width, height }, name) {
  const radius = Math.min(parseFloat(style.borderTopLeftRadius) || 0, width / 2, height / 2);
  const rectangle = (inset, attributes) => svg("rect", { x: x + inset, y: y + inset, width: Math.max(0, width - 2 * inset), height: Math.max(0, height - 2 * inset), rx: Math.max(0, radius - inset), ...attributes }, into);
  if (plainColour(style.backgroundColor)[1]) rectangle(0, painted("fill", style.backgroundColor));
  // the last of several backgrounds is the lowest
  outerParts(style.backgroundImage).reverse().forEach((image, i) => {
    if (drawGradient(into, image, { x, y, width, height }, `${name}-${i}`)) rectangle(0, { fill: `url(#${name}-${i})` });
  });
  const borders = BORDER_SIDES.map((side) => [parseFloat(style[`border${side}Width`]), style[`border${side}Color`], style[`border${side}Style`]]);
  const dashes = (kind, wide) => (kind === "dotted" ? { "stroke-dasharray": `${wide} ${wide}` } : kind === "dashed" ? { "stroke-dasharray": `${2 * wide} ${wide}` } : {});
  if (borders.every(([wide, colour]) => wide === borders[0][0] && colour === borders[0][1])) {
    const [wide, colour, kind] = borders[0];
    if (wide && plainColour(colour)[1]) rectangle(wide / 2, { fill: "none", "stroke-width": wide, ...painted("stroke", colour), ...dashes(kind, wide) });
    return;
  }
  borders.forEach(([wide, colour, kind], i) => {
    if (!wide || !plainColour(colour)[1]) return;
    const half = wide / 2;
    const line = [
      { x1: x, x2: x + width, y1: y + half, y2: y + half },
      { x1: x + width - half, x2: x + width - half, y1: y, y2: y + height },
      { x1: x, x2: x + width, y1: y + height - half, y2: y + height - half },
      { x1: x + half, x2: x + half, y1: y, y2: y + height },
    ][i];
    svg("line", { ...line, "stroke-width": wide, ...painted("stroke", colour), ...dashes(kind, wide) }, into);
  });
}

/** The lines of a text node: [{ text, box }]. */
function linesOf(node) {
  const range = document.createRange();
  const lines = [];
  const letters = node.data;
  for (let i = 0; i < letters.length; i++) {
    range.setStart(node, i);
    range.setEnd(node, i + 1);
    const box = range.getClientRects()[0];
    const last = lines[lines.length - 1];
    if (!box?.width || (!last && !letters[i].trim())) continue;
    if (last && Math.abs(last.box.top - box.top) < 2) {
      last.text += letters[i];
      last.box.right = box.right;
      last.ends.push(box.right);
    } else lines.push({ text: letters[i], box: { left: box.left, top: box.top, right: box.right, bottom: box.bottom }, ends: [box.right] });
  }
  return lines;
}

/** One line of text whose letters begin at `left`; `top` is the upper edge of its letters. */
function writeLine(into, text, style, left, top, origin) {
  const font = document.createElement("canvas").getContext("2d");
  font.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
  const ascent = font.measureText(text).fontBoundingBoxAscent;
  const written = svg("text", { x: (left - origin.left).toFixed(2), y: (top - origin.top + ascent).toFixed(2), "font-size": style.fontSize, "font-weight": style.fontWeight, "xml:space": "preserve", ...painted("fill", style.color) }, into);
  if (style.fontFamily !== origin.fontFamily) written.setAttribute("font-family", style.fontFamily.replaceAll('"', "'"));
  if (style.letterSpacing !== "normal") written.setAttribute("letter-spacing", style.letterSpacing);
  if (style.fontStyle !== "normal") written.setAttribute("font-style", style.fontStyle);
  if (style.textDecorationLine.includes("underline")) written.setAttribute("text-decoration", "underline");
  written.textContent = text;
}

/** The lines of a text node inside `clip`. A line that is cut ends with "…", as on the page. */
export function drawText(into, node, style, clip, origin) {
  for (const { text, box, ends } of linesOf(node)) {
    if (!within(box, clip) || (box.top + box.bottom) / 2 > clip.bottom) continue;
    const room = clip.right - (box.right > clip.right + 1 ? parseFloat(style.fontSize) * 0.8 : -2);
    const fits = ends.filter((end) => end <= room).length;
    writeLine(into, fits < ends.length ? `${text.slice(0, fits)}…` : text, style, box.left, box.top, origin);
  }
}

/** The text of an input or select. A slider has none, and is not drawn: it is of no use in a picture. */
export function drawControl(into, element, style, box, origin) {
  if (!["text", "search", "number", "select-one"].includes(element.type)) return;
  const chosen = element.type === "select-one" ? `${element.selectedOptions[0]?.textContent ?? ""} ▾` : element.value || element.placeholder;
  const font = document.createElement("canvas").getContext("2d");
  font.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
  const { fontBoundingBoxAscent: ascent, fontBoundingBoxDescent: descent } = font.measureText(chosen);
  const from = box.left + Math.max(4, parseFloat(style.paddingLeft)) + parseFloat(style.borderLeftWidth);
  let text = chosen;
  while (text.length > 1 && from + font.measureText(text).width > box.right) text = text.slice(0, -1);
  const shown = element.value ? style : new Proxy(style, { get: (of, name) => (name === "color" ? of.getPropertyValue("--rv-muted").trim() : of[name]) });
  writeLine(into, text, shown, from, (box.top + box.bottom - ascent - descent) / 2, origin);
}
