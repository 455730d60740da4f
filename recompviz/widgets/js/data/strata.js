// The strata of the memory landscape: the parts of the model, in the order in which they run.

const MOST = 16; // parts; more cannot be distinguished by colour
const HEAVY = 0.55; // a part with more of the bytes is split by the next level of the module path
const LIGHT = 0.05; // neighbouring parts with less are one part

const prefix = (path, depth) => path.split(".").slice(0, depth).join(".");

/** The part of the values that belong to no module: the model's own forward computes them. */
export const ROOT = "outside modules";

/** The name of neighbouring parts together. */
function nameOf(paths) {
  const named = paths.map((path) => path || ROOT);
  return named.length === 1 ? named[0] : `${named[0]} – ${named[named.length - 1]}`;
}

/**
 * The strata of the modules of all nodes, with the bytes of each node.
 * @returns { names, of }: the names in the order of the first run, and the stratum of each node
 */
export function strataOf(modules, bytes) {
  const depth = new Map(); // the paths that are split by the next level
  const keyOf = (path) => {
    let length = 1;
    let key = prefix(path, length);
    while (depth.has(key) && prefix(path, length + 1) !== key) key = prefix(path, ++length);
    return key;
  };
  const total = bytes.reduce((sum, size) => sum + size, 0) || 1;
  let weights = new Map();
  const weigh = () => {
    weights = new Map();
    modules.forEach((path, v) => {
      const key = keyOf(path);
      weights.set(key, (weights.get(key) ?? 0) + bytes[v]);
    });
  };
  weigh();
  for (;;) {
    const heavy = [...weights].find(([key, weight]) => weight > HEAVY * total && !depth.has(key));
    if (!heavy) break;
    const before = weights;
    depth.set(heavy[0], true);
    weigh();
    if (weights.size > MOST) {
      depth.delete(heavy[0]);
      weights = before;
      break;
    }
  }
  const groups = []; // [paths, bytes]
  for (const [key, weight] of weights) {
    const last = groups[groups.length - 1];
    if (last && last[1] < LIGHT * total && weight < LIGHT * total) {
      last[0].push(key);
      last[1] += weight;
    } else groups.push([[key], weight]);
  }
  const place = new Map(groups.flatMap(([paths], g) => paths.map((path) => [path, g])));
  const names = groups.length === 1 && groups[0][0].join() === "" ? ["model"] : groups.map(([paths]) => nameOf(paths));
  return { names, of: Int16Array.from(modules, (path) => place.get(keyOf(path))) };
}
