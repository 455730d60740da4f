// The motion from one scene to the next when modules are opened or closed: boxes that both scenes show move to their new
// places, new ones appear where their module was. It is left out if the user prefers reduced motion.

const DURATION = 280;

/** What a scene shows and where, for `moveFrom` after the next one is drawn. */
export function scenePlaces(scene, camera, count) {
  return {
    camera,
    boxes: new Map(scene.items.map((item, b) => [item, [scene.x[b], scene.y[b]]])),
    frames: new Map(scene.frames.map(({ m, x, y, w, h }) => [count + m, [x + w / 2, y + h / 2]])),
  };
}

/** Where an item was before: itself, or the nearest module around it or in its place; and whether it was shown. */
export function placeBefore(item, before, tree) {
  if (before.boxes.has(item)) return { at: before.boxes.get(item), shown: true };
  if (before.frames.has(item)) return { at: before.frames.get(item), shown: false };
  const around = item < tree.count ? tree.around[item] : parentsOf(tree, item - tree.count);
  for (const m of around) {
    const at = before.boxes.get(tree.count + m) ?? before.frames.get(tree.count + m);
    if (at) return { at, shown: false };
  }
  return { at: null, shown: false };
}

function parentsOf(tree, m) {
  const found = [];
  for (let above = tree.parent[m]; above >= 0; above = tree.parent[above]) found.push(above);
  return found;
}

/**
 * Start the motion.
 * @param before of scenePlaces
 * @param now { scene, camera, tree, world, groups, fading }: the new scene, the element that the camera transforms, the elements of the boxes, and the elements that fade in
 */
export function moveFrom(before, { scene, camera, tree, world, groups, fading }) {
  if (!world.animate || matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  const timing = { duration: DURATION, easing: "cubic-bezier(.2,.7,.2,1)" };
  const seen = (c) => `translate(${c.x}px, ${c.y}px) scale(${c.scale})`;
  world.animate([{ transform: seen(before.camera) }, { transform: seen(camera) }], timing);
  groups.forEach((group, b) => {
    const { at, shown } = placeBefore(scene.items[b], before, tree);
    const there = `translate(${scene.x[b]}px, ${scene.y[b]}px)`;
    if (!at) group.animate([{ opacity: 0 }, { opacity: 1 }], timing);
    else if (shown) group.animate([{ transform: `translate(${at[0]}px, ${at[1]}px)` }, { transform: there }], timing);
    else group.animate([{ transform: `translate(${at[0]}px, ${at[1]}px) scale(.4)`, opacity: 0 }, { transform: there, opacity: 1 }], timing);
  });
  for (const element of fading) element.animate([{ opacity: 0 }, { opacity: 0, offset: 0.4 }, { opacity: 1 }], timing);
}
