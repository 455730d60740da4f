// Marks on the timeline: the peak, and the steps of the selected node with the lifetimes of its blocks.

import { svg, listeners } from "../shared/elements.js";
import { formatBytes } from "../shared/units.js";
import { livesOf } from "../data/blocks.js";

export const MARK_LETTER = 6.8; // pixels, of a letter of the names of the budget and the peak

const QUESTION = " · what is alive?";

/** Whether the longer text, with the reserved bytes, is written at the peak: in a narrow chart it would be cut off. */
const isRoomy = (reply, middle) => Boolean(reply.reserved) && middle > 340;

/** The text of the peak. @param write writes bytes with the figures of the budget, so that the peak does not look larger */
export function peakText(reply, middle, write) {
  const reserved = isRoomy(reply, middle) ? `, about ${formatBytes(reply.reserved)} reserved` : ""; // by PyTorch's caching allocator
  return `peak ${write(reply.peak)}${reserved}${QUESTION}`;
}

/** Where a text of the peak stands, as [left, right]; it stands to the left of points after `middle`. */
export function peakSpan(text, px, middle) {
  const wide = 8 + text.length * MARK_LETTER;
  return px > middle ? [px - wide, px + 6] : [px - 6, px + wide];
}

/**
 * The text of the peak and the side on which it stands: { words, middle }; it stands to the left of points after `middle`. It
 * stands towards the middle of the chart, else on the side where it fits; it is short where it fits on neither.
 * @param edges { left, right } of the chart; @param write as for peakText
 */
export function peakPlace(reply, px, { left, right }, write) {
  const middle = (left + right) / 2;
  const fits = (words, after) => {
    const [from, to] = peakSpan(words, px, after);
    return from >= left && to <= right;
  };
  const texts = [peakText(reply, middle, write), `peak ${write(reply.peak)}`];
  for (const words of texts) {
    const found = [middle, Infinity, -Infinity].find((after) => fits(words, after));
    if (found !== undefined) return { words, middle: found };
  }
  return { words: texts[1], middle };
}

/**
 * Where the name of the budget begins or ends: { x, anchor, below }. It stands at the right end of its line, else at the left
 * end; below the line if the text of the peak covers both ends.
 * @param edges { left, right } of the line; @param wide of the name; @param span of peakSpan, or null
 */
export function limitPlace({ left, right }, wide, span) {
  const free = (from, to) => !span || to < span[0] || from > span[1];
  if (free(right - 5 - wide, right - 5)) return { x: right - 5, anchor: "end", below: false };
  if (free(left + 5, left + 5 + wide)) return { x: left + 5, anchor: "start", below: false };
  return { x: right - 5, anchor: "end", below: true };
}

/**
 * The line of the budget and its name: { beyond, y, nameY, words }. A budget above the chart, as after a change to smaller
 * sizes, has no line; then the name stands at the top of the chart, with an arrow.
 * @param at the height of the budget; @param top that of the chart; @param below whether the name stands below the line
 */
export function limitMark(at, top, words, below) {
  if (at < top) return { beyond: true, y: top, nameY: top - 4, words: `${words} ↑` };
  return { beyond: false, y: at, nameY: at + (below ? 13 : -4), words };
}

/** The height of the text of the peak: above the line of the budget if this would strike it through. @param least the least height */
export function peakHeight(py, least, line) {
  const height = Math.max(least, py - 3);
  return height - 11 < line && line < height + 4 ? Math.max(least, line - 4) : height;
}

/** The mark of the peak, a button; calls `choose(its element)`. */
export function makePeakMark(chart, choose) {
  const { listen, release } = listeners();
  const peak = svg("g", { class: "rv-peak", tabindex: 0, role: "button" }, chart);

  /**
   * Draw the mark at a point of the chart.
   * @param least the least y of the text; @param middle the x from which the text stands to the left
   * @param line the y of the line of the budget; @param words of peakText
   */
  function draw(reply, px, py, least, middle, line, words) {
    peak.replaceChildren();
    if (reply.peakStep < 0) return;
    peak.setAttribute("aria-label", `Peak ${formatBytes(reply.peak)} at step ${reply.peakStep + 1}: what is alive here and why`);
    svg("circle", { cx: px, cy: py - 5, r: 12, class: "rv-peak-target" }, peak);
    svg("path", { d: `M${px} ${py - 1}l-5 -8h10Z`, class: "rv-peak-mark" }, peak);
    const rightHalf = px > middle;
    const height = peakHeight(py, least, line);
    const text = svg("text", { x: px + (rightHalf ? -8 : 8), y: height, class: "rv-peak-text rv-halo", "text-anchor": rightHalf ? "end" : "start" }, peak);
    text.textContent = words.replace(QUESTION, "");
    svg("tspan", { class: "rv-peak-question" }, text).textContent = QUESTION; // a picture leaves it out
    const [from, to] = peakSpan(words, px, middle); // the text can be clicked, too
    const target = svg("rect", { x: from, y: height - 14, width: to - from, height: 18, class: "rv-peak-target" });
    peak.prepend(target);
  }

  listen(peak, "click", (event) => {
    event.stopPropagation(); // a click on the chart would choose a step
    choose(peak);
  });
  listen(peak, "keydown", (event) => {
    event.stopPropagation();
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    choose(peak);
  });

  return { draw, destroy: release };
}

/** The marks of a node, on a strip that begins at `top` and has a `height`. */
export function makeNodeMarks(chart, top, height) {
  const ticks = svg("path", { class: "rv-node-ticks" }, chart);
  const lives = svg("g", { class: "rv-lives" }, chart);

  /** Draw the marks of node v (−1: none); `start` and `middle` give the x of a step in pixels. */
  function draw(reply, v, start, middle) {
    let path = "";
    lives.replaceChildren();
    if (v >= 0) {
      for (let s = 0; s < reply.steps; s++) {
        if (reply.stepNodes[s] === v) path += `M${middle(s).toFixed(1)} ${top}v${height}`;
      }
      for (const [category, first, stop] of livesOf(reply, v)) {
        svg("rect", { x: start(first), y: top + height + 3, width: Math.max(2, start(stop) - start(first)), height: 5, rx: 1.5, class: `rv-life rv-category-${category}` }, lives);
      }
    }
    ticks.setAttribute("d", path);
  }

  return { draw };
}
