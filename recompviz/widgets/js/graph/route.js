// The line of an edge: straight pieces with rounded corners, like a metro map.

/** An SVG path through points [x0, y0, x1, y1, …], corners rounded by at most `radius`. */
export function routePath(points, from, to, radius = 7) {
  const n = to - from;
  if (n < 2) return "";
  const x = (i) => points[2 * (from + i)];
  const y = (i) => points[2 * (from + i) + 1];
  let path = `M${round(x(0))} ${round(y(0))}`;
  for (let i = 1; i < n - 1; i++) {
    const inX = x(i) - x(i - 1);
    const inY = y(i) - y(i - 1);
    const outX = x(i + 1) - x(i);
    const outY = y(i + 1) - y(i);
    const inLength = Math.hypot(inX, inY);
    const outLength = Math.hypot(outX, outY);
    if (inLength === 0 || outLength === 0) continue;
    if (Math.abs(inX * outY - inY * outX) < 0.02 * inLength * outLength) continue; // straight on
    const r = Math.min(radius, inLength / 2, outLength / 2);
    path += `L${round(x(i) - (inX / inLength) * r)} ${round(y(i) - (inY / inLength) * r)}`;
    path += `Q${round(x(i))} ${round(y(i))} ${round(x(i) + (outX / outLength) * r)} ${round(y(i) + (outY / outLength) * r)}`;
  }
  return `${path}L${round(x(n - 1))} ${round(y(n - 1))}`;
}

function round(value) {
  return Math.round(value * 10) / 10;
}
