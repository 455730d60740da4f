// The script of a page without a kernel: mounts each lesson of the page. It is a classic script, because browsers do not
// load modules from a file.

import { mountSlides } from "./course_slides.js";
import { mountPlayground } from "./playground_view.js";
import { mountStepper } from "./stepper_view.js";
import { offlineLesson } from "./offline_lesson.js";

/** The value of gzipped JSON in base64. */
async function unpackLesson(text) {
  const bytes = Uint8Array.from(atob(text.trim()), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).json();
}

/** Follow the theme of the system, until the reader chooses one with the button of a course page. */
function followSystemTheme(root) {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const set = () => root.dataset.chosen || root.setAttribute("data-jp-theme-light", String(!dark.matches));
  dark.addEventListener("change", set);
  document.getElementById("rv-theme")?.addEventListener("click", () => {
    root.dataset.chosen = "true";
    root.setAttribute("data-jp-theme-light", String(root.getAttribute("data-jp-theme-light") !== "true"));
  });
  set();
}

/** Mount the lessons of a document: each script of type `application/x-recompviz-lesson` goes into the element before it. */
async function mountLessons(page) {
  followSystemTheme(page.documentElement);
  for (const script of page.querySelectorAll('script[type="application/x-recompviz-lesson"]')) {
    const data = await unpackLesson(script.textContent);
    const el = script.previousElementSibling;
    el.replaceChildren();
    (data.kind === "playground" ? mountPlayground : mountStepper)({ model: offlineLesson(data), el });
  }
  mountSlides(page);
  page.documentElement.dataset.mounted = "true";
}

if (globalThis.document) mountLessons(document);
