// The message beside the Run button while the kernel does not answer.

import { html } from "../shared/elements.js";
import { SILENCE } from "./pacing.js";

const UNANSWERED = "The kernel does not answer. If it restarted, run the cell again.";
const WHY = "The kernel is busy with another cell and answers afterwards, or it is gone. After a restart it does not know this Explorer; the cell makes a new one.";

/** Wait for an answer: `expect()` a message, and after a while without one `tell()`; `heard()` an answer. */
export function makeWatch(tell, patience = SILENCE) {
  let timer = 0;
  return {
    expect() {
      timer ||= setTimeout(tell, patience);
    },
    heard() {
      clearTimeout(timer);
      timer = 0;
    },
    stop: () => clearTimeout(timer),
  };
}

/** The message in the `line` of a `panel`, in the place of the other texts of that line. */
export function makeKernelNote(panel, line) {
  const note = html("span", "rv-kernel-note");
  note.setAttribute("role", "alert");
  line.prepend(note);
  const show = (on) => {
    panel.classList.toggle("rv-unanswered", on);
    note.textContent = on ? UNANSWERED : "";
    note.title = on ? WHY : "";
  };
  const watch = makeWatch(() => show(true));
  return {
    /** Say at once that no answer came. */
    tell: () => show(true),
    /** Say it unless an answer comes soon. */
    expect: watch.expect,
    /** An answer came. Returns whether the message was shown. */
    heard() {
      watch.heard();
      const shown = panel.classList.contains("rv-unanswered");
      if (shown) show(false);
      return shown;
    },
    destroy: watch.stop,
  };
}
