// Where an element covers no box of the graph: a free place in the pane, as near as possible to one box. A pure function.

const SPOT_GAP = 8; // pixels between the element and the boxes and edges around it
const MOST_AVOIDED = 120; // boxes; among more of them the search would take longer than a frame

/**
 * The place { left, top } of an element in a pane, or null if it would cover a box everywhere.
 * @param size, room { width, height } of the element and of the pane
 * @param boxes [left, right, top, bottom] of each box
 * @param near { x, y } a point; of the free places, the one with its middle nearest to it is chosen
 * @param before a place that is kept if it is still free, or null
 */
export function freeSpot(size, room, boxes, near, before = null) {
  const most = { left: room.width - SPOT_GAP - size.width, top: room.height - SPOT_GAP - size.height };
  if (most.left < SPOT_GAP || most.top < SPOT_GAP || boxes.length > MOST_AVOIDED) return null;
  const free = ({ left, top }) =>
    left >= SPOT_GAP && left <= most.left && top >= SPOT_GAP && top <= most.top &&
    boxes.every(([from, to, high, low]) => to + SPOT_GAP <= left || from - SPOT_GAP >= left + size.width || low + SPOT_GAP <= top || high - SPOT_GAP >= top + size.height);
  if (before && free(before)) return before;
  // if a place is free, one that touches a box or an edge on two sides is free, too
  const lefts = [SPOT_GAP, most.left, ...boxes.flatMap(([from, to]) => [to + SPOT_GAP, from - SPOT_GAP - size.width])];
  const tops = [SPOT_GAP, most.top, ...boxes.flatMap(([, , high, low]) => [low + SPOT_GAP, high - SPOT_GAP - size.height])];
  const away = ({ left, top }) => Math.hypot(left + size.width / 2 - near.x, top + size.height / 2 - near.y);
  const nearest = (best, place) => ((!best || away(place) < away(best)) && free(place) ? place : best);
  return lefts.flatMap((left) => tops.map((top) => ({ left, top }))).reduce(nearest, null);
}
