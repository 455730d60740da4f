// The entry of the page of recordings: unpack the data and draw it.

import { mountRecordings } from "./recordings.js";

/** The value of gzipped JSON in base64. */
async function unpackRecordings(text) {
  const bytes = Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

if (globalThis.document?.getElementById("recordings-data")) {
  unpackRecordings(document.getElementById("recordings-data").textContent).then((recordings) =>
    mountRecordings(recordings, document.getElementById("recordings")),
  );
}
