// The window onto the scene: the camera, which the user or a fit changes, and the places of boxes on the screen.

import { fit, zoomAt, pan, centreOn, panInto } from "./camera.js";

// below this scale labels are too small to read and are not drawn
const READABLE = 0.5;
// a scene is shown whole after a module was opened if its scale is at least this
const LEAST_OPENED = 0.7;
// a scene whose fit is smaller than this is shown from its start, at a readable scale
const THREAD = 0.3;
// the pane is as tall as the fitted scene, within these bounds
const LEAST_HEIGHT = 160;
const MOST_HEIGHT = 420;
const FIT_PAD = 14;
const MOST_FIT = 1.25;

/**
 * The window.
 * @param frame the element that shows the scene
 * @param picture { scene }, the current scene
 * @param changed(camera, view, far) is called after each change of the camera
 */
export function makeGraphWindow(frame, picture, changed) {
  let camera = { scale: 1, x: 0, y: 0 };
  let moved = false; // by the user; otherwise a change of the size fits the scene again

  const view = () => ({ width: frame.clientWidth || 960, height: frame.clientHeight || 400 });

  function setCamera(next, byHand) {
    camera = next;
    moved = moved || byHand;
    changed(camera, view(), camera.scale < READABLE);
  }

  /** Make the pane as tall as the scene needs at the width of the pane. */
  function fitHeight() {
    const { scene } = picture;
    const scale = Math.min((view().width - 2 * FIT_PAD) / scene.width, MOST_FIT);
    const needed = scene.height * (scale < THREAD && scene.mode === "right" ? 0.9 : scale) + 2 * FIT_PAD;
    frame.style.minHeight = `${Math.round(Math.min(MOST_HEIGHT, Math.max(LEAST_HEIGHT, needed)))}px`;
  }

  /** Show the whole scene; if its scale is then smaller than `least`, its start at that scale. */
  function refit(least = 0) {
    const { scene } = picture;
    fitHeight();
    const { width, height } = view();
    const whole = fit(scene, view(), FIT_PAD, MOST_FIT);
    moved = false;
    if (whole.scale < least) return setCamera({ scale: least, x: FIT_PAD, y: FIT_PAD }, true);
    // one long line would be too thin: show its start at a readable scale; the minimap shows the rest
    if (whole.scale < THREAD && scene.mode === "right") setCamera({ scale: 0.9, x: 20, y: height / 2 - 0.45 * scene.height }, false);
    else if (whole.scale < THREAD && scene.mode === "down") setCamera({ scale: 0.9, x: width / 2 - 0.45 * scene.width, y: 20 }, false);
    else setCamera(whole, false);
    return undefined;
  }

  return {
    setCamera,
    refit,
    fitHeight,
    /** Call after another element took a part of the width: fit the scene again, or, if the user moved it, shift the camera by the least distance that shows a box. */
    settle(b) {
      if (!moved) return refit();
      const { scene } = picture;
      setCamera(panInto(camera, view(), { x: scene.x[b], y: scene.y[b], w: scene.w[b], h: scene.h[b] }), false);
      return undefined;
    },
    /** Call after the size of the frame changed. */
    resize: () => picture.scene && (moved ? setCamera(camera, true) : refit()),
    zoomMiddle(factor) {
      const { width, height } = view();
      setCamera(zoomAt(camera, factor, width / 2, height / 2), true);
    },
    zoomTo(factor, event) {
      const box = frame.getBoundingClientRect();
      setCamera(zoomAt(camera, factor, event.clientX - box.left, event.clientY - box.top), true);
    },
    pan: (dx, dy) => setCamera(pan(camera, dx, dy), true),
    centre: (x, y, least = 0) => setCamera(centreOn(camera.scale < least ? { ...camera, scale: 0.9 } : camera, view(), x, y), true),
    /** Shift the camera by the least distance that shows a box. */
    bring(b) {
      const { scene } = picture;
      const next = panInto(camera, view(), { x: scene.x[b], y: scene.y[b], w: scene.w[b], h: scene.h[b] });
      if (next.x !== camera.x || next.y !== camera.y) setCamera(next, true);
    },
    /**
     * Shift the camera so that a point of the world lies at a point of the screen. Unless the user moved the camera, and
     * if the whole scene is legible, show all of it (`whole`); the point then keeps its place as nearly as possible.
     */
    hold([x, y], [sx, sy], whole) {
      const all = fit(picture.scene, view(), FIT_PAD, MOST_FIT);
      const fits = whole && !moved && all.scale >= LEAST_OPENED;
      const { scale } = fits ? all : camera;
      const next = { scale, x: sx - scale * x, y: sy - scale * y };
      if (!fits) return setCamera(next, true);
      const within = (shift, size, length) => Math.max(FIT_PAD, Math.min(shift, length - FIT_PAD - scale * size));
      const { width, height } = view();
      return setCamera({ scale, x: within(next.x, picture.scene.width, width), y: within(next.y, picture.scene.height, height) }, false);
    },
    /** The size of the window that a scene should fill. */
    shape: () => ({ width: view().width - 2 * FIT_PAD, height: MOST_HEIGHT - 90 }),
    onScreen: ([x, y]) => [camera.x + camera.scale * x, camera.y + camera.scale * y],
    outside([x, y]) {
      const { width, height } = view();
      return x < 0 || y < 0 || x > width - 30 || y > height - 20;
    },
    /** The point of the world under the pointer. */
    pointOf(event) {
      const box = frame.getBoundingClientRect();
      return [(event.clientX - box.left - camera.x) / camera.scale, (event.clientY - box.top - camera.y) / camera.scale];
    },
    /** The rectangle in the frame of a box. */
    rectangleOf(b) {
      const { scene } = picture;
      const x = camera.x + camera.scale * scene.x[b];
      const y = camera.y + camera.scale * scene.y[b];
      const [w, h] = [(camera.scale * scene.w[b]) / 2, (camera.scale * scene.h[b]) / 2];
      return { left: x - w, top: y - h, right: x + w, bottom: y + h };
    },
    get camera() {
      return camera;
    },
    get moved() {
      return moved;
    },
  };
}
