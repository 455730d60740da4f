// The keyboard's place, kept while a view is drawn anew: the element with the focus, and the caret in a field of text.

/** The name by which an element is found again; its id begins with that of its view, which differs. */
const focusName = (element) => element.dataset.v ?? (element.id.replace(/^rvs?\d+-\w+-/, "") || element.getAttribute("aria-label") || element.textContent);

/** Remember which element in `el` has the focus; the function that it returns gives the focus back. */
export function keptFocus(el) {
  const active = el.getRootNode().activeElement;
  if (!active || !el.contains(active)) return () => {};
  const name = focusName(active);
  const className = active.getAttribute("class");
  const sameName = () => [...el.querySelectorAll(active.tagName)].filter((one) => focusName(one) === name);
  // some names say numbers of the plan, which may have changed
  const sameClass = () => [...el.querySelectorAll(active.tagName)].filter((one) => one.getAttribute("class") === className);
  const [named, classed] = [sameName().indexOf(active), sameClass().indexOf(active)];
  const caret = [active.selectionStart ?? null, active.selectionEnd ?? null];
  return () => {
    const found = sameName()[named] ?? sameName()[0] ?? sameClass()[classed];
    found?.focus({ preventScroll: true });
    if (found && caret[0] !== null) found.setSelectionRange(...caret);
  };
}
