// A line about work in the kernel: what it does, its progress, and a button that stops it; or that the kernel does not answer.

import { html, listeners, progressBar } from "./elements.js";
import { makeWatch, whenKernelEnds } from "./kernel_note.js";

/**
 * Draw the line; `update()` is called when the kernel is found not to answer, and after each answer that `heard()` notes.
 * @param names { className, text: the class of the text, progress: the name of the bar, stop: the text of the button }
 */
export function makeWorkLine(parent, model, names, update) {
  const { listen, release } = listeners();
  const line = html("div", names.className, parent);
  const text = html("div", names.text, line);
  text.setAttribute("role", "status");
  const bar = progressBar(line, names.progress);
  const stop = html("button", "rv-button", line, names.stop);
  let silent = false;
  const tell = () => {
    silent = true;
    update();
  };
  const watch = makeWatch(tell);
  const stopWaiting = whenKernelEnds(model, tell);
  listen(stop, "click", () => {
    try {
      model.send({ type: "stop" });
      watch.expect();
    } catch {
      tell(); // the host has no kernel to send it to
    }
  });
  return {
    line,
    text,
    bar,
    stop,
    /** Whether the kernel does not answer. */
    get silent() {
      return silent;
    },
    heard() {
      silent = false;
      watch.heard();
      update();
    },
    destroy() {
      watch.stop();
      stopWaiting();
      release();
    },
  };
}
