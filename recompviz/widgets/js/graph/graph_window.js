// The window onto the graph: the camera as a value that changes by hand, by key or to fit, and where things of the
// picture lie on the screen.

import { fit, zoomAt, pan, centreOn, panInto } from "./camera.js";

// below this scale labels are too small to read and are left out
const READABLE = 0.5;
// a whole smaller than this is a thread: such a picture begins at its start instead
const THREAD = 0.3;

/**
 * The window.
 * @param frame the element that is looked through
 * @param picture { scene } as it is now
 * @param told(camera, view, far) is called after each change
 */
export function makeGraphWindow(frame, picture, told) {
  let camera = { scale: 1, x: 0, y: 0 };
  let moved = false; // by hand; what was not, is fitted again when the window changes

  const view = () => ({ width: frame.clientWidth || 960, height: frame.clientHeight || 400 });

  function setCamera(next, byHand) {
    camera = next;
    moved = moved || byHand;
    told(camera, view(), camera.scale < READABLE);
  }

  function refit() {
    const { scene } = picture;
    const { width, height } = view();
    const whole = fit(scene, view());
    moved = false;
    // in one long line the whole is a thread: begin at its start, at a readable size, and leave the rest to the minimap
    if (whole.scale < THREAD && scene.mode === "right") setCamera({ scale: 0.9, x: 20, y: height / 2 - 0.45 * scene.height }, false);
    else if (whole.scale < THREAD && scene.mode === "down") setCamera({ scale: 0.9, x: width / 2 - 0.45 * scene.width, y: 20 }, false);
    else setCamera(whole, false);
  }

  return {
    setCamera,
    refit,
    /** After the frame has another size. */
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
    /** Shift as little as it takes to show a box. */
    bring(b) {
      const { scene } = picture;
      const next = panInto(camera, view(), { x: scene.x[b], y: scene.y[b], w: scene.w[b], h: scene.h[b] });
      if (next.x !== camera.x || next.y !== camera.y) setCamera(next, true);
    },
    /** Shift so that a point of the world comes to lie at a point of the screen. */
    hold: ([x, y], [sx, sy]) => setCamera({ ...camera, x: sx - camera.scale * x, y: sy - camera.scale * y }, true),
    fitsReadably: () => fit(picture.scene, view()).scale >= READABLE,
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
