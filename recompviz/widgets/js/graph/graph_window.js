// The window onto the scene: the camera, which the user or a fit changes, and the places of boxes on the screen.

import { fit, zoomAt, pan, centreOn, panInto } from "./camera.js";
import { FRAME_HEAD } from "./compose.js";
import { freeSpot } from "./free_spot.js";

// at this scale labels are 11 px high. Below it they keep this height and are shortened to their boxes
export const LEGIBLE = 0.88;
// below this scale a closed module has no room for a second line of 11 px
export const TWO_LINES = 0.8;
// below this scale a box has no room for a label of 11 px, so that none is drawn
export const NAMED = 0.68;
// a scene whose fit is somewhat smaller than that is shown from its start, with names
const NEARLY_NAMED = 0.4;
// a scene in one line whose fit is smaller than this is shown from its start, at a readable scale
const THREAD = 0.3;
// the pane is as tall as the fitted scene, within these bounds; it is taller only for a scene that is then legible
const LEAST_HEIGHT = 160;
const MOST_HEIGHT = 420;
const MOST_LEGIBLE_HEIGHT = 560;
const MOST_PICTURED_HEIGHT = 4000; // browsers refuse canvases much higher than twice that, and a PNG is painted on one
const FIT_PAD = 14;
const MARK_ROOM = 12; // beside a box, for the mark of a pin; at most FIT_PAD, which a fitted scene has
const MOST_FIT = 1.25;
const HEAD_WIDTH = 180; // of the scene; most names of open modules are shorter

/**
 * The window.
 * @param frame the element that shows the scene
 * @param picture { scene }, the current scene
 * @param changed(camera, view) is called after each change of the camera
 */
