// The drawer below the charts: tabs, each with a table. A table that answers a click is scrolled into view, and a button leads
// back to where the click was.

import { html, listeners, setText } from "../shared/elements.js";
import { scrollBack, scrollTo } from "../shared/scrolling.js";

/**
 * Tabs and their panels.
 * @param names {id: title}
 */
export function makeDrawer(parent, names, id, opened = () => {}) {
  const { listen, release } = listeners();
  const root = html("section", "rv-drawer", parent);
  const head = html("div", "rv-drawer-head", root);
  const bar = html("div", "rv-tabs", head);
  bar.setAttribute("role", "tablist");
  bar.setAttribute("aria-label", "Details");
  const tabs = new Map();
  const panels = {};
  for (const [key, title] of Object.entries(names)) {
    const tab = html("button", "rv-tab", bar, title);
    tab.id = `${id}-tab-${key}`;
    tab.setAttribute("role", "tab");
    tab.setAttribute("aria-controls", `${id}-panel-${key}`);
    const panel = html("div", "rv-tab-panel", root);
    panel.id = `${id}-panel-${key}`;
    panel.setAttribute("role", "tabpanel");
    panel.setAttribute("aria-labelledby", tab.id);
    tabs.set(key, tab);
    panels[key] = panel;
    listen(tab, "click", () => open(key));
  }
  const back = html("button", "rv-button rv-drawer-back", head, "↑ back");
  back.title = "Back to what was clicked";
  back.hidden = true;
  let current = "";
  let asked = null; // where the click was that the open table answers: { element, top in the window }

  function open(key) {
    if (key === current) return;
    current = key;
    back.hidden = true;
    for (const [other, tab] of tabs) {
      tab.setAttribute("aria-selected", String(other === key));
      tab.tabIndex = other === key ? 0 : -1;
      panels[other].hidden = other !== key;
    }
    opened(key);
  }
  listen(bar, "keydown", (event) => {
    const keys = [...tabs.keys()];
    const at = keys.indexOf(current);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: keys.length - 1 }[event.key];
    event.stopPropagation();
    if (next === undefined) return;
    event.preventDefault();
    open(keys[(next + keys.length) % keys.length]);
    tabs.get(current).focus();
  });
  listen(back, "click", () => {
    back.hidden = true;
    scrollBack(parent, asked.element, asked.top);
    asked.element.focus?.({ preventScroll: true });
  });
  open(Object.keys(names)[0]);
  return {
    panels,
    open,
    /** Open a tab whose table answers a click on an element, and scroll to it if it is not seen. */
    answer(key, element) {
      const { top } = element.getBoundingClientRect();
      open(key);
      const moves = scrollTo(parent, root.getBoundingClientRect(), element);
      if (!moves) return;
      asked = { element, top };
      back.hidden = false;
    },
    get current() {
      return current;
    },
    title: (key, text) => setText(tabs.get(key), text),
    destroy: release,
  };
}
