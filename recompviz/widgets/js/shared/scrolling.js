// Scrolling the page by the least distance that shows something, as the reader's settings for motion allow.

const MARGIN = 12; // pixels between what is shown and the edge of the window

/**
 * The distance to scroll, in pixels, positive downwards: the least one that shows `box`, with `keep` as well if both fit.
 * @param box, keep, view [top, bottom]; `keep` may be null
 */
export function distanceTo(box, keep, view) {
  const least = ([top, bottom]) => {
    const [from, to] = [view[0] + MARGIN, view[1] - MARGIN];
    if (top < from) return top - from;
    return bottom > to ? Math.min(bottom - to, top - from) : 0;
  };
  if (!keep) return least(box);
  const both = [Math.min(box[0], keep[0]), Math.max(box[1], keep[1])];
  return least(both[1] - both[0] <= view[1] - view[0] - 2 * MARGIN ? both : box);
}

/** The nearest ancestor that scrolls an element, or the page. */
export function scrollerOf(element) {
  for (let up = element.parentElement ?? element.getRootNode().host; up; up = up.parentElement ?? up.getRootNode().host) {
    const scrolls = /auto|scroll|overlay/.test(getComputedStyle(up).overflowY);
    if (scrolls && up.scrollHeight > up.clientHeight + 1) return up;
  }
  return document.scrollingElement;
}

const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

/** Scroll the page that shows `root` until an element is as far below the top of the window as before. */
export function scrollBack(root, element, top) {
  scrollerOf(root).scrollBy({ top: element.getBoundingClientRect().top - top, behavior: calm() ? "auto" : "smooth" });
}

/**
 * Scroll the page that shows `root` by the least distance that shows a rectangle; returns whether it scrolls.
 * @param rectangle { top, bottom } in the window; @param keep an element that stays visible if both fit, or null
 */
export function scrollTo(root, rectangle, keep) {
  const scroller = scrollerOf(root);
  const frame = scroller === document.scrollingElement ? { top: 0, bottom: innerHeight } : scroller.getBoundingClientRect();
  const view = [Math.max(0, frame.top), Math.min(innerHeight, frame.bottom)];
  const kept = keep?.getBoundingClientRect();
  const top = distanceTo([rectangle.top, rectangle.bottom], kept ? [kept.top, kept.bottom] : null, view);
  if (Math.abs(top) < 1) return false;
  scroller.scrollBy({ top, behavior: calm() ? "auto" : "smooth" });
  return true;
}
