// A linear gradient of a style sheet as the numbers of one in SVG. Pure functions.

/** The parts of a text between its commas, but not between those in parentheses. */
export function outerParts(text) {
  const parts = [""];
  let depth = 0;
  for (const letter of text) {
    depth += letter === "(" ? 1 : letter === ")" ? -1 : 0;
    if (letter === "," && !depth) parts.push("");
    else parts[parts.length - 1] += letter;
  }
  return parts.map((part) => part.trim());
}

/** A place such as "20%" or "9px", in pixels. */
function pixelsOf(place, length) {
  return place.endsWith("%") ? (parseFloat(place) / 100) * length : parseFloat(place);
}

/** The places of the stops, in pixels; stops without one are spread evenly between their neighbours. */
function stopPlaces(stops, length) {
  const at = stops.map(({ place }) => (place === null ? null : pixelsOf(place, length)));
  at[0] ??= 0;
  at[at.length - 1] ??= length;
  for (let i = 1; i < at.length; i++) {
    if (at[i] !== null) continue;
    const next = at.findIndex((place, k) => k > i && place !== null);
    at[i] = at[i - 1] + (at[next] - at[i - 1]) / (next - i + 1);
  }
  return at;
}

/**
 * The gradient of a computed `background-image` on a box, or null if it is no linear gradient.
 * @returns { repeats, x1, y1, x2, y2, stops }: from the first to the last stop in pixels of the box; stops as [offset from 0 to 1, colour]
 */
export function gradientOf(text, width, height) {
  const found = /^(repeating-)?linear-gradient\((.*)\)$/.exec(text);
  if (!found) return null;
  const parts = outerParts(found[2]);
  const turn = /^(-?[\d.]+)deg$/.exec(parts[0]);
  const degrees = turn ? Number(turn[1]) : 180;
  const stops = (turn ? parts.slice(1) : parts).flatMap((part) => {
    const [, colour, places] = /^(.*?)((?:\s+-?[\d.]+(?:px|%)){0,2})$/.exec(part);
    const each = places.match(/-?[\d.]+(?:px|%)/g) ?? [null];
    return each.map((place) => ({ colour, place }));
  });
  const angle = (degrees * Math.PI) / 180;
  const [dx, dy] = [Math.sin(angle), -Math.cos(angle)];
  const length = Math.abs(width * dx) + Math.abs(height * dy);
  const at = stopPlaces(stops, length);
  const [first, last] = [at[0], Math.max(at[at.length - 1], at[0] + 1e-3)];
  const point = (place) => [width / 2 + (place - length / 2) * dx, height / 2 + (place - length / 2) * dy];
  const [[x1, y1], [x2, y2]] = [point(first), point(last)];
  return { repeats: Boolean(found[1]), x1, y1, x2, y2, stops: stops.map(({ colour }, i) => [(at[i] - first) / (last - first), colour]) };
}