export function makeGraphWindow(frame, picture, changed) {
  let camera = { scale: 1, x: 0, y: 0 };
  let moved = false; // by the user; otherwise a change of the size fits the scene again
  let held = false; // a box was opened or closed in its place, and the scene has not been fitted since
  let startOnly = false; // whether the last fit showed only the start of the scene
  let pictured = false; // for a picture, which nobody can scroll: the pane has room for all of the scene

  /** The least scale at which all texts of the scene can be read. The shapes on the lines do not keep their height. */
  const least = () => (picture.scene.shapes ? LEGIBLE : NAMED);

  const view = () => ({ width: frame.clientWidth || 960, height: frame.clientHeight || 400 });

  function setCamera(next, byHand) {
    camera = next;
    moved = moved || byHand;
    changed(camera, view());
  }

  /** The scale at which a scene is as wide as the window. */
  const widthScale = (scene) => Math.min((view().width - 2 * FIT_PAD) / scene.width, MOST_FIT);

  /** Make the pane as tall as the scene needs at the width of the pane. */
  function fitHeight() {
    const { scene } = picture;
    const scale = widthScale(scene);
    const startScale = scale < THREAD && scene.mode === "right" && !pictured ? 0.9 : scale;
    const needed = scene.height * startScale + 2 * FIT_PAD;
    const most = pictured ? MOST_PICTURED_HEIGHT : scale >= least() ? MOST_LEGIBLE_HEIGHT : MOST_HEIGHT;
    frame.style.minHeight = `${Math.round(Math.min(most, Math.max(LEAST_HEIGHT, needed)))}px`;
  }

  /**
   * Show the scene: all of it if it is then legible, else its start at a legible scale if it then fits or nearly fits the
   * window across, else all of it without labels. `whole` asks for all of it. The minimap shows the rest.
   */
  function refit(whole = pictured) {
    const { scene } = picture;
    fitHeight();
    const { width, height } = view();
    const all = fit(scene, view(), FIT_PAD, MOST_FIT);
    const right = scene.mode === "right";
    const across = Math.min(1, right ? (height - 2 * FIT_PAD) / scene.height : widthScale(scene));
    const centred = (length, size) => Math.max(FIT_PAD, (length - size) / 2); // what is longer than the window is shown from its start
    const start = (scale) => (right ? { scale, x: 20, y: centred(height, scale * scene.height) } : { scale, x: centred(width, scale * scene.width), y: FIT_PAD });
    moved = held = false;
    startOnly = !whole && all.scale < least() && across >= NEARLY_NAMED;
    if (startOnly) setCamera(start(Math.max(across, least())), false);
    // one long line would be too thin
    else if (!whole && all.scale < THREAD && scene.mode !== "wrapped") setCamera(start(0.9), false);
    else setCamera(all, false);
  }

  /** Shift the camera by the least distance that shows a box; nothing moves if all of it is seen. */
  function bring(b, room, byHand = true) {
    const { scene } = picture;
    const next = panInto(camera, view(), { x: scene.x[b], y: scene.y[b], w: scene.w[b], h: scene.h[b] }, room);
    if (next.x !== camera.x || next.y !== camera.y) setCamera(next, byHand);
  }

  return {
    setCamera,
    refit,
    /** Fit the scene; if its start is shown already, show all of it. */
    fit: () => refit(startOnly && !moved),
    /** Begin or end showing all of the scene for a picture, in a pane as tall as that needs. */
    setPictured(on) {
      pictured = on;
      if (on) refit();
      else fitHeight();
    },
    fitHeight,
    /** Whether a scene is wider than the window at a legible scale. */
    tooWide: (scene) => widthScale(scene) < NAMED,
    /** Show a selected box, by the least shift of the camera. */
    show: (b) => bring(b, moved ? undefined : MARK_ROOM, false),
    /**
     * Where an element of some size covers neither a box nor the head of an open module: { left, top } in the frame, near the
     * box `b`, or null. The camera that the user moved may move on, so that no place stays free then.
     */
    freeSpot(size, b, before) {
      if (moved) return null;
      const { scene } = picture;
      const { x, y, scale } = camera;
      const onScreen = (left, top, w, h) => [x + scale * left, x + scale * (left + w), y + scale * top, y + scale * (top + h)];
      const boxes = scene.items.map((_, i) => onScreen(scene.x[i] - scene.w[i] / 2, scene.y[i] - scene.h[i] / 2, scene.w[i], scene.h[i]));
      const heads = scene.frames.map((frame) => onScreen(frame.x, frame.y, Math.min(frame.w, HEAD_WIDTH), FRAME_HEAD));
      return freeSpot(size, view(), [...boxes, ...heads], { x: x + scale * scene.x[b], y: y + scale * scene.y[b] }, before);
    },
    /** Call after the height of the frame may have changed. */
    resize: () => picture.scene && (moved || held ? setCamera(camera, false) : refit()),
    /** What the user has made of the camera, or null if the scene is fitted. */
    place: () => (moved || held ? { camera, moved, held, width: view().width } : null),
    /** Show again what `place` returned: what was in the middle of the pane across is there, whatever its width is now. */
    restore(place) {
      if (!place) return refit();
      ({ moved, held } = place);
      return setCamera(pan(place.camera, (view().width - place.width) / 2, 0), false);
    },
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
    bring,
    /**
     * Shift the camera so that a point of the world lies at a point of the screen. Unless the user moved the camera, and
     * if it is then legible, show the whole scene, or else all of its width (`whole`); the point then keeps its place as
     * nearly as possible.
     */
    hold([x, y], [sx, sy], whole) {
      const { scene } = picture;
      const all = fit(scene, view(), FIT_PAD, MOST_FIT).scale;
      const fitted = all >= least() || !whole ? all : Math.min(1, widthScale(scene));
      const fits = !moved && fitted >= least();
      const scale = fits ? fitted : camera.scale;
      const next = { scale, x: sx - scale * x, y: sy - scale * y };
      held = true;
      if (!fits) return setCamera(next, false);
      const within = (shift, size, length) => {
        const ends = [FIT_PAD, length - FIT_PAD - scale * size].sort((a, b) => a - b);
        return Math.max(ends[0], Math.min(shift, ends[1]));
      };
      const { width, height } = view();
      startOnly = all < least();
      return setCamera({ scale, x: within(next.x, scene.width, width), y: within(next.y, scene.height, height) }, false);
    },
    /** The size of the window that a scene should fill, less some width. */
    shape: (less = 0) => ({ width: view().width - 2 * FIT_PAD - less, height: MOST_HEIGHT - 90 }),
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
