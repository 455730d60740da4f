// Export of the view as a picture: the SVGs of the page with their computed styles written into them.

const NAMESPACE = "http://www.w3.org/2000/svg";
const STYLES = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "stroke-linejoin", "stroke-linecap", "opacity", "visibility", "display", "font-size", "font-weight", "text-anchor", "paint-order"];

/** A copy of an SVG with inline styles, independent of the style sheets of the page. */
export function withStyles(original) {
  const copy = original.cloneNode(true);
  const from = [original, ...original.querySelectorAll("*")];
  const to = [copy, ...copy.querySelectorAll("*")];
  from.forEach((element, i) => {
    const style = getComputedStyle(element);
    const inline = STYLES.map((name) => [name, style.getPropertyValue(name)])
      .filter(([name, value]) => value && !(name === "opacity" && value === "1") && !(name === "display" && value === "inline") && !(name === "visibility" && value === "visible") && !(name === "paint-order" && value === "normal") && !(name.endsWith("-opacity") && value === "1"))
      .map(([name, value]) => `${name}:${value.replaceAll('"', "'")}`)
      .join(";");
    to[i].setAttribute("style", inline);
    to[i].removeAttribute("class");
  });
  return copy;
}

/** One SVG with all SVGs of an Explorer at their places on the page. */
export function snapshot(root, title) {
  const frame = root.getBoundingClientRect();
  const bottom = Math.max(...[...root.querySelectorAll(".rv-canvas, .rv-chart")].map((each) => each.getBoundingClientRect().bottom));
  const [width, height] = [Math.ceil(frame.width), Math.ceil(bottom - frame.top + 8)];
  const whole = document.createElementNS(NAMESPACE, "svg");
  for (const [name, value] of Object.entries({ xmlns: NAMESPACE, width, height, viewBox: `0 0 ${width} ${height}`, role: "img" })) whole.setAttribute(name, value);
  whole.append(Object.assign(document.createElementNS(NAMESPACE, "title"), { textContent: title }));
  const style = getComputedStyle(root);
  whole.setAttribute("font-family", style.fontFamily.replaceAll('"', "'"));
  const ground = document.createElementNS(NAMESPACE, "rect");
  for (const [name, value] of Object.entries({ width, height, fill: style.backgroundColor })) ground.setAttribute(name, value);
  whole.append(ground);
  for (const text of root.querySelectorAll(".rv-title strong, .rv-subtitle, .rv-tile-name, .rv-tile-value, .rv-tile-unit, .rv-tile-remark, .rv-panel-title, .rv-budget-value, .rv-legend-item")) {
    const box = text.getBoundingClientRect();
    if (!box.width || box.bottom > bottom + 8) continue;
    const style = getComputedStyle(text);
    const written = document.createElementNS(NAMESPACE, "text");
    const inset = text.classList.contains("rv-legend-item") ? (text.firstChild?.getBoundingClientRect?.().width ?? 0) + 5 : 0;
    written.setAttribute("x", box.left - frame.left + inset);
    written.setAttribute("y", box.top - frame.top + box.height / 2 + parseFloat(style.fontSize) * 0.35);
    written.setAttribute("style", `fill:${style.color};font-size:${style.fontSize};font-weight:${style.fontWeight}`);
    written.textContent = text.value ?? text.innerText;
    whole.append(written);
  }
  for (const original of root.querySelectorAll(".rv-canvas, .rv-chart, .rv-legend-item > svg")) {
    const box = original.getBoundingClientRect();
    if (!box.width || box.bottom > bottom + 8) continue;
    const copy = withStyles(original);
    for (const [name, value] of Object.entries({ x: box.left - frame.left, y: box.top - frame.top, width: box.width, height: box.height })) copy.setAttribute(name, value);
    whole.append(copy);
  }
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
