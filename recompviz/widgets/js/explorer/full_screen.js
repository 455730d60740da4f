// Full screen: the view alone on the whole screen, for a lecture or a large graph. The element that is shown so is the one
// that holds the view, so that full screen does not end when the view is drawn anew.

import { html, listeners, svg } from "../shared/elements.js";

/** A button in `parent` that shows `element` on the full screen, and ends this. It is hidden where the page may not do so. */
export function makeFullScreen(parent, element) {
  const { listen, release } = listeners();
  const button = html("button", "rv-full-screen", parent);
  const icon = svg("svg", { viewBox: "0 0 12 12", "aria-hidden": "true" }, button);
  svg("path", { d: "M1 4V1H4M8 1H11V4M11 8V11H8M4 11H1V8" }, icon);
  button.hidden = !document.fullscreenEnabled;
  const isOn = () => document.fullscreenElement === element;
  const update = () => {
    button.setAttribute("aria-pressed", String(isOn()));
    button.title = isOn() ? "End full screen (Esc)" : "Full screen";
    button.setAttribute("aria-label", "Full screen");
  };
  listen(button, "click", async () => {
    try {
      await (isOn() ? document.exitFullscreen() : element.requestFullscreen());
    } catch {
      button.hidden = true; // the browser refuses, for example in a frame without permission
    }
  });
  // browsers end full screen with Escape themselves; some hosts, such as an application around JupyterLab, leave the key to the page
  listen(element, "keydown", (event) => event.key === "Escape" && isOn() && !event.defaultPrevented && document.exitFullscreen());
  listen(document, "fullscreenchange", update);
  update();
  return { destroy: release };
}
