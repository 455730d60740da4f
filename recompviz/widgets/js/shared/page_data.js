// The data of an exported page, which has no kernel: unpack it, and draw it in the colours of the system.

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

/** Follow the theme of the system, light or dark. */
function followTheme() {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const set = () => document.documentElement.setAttribute("data-jp-theme-light", String(!dark.matches));
  dark.addEventListener("change", set);
  set();
}

/** Draw the page with `draw(data, parent)`; nothing happens outside of an exported page. */
export function drawPage(draw) {
  const source = globalThis.document?.getElementById("recompviz-data");
  if (!source) return;
  followTheme();
  unpack(source.textContent).then((data) => draw(data, document.getElementById("recompviz")));
}
