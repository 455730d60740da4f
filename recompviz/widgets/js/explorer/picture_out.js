// Export of the view as a picture: one SVG. The SVGs of the page are copied with their computed styles, canvases are images,
// and the HTML around them is drawn as shapes.

import { svg } from "../shared/elements.js";
import { drawControl, drawGround, drawText, plainColour, within } from "./picture_parts.js";

const NAMESPACE = "http://www.w3.org/2000/svg";
const STYLES = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "stroke-linejoin", "stroke-linecap", "opacity", "visibility", "display", "font-size", "font-weight", "text-anchor", "paint-order"];
const COLOURS = ["fill", "stroke"];
let gradients = 0; // of this picture

/** A copy of an SVG with inline styles, independent of the style sheets of the page. */
export function withStyles(original) {
  const copy = original.cloneNode(true);
  const from = [original, ...original.querySelectorAll("*")];
  const to = [copy, ...copy.querySelectorAll("*")];
  from.forEach((element, i) => {
    const style = getComputedStyle(element);
    const inline = STYLES.map((name) => [name, style.getPropertyValue(name)])
      .filter(([name, value]) => value && !(name === "opacity" && value === "1") && !(name === "display" && value === "inline") && !(name === "visibility" && value === "visible") && !(name === "paint-order" && value === "normal") && !(name.endsWith("-opacity") && value === "1"))
      .map(([name, value]) => `${name}:${(COLOURS.includes(name) && value.startsWith("color(") ? plainColour(value)[0] : value).replaceAll('"', "'")}`)
      .join(";");
    to[i].setAttribute("style", inline);
    to[i].removeAttribute("class");
  });
  return copy;
}

/** Draw an element and what is in it, as far as it is inside `clip`. */
function drawElement(into, element, clip, origin) {
  const style = getComputedStyle(element);
  if (style.display === "none" || style.visibility === "hidden" || element.classList.contains("rv-live")) return;
  const box = element.getBoundingClientRect();
  const inside = within(box, clip);
  if (style.display !== "contents" && !inside && style.overflow !== "visible") return;
  const place = { x: box.left - origin.left, y: box.top - origin.top, width: box.width, height: box.height };
  const opacity = Number(style.opacity);
  const group = opacity < 1 ? svg("g", { opacity }, into) : into;
  if (element.localName === "svg") {
    if (!inside) return;
    const copy = withStyles(element);
    for (const [name, value] of Object.entries({ ...place, overflow: style.overflow })) copy.setAttribute(name, value);
    group.append(copy);
    return;
  }
  if (element.localName === "canvas") {
    if (inside && element.width && element.height) svg("image", { ...place, href: element.toDataURL(), preserveAspectRatio: "none", style: "image-rendering:pixelated" }, group);
    return;
  }
  if (inside) drawGround(group, element, style, place, `rv-picture-${++gradients}`);
  if (["input", "select"].includes(element.localName)) {
    if (inside) drawControl(group, element, style, box, origin);
    return;
  }
  const cuts = style.overflow !== "visible" && style.display !== "contents";
  for (const child of element.childNodes) {
    if (child.nodeType === Node.TEXT_NODE) drawText(group, child, style, cuts ? inside : clip, origin);
    else if (child.nodeType === Node.ELEMENT_NODE) drawElement(group, child, cuts ? inside : clip, origin);
  }
}

/**
 * One SVG with the Explorer as on the page, without what is of no use in a picture: the tabs, the inspector, which would cut
 * off the graph, the buttons and the sliders. The style sheet hides them by the class rv-picture.
 * @param arrange arranges the graph in the room that it has now; returns a function that undoes this
 */
export async function snapshot(root, title, arrange) {
  root.classList.add("rv-picture");
  // the graph takes the place of the inspector
  const frames = async () => {
    for (let frame = 0; frame < 2; frame++) await new Promise((resolve) => requestAnimationFrame(resolve));
  };
  await frames();
  const restore = arrange();
  try {
    await frames();
    return drawn(root, title);
  } finally {
    root.classList.remove("rv-picture");
    await frames();
    restore();
  }
}

function drawn(root, title) {
  const frame = root.getBoundingClientRect();
  const tabs = root.querySelector(".rv-drawer");
  const bottom = tabs?.getBoundingClientRect().top ?? frame.bottom;
  const [width, height] = [Math.ceil(frame.width), Math.ceil(bottom - frame.top)];
  const whole = svg("svg", { xmlns: NAMESPACE, width, height, viewBox: `0 0 ${width} ${height}`, role: "img" });
  svg("title", {}, whole).textContent = title;
  const style = getComputedStyle(root);
  whole.setAttribute("font-family", style.fontFamily.replaceAll('"', "'"));
  svg("rect", { width, height, fill: plainColour(style.backgroundColor)[0] }, whole);
  gradients = 0;
  const clip = { left: frame.left, top: frame.top, right: frame.right, bottom };
  const origin = { left: frame.left, top: frame.top, fontFamily: style.fontFamily };
  for (const child of root.children) if (child !== tabs) drawElement(whole, child, clip, origin);
  return { text: new XMLSerializer().serializeToString(whole), width, height };
}

/** An SVG as PNG, at twice the resolution of the page. */
export async function rasterise({ text, width, height }, finer = 2) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: width * finer, height: height * finer });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
}

/** Download a file. */
export function download(name, blob) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
