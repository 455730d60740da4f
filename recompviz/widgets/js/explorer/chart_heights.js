// The heights of the two charts. In a low window they are less high, so that the graph below them begins in view.

const LOW = 800; // pixels of a window, as in the style sheet

/** The heights in pixels in a window of some height: { landscape, curve }. */
export function chartHeights(windowHeight) {
  return windowHeight < LOW ? { landscape: 216, curve: 200 } : { landscape: 252, curve: 236 };
}
