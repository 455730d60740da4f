// The camera of the graph: screen = scale · world + shift. Pure functions of a camera { scale, x, y }.

export const LEAST_SCALE = 0.02;
export const MOST_SCALE = 6;

/** The camera that shows a whole scene in a window, at a scale of at most `most`. */
export function fit(size, view, pad = 14, most = 1.25) {
  const scale = Math.min((view.width - 2 * pad) / size.width, (view.height - 2 * pad) / size.height, most);
  return { scale, x: (view.width - scale * size.width) / 2, y: (view.height - scale * size.height) / 2 };
}

/** The camera zoomed by a factor about a point of the screen. */
export function zoomAt(camera, factor, x, y) {
  const scale = Math.min(MOST_SCALE, Math.max(LEAST_SCALE, camera.scale * factor));
  const ratio = scale / camera.scale;
  return { scale, x: x - (x - camera.x) * ratio, y: y - (y - camera.y) * ratio };
}

/** The camera shifted on the screen. */
export function pan(camera, dx, dy) {
  return { ...camera, x: camera.x + dx, y: camera.y + dy };
}

/** The camera moved, at its scale, so that a point of the world lies in the middle. */
export function centreOn(camera, view, x, y) {
  return { ...camera, x: view.width / 2 - camera.scale * x, y: view.height / 2 - camera.scale * y };
}

/** The camera with the least shift that shows a rectangle of the world with a margin. */
export function panInto(camera, view, { x, y, w, h }, room = 40) {
  const into = (at, length, size, shift) => {
    const near = camera.scale * (at - size / 2) + shift;
    const far = camera.scale * (at + size / 2) + shift;
    if (near < room) return shift + room - near;
    return far > length - room ? Math.max(shift + length - room - far, shift + room - near) : shift;
  };
  return { ...camera, x: into(x, view.width, w, camera.x), y: into(y, view.height, h, camera.y) };
}
