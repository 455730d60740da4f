// The entry of an exported page: unpack its data and draw the Explorer without a kernel.

import { mount } from "./explorer.js";
import { offlineModel, withBuffers } from "./offline.js";

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

if (globalThis.document?.getElementById("recompviz-data")) {
  followTheme();
  unpack(document.getElementById("recompviz-data").textContent).then((data) =>
    mount(offlineModel(data), document.getElementById("recompviz")),
  );
}
