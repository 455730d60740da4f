// Saves the shown frame of a scene as an SVG or a PNG file, in the colours of the page.

const KEPT_STYLES = ["fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "display", "font-size", "font-weight", "font-family", "text-anchor", "paint-order"];

/** The SVG as a text that needs no style sheet. */
function standaloneFrame(root) {
  const copy = root.cloneNode(true);
  const copies = [copy, ...copy.querySelectorAll("*")];
  [root, ...root.querySelectorAll("*")].forEach((element, i) => {
    const style = getComputedStyle(element);
    copies[i].setAttribute("style", KEPT_STYLES.map((name) => `${name}:${style.getPropertyValue(name).replaceAll('"', "'")}`).join(";"));
    for (const name of ["class", "role", "tabindex", "aria-label", "aria-pressed"]) copies[i].removeAttribute(name);
  });
  const { width, height } = root.viewBox.baseVal;
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  copy.setAttribute("width", width);
  copy.setAttribute("height", height);
  const ground = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  const colour = getComputedStyle(root.closest(".rv-teach")).backgroundColor;
  for (const [name, value] of Object.entries({ width, height, style: `fill:${colour}` })) ground.setAttribute(name, value);
  copy.prepend(ground);
  return { text: new XMLSerializer().serializeToString(copy), width, height };
}

/** Download the shown frame; `kind` is "svg" or "png". A PNG has twice the resolution. */
export async function saveFrame(root, name, kind) {
  const { text, width, height } = standaloneFrame(root);
  let blob = new Blob([text], { type: "image/svg+xml" });
  if (kind === "png") {
    const image = new Image();
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
    await image.decode();
    const canvas = Object.assign(document.createElement("canvas"), { width: width * 2, height: height * 2 });
    canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
    blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${name.replaceAll(/[^\w-]+/g, "-").toLowerCase()}.${kind}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
