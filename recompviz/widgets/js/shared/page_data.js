// The data of an exported page, which has no kernel: unpack it, and draw it in the colours of the notebook that it comes
// from, or else of the system.

/** A copy of a value in which {"$": base64} is replaced by a DataView of the bytes. */
export function withBuffers(value) {
  if (Array.isArray(value)) return value.map(withBuffers);
  if (value === null || typeof value !== "object") return value;
  if (typeof value.$ === "string") return new DataView(Uint8Array.from(atob(value.$), (letter) => letter.charCodeAt(0)).buffer);
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, withBuffers(inner)]));
}

/** The value of gzipped JSON in base64. */
export async function unpack(text) {
  const bytes = Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return withBuffers(JSON.parse(await new Response(stream).text()));
}

const EMPTY = '<script id="recompviz-shown" type="application/json">{}</script>';

/** The text of a page, with how it is shown: { light: whether the theme is light, view: what a view has opened }. */
export function withShown(text, shown) {
  const json = JSON.stringify(shown).replaceAll("<", "\\u003c"); // "</script" would end the element
  return text.replace(EMPTY, () => EMPTY.replace("{}", () => json));
}

/** Whether the page around an element has a light theme. */
export function isLight(element) {
  return element.closest("[data-jp-theme-light]")?.getAttribute("data-jp-theme-light") !== "false";
}

/** Show a theme: light, dark, or that of the system if `light` is undefined. */
function followTheme(light) {
  if (light !== undefined) return document.documentElement.setAttribute("data-jp-theme-light", String(light));
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const set = () => document.documentElement.setAttribute("data-jp-theme-light", String(!dark.matches));
  dark.addEventListener("change", set);
  return set();
}

/** Draw the page with `draw(data, parent, view)`, the last one as given to withShown; nothing happens outside of an exported page. */
export function drawPage(draw) {
  const source = globalThis.document?.getElementById("recompviz-data");
  if (!source) return;
  const { light, view } = JSON.parse(document.getElementById("recompviz-shown").textContent);
  followTheme(light);
  unpack(source.textContent).then((data) => draw(data, document.getElementById("recompviz"), view));
}
