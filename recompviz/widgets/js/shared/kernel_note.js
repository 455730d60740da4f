// The message beside the Run button while the kernel does not answer, or after it has ended. Nothing is shown as running then.

import { html } from "./elements.js";
import { SILENCE } from "./pacing.js";

export const UNANSWERED = "The kernel does not answer. If it ended or restarted, run the cell again.";
const WHY = "The kernel is busy with another cell and answers afterwards, or it is gone. A new kernel does not know this Explorer; the cell makes a new one.";

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

// states of a kernel in which it has lost the widget
const ENDED = new Set(["restarting", "autorestarting", "terminating", "dead"]);

/**
 * Call `tell()` when the host says that the kernel of a widget ended. Returns the function that stops listening.
 *
 * JupyterLab and Notebook 7 say so; on other hosts the page finds out with its next question.
 */
export function whenKernelEnds(model, tell) {
  const kernel = model.widget_manager?.kernel;
  if (!kernel?.statusChanged?.connect) return () => {};
  const changed = (_, status) => ENDED.has(status) && tell();
  const disposed = () => tell();
  kernel.statusChanged.connect(changed);
  kernel.disposed?.connect(disposed);
  return () => {
    kernel.statusChanged.disconnect(changed);
    kernel.disposed?.disconnect(disposed);
  };
}

/** The message in the `line` of a `panel`, in the place of the other texts of that line. `changed()` is called when it comes or goes. */
export function makeKernelNote(panel, line, changed) {
  const note = html("span", "rv-kernel-note");
  note.setAttribute("role", "alert");
  line.prepend(note);
  const show = (on) => {
    panel.classList.toggle("rv-unanswered", on);
    note.textContent = on ? UNANSWERED : "";
    note.title = on ? WHY : "";
    changed();
  };
  const watch = makeWatch(() => show(true));
  return {
    /** Whether the message is shown. */
    get shown() {
      return panel.classList.contains("rv-unanswered");
    },
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
