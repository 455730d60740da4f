// What a recording holds at each moment, from the columns of its page. Mirrors recompviz/core/snapshots/moments.py.

/** Whether something that is born and dies at these events exists right after event `at`. */
function exists(born, died, at) {
  return born <= at && died > at;
}

/** The bytes in use after each event from −1 on: `columns` has size, born and died. */
export function levels(columns, events) {
  const change = new Float64Array(events + 2);
  columns.size.forEach((size, i) => {
    change[columns.born[i] + 1] += size;
    if (columns.died[i] <= events) change[columns.died[i] + 1] -= size;
  });
  let sum = 0;
  return Array.from(change.subarray(0, events + 1), (delta) => (sum += delta));
}

/** The groups of blocks alive right after event `at`, by the place that allocated them, the largest first. */
export function groupsAt(recording, at) {
  const groups = new Map();
  const { size, born, died, stack } = recording.blocks;
  for (let i = 0; i < size.length; i += 1) {
    if (!exists(born[i], died[i], at)) continue;
    const group = groups.get(stack[i]) ?? { stack: stack[i], bytes: 0, count: 0 };
    group.bytes += size[i];
    group.count += 1;
    groups.set(stack[i], group);
  }
  return [...groups.values()].sort((a, b) => b.bytes - a.bytes);
}

/** The reserved segments right after event `at`, each with the blocks in it, the largest first. */
export function segmentsAt(recording, at) {
  const { parts, blocks } = recording;
  const found = [];
  const order = [...parts.address.keys()].filter((i) => exists(parts.born[i], parts.died[i], at));
  order.sort((a, b) => parts.address[a] - parts.address[b]);
  for (const i of order) {
    const last = found.at(-1);
    const joins = last && parts.expandable[i] && last.kind === parts.kind[i];
    if (joins && last.address + last.size === parts.address[i]) last.size += parts.size[i];
    else found.push({ address: parts.address[i], size: parts.size[i], kind: parts.kind[i], blocks: [] });
  }
  const used = [...blocks.address.keys()].filter((i) => exists(blocks.born[i], blocks.free[i], at));
  used.sort((a, b) => blocks.address[a] - blocks.address[b]);
  let segment = 0;
  for (const i of used) {
    while (segment < found.length && found[segment].address + found[segment].size <= blocks.address[i]) segment += 1;
    if (segment < found.length && found[segment].address <= blocks.address[i]) {
      const waits = !exists(blocks.born[i], blocks.died[i], at);
      found[segment].blocks.push({ block: i, address: blocks.address[i], size: blocks.size[i], waits });
    }
  }
  return found.sort((a, b) => b.size - a.size);
}
