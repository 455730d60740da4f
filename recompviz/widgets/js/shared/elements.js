// Short functions that make elements, set texts and add listeners.

const SVG = "http://www.w3.org/2000/svg";

/** An SVG element with attributes, appended to `parent` if given. */
export function svg(name, attributes = {}, parent = null) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  parent?.append(element);
  return element;
}

/** An HTML element with a class, appended to `parent` if given. */
export function html(name, className = "", parent = null, text = "") {
  const element = document.createElement(name);
  if (className) element.className = className;
  if (text) element.textContent = text;
  parent?.append(element);
  return element;
}

/** A progress bar from 0 to 1 with a name for screen readers. */
export function progressBar(parent, name) {
  const bar = html("progress", "rv-progress", parent);
  bar.max = 1;
  bar.setAttribute("aria-label", name);
  return bar;
}

/** A group of listeners: `listen(target, type, handler)` adds one, `release()` removes all. */
export function listeners() {
  const control = new AbortController();
  return {
    listen: (target, type, handler, options = {}) =>
      target.addEventListener(type, handler, { ...options, signal: control.signal }),
    release: () => control.abort(),
  };
}

/** Keep bare keys from JupyterLab, which has commands on them: X cuts the cell, R makes it a raw one without outputs. */
export function keepBareKeys(root, listen) {
  listen(root, "keydown", (event) => {
    const runsTheCell = event.key === "Enter" && event.shiftKey;
    if (event.ctrlKey || event.metaKey || event.altKey || runsTheCell) return;
    if (event.key.length === 1 || /^(Arrow|Page|Home|End|Enter|Backspace|Delete)/.test(event.key)) event.stopPropagation();
  });
}

/** Set a name whose lines break only after a dot or a slash. */
export function setName(element, name) {
  if (element.textContent === name) return;
  const parts = name.split(/(?<=[./])/);
  element.replaceChildren(...parts.flatMap((part, i) => (i ? [document.createElement("wbr"), part] : [part])));
}

/** A function that keeps the greatest height that an element has had at the present width of `frame`, so that what is below does not move. */
export function heightKeeper(element, frame) {
  let wide = 0;
  return () => {
    if (frame.clientWidth !== wide) {
      wide = frame.clientWidth;
      element.style.minHeight = "";
    }
    const high = element.getBoundingClientRect().height;
    if (high > parseFloat(element.style.minHeight || 0)) element.style.minHeight = `${high}px`;
  };
}

/** Set a text only if it differs: the browser does not lay out unchanged elements. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
