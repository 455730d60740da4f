// A page of the course as slides, one on the screen at a time. The parts of the page have the slide types of their cells:
// a "slide" or a "subslide" begins a slide, "notes" are not shown, and all others join the slide before them.

import { html, listeners } from "../shared/elements.js";

/** The numbers of the parts on each slide. */
export function groupSlides(kinds) {
  const slides = [];
  kinds.forEach((kind, i) => {
    if (kind === "notes" || kind === "skip") return;
    if (kind === "slide" || kind === "subslide" || !slides.length) slides.push([]);
    slides.at(-1).push(i);
  });
  return slides;
}

/** The steps of a key: 1 for the next slide, −1 for the one before; 0 if the key turns no slide. */
export function turnOfKey(key, inLesson) {
  if (key === "PageDown" || key === "PageUp") return key === "PageDown" ? 1 : -1;
  if (inLesson) return 0; // a lesson steps with the arrow keys
  return { ArrowRight: 1, " ": 1, ArrowLeft: -1 }[key] ?? 0;
}

/** Let the button of a course page show its slides. Pages without the button have none. */
export function mountSlides(page) {
  const button = page.getElementById("rv-slides");
  if (!button) return;
  const root = page.documentElement;
  const { listen } = listeners();
  const parts = [...page.querySelectorAll("[data-slide]")];
  const slides = groupSlides(parts.map((part) => part.dataset.slide));
  const bar = html("nav", "rv-slidebar", page.body);
  bar.setAttribute("aria-label", "Slides");
  const control = (name, sign, act) => {
    const made = html("button", "", bar, sign);
    made.type = "button";
    made.setAttribute("aria-label", name);
    listen(made, "click", act);
  };
  let at = 0;
  const show = (to) => {
    at = Math.min(Math.max(to, 0), slides.length - 1);
    parts.forEach((part, i) => part.classList.toggle("rv-here", slides[at].includes(i)));
    root.classList.add("rv-slides");
    place.textContent = `${at + 1} / ${slides.length}`;
    history.replaceState(null, "", `#slide-${at + 1}`);
    scrollTo(0, 0);
  };
  const leave = () => {
    root.classList.remove("rv-slides");
    history.replaceState(null, "", "#");
    parts[slides[at][0]].scrollIntoView();
  };
  control("Previous slide", "◀", () => show(at - 1));
  const place = html("span", "", bar);
  control("Next slide", "▶", () => show(at + 1));
  control("Leave the slides", "✕", leave);
  listen(button, "click", () => show(at));
  // before the lessons, which keep some keys for themselves
  const turnOrLeave = (event) => {
    if (!root.classList.contains("rv-slides") || event.ctrlKey || event.metaKey || event.altKey) return;
    const turn = turnOfKey(event.key, Boolean(event.target.closest?.(".rv-teach, button, input, select")));
    if (turn) {
      event.preventDefault();
      event.stopPropagation();
      show(at + turn);
    } else if (event.key === "Escape") leave();
  };
  listen(page, "keydown", turnOrLeave, { capture: true });
  const asked = /^#slide-(\d+)$/.exec(location.hash);
  if (asked) show(Number(asked[1]) - 1);
}
