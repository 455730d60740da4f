// Making elements: one line each, so that the views read as what they draw.

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

/** Listeners that are released together: `listen(target, type, handler)`, then `release()`. */
export function listeners() {
  const control = new AbortController();
  return {
    listen: (target, type, handler, options = {}) =>
      target.addEventListener(type, handler, { ...options, signal: control.signal }),
    release: () => control.abort(),
  };
}

/** Set text only where it differs, so that nothing is laid out again for nothing. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
