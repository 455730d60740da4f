// The modules as a tree of boxes, and which box shows a node when some boxes are open. See recompviz/widgets/layout/modules.py.

/** The tree. Items are the nodes, then the boxes: box m is item #V + m. */
export function makeModuleTree(graph, modules) {
  const boxes = modules.names.length;
  const count = graph.count;
  const children = Array.from({ length: boxes }, () => []);
  for (let v = 0; v < count; v++) children[modules.owner[v]].push(v);
  for (let m = 1; m < boxes; m++) children[modules.parent[m]].push(count + m);
  const nodes = Array.from({ length: boxes }, () => []);
  const around = Array.from({ length: count }, (_, v) => {
    const found = [];
    for (let m = modules.owner[v]; m >= 0; m = modules.parent[m]) {
      found.push(m);
      nodes[m].push(v);
    }
    return found;
  });
  return { ...modules, boxes, count, children, nodes, around, edgesOfLine: edgesByLine(graph, modules, around, count) };
}

/** How many blocks one repetition of the fold m has. */
export function blocksEach(tree, m) {
  return tree.children[m].filter((item) => item >= tree.count).length / tree.times[m];
}

/** What box m folds, after its name: "×8", or "(2 blocks ×3)" if several blocks repeat together; "" if it folds nothing. */
export function timesText(tree, m) {
  if (tree.times[m] < 2) return "";
  const each = blocksEach(tree, m);
  return each > 1 ? `(${each} blocks ×${tree.times[m]})` : `×${tree.times[m]}`;
}

/** Whether the blocks that box m folds have equal bytes, value by value. */
export function foldsEqual(tree, m, memory) {
  const nodes = tree.nodes[m];
  const period = nodes.length / tree.times[m];
  return nodes.every((v, i) => memory[v] === memory[nodes[i % period]]);
}

/** For each line of a box the edges that share it. An edge leaves some boxes, crosses one and enters others. */
function edgesByLine(graph, modules, around, count) {
  const number = new Map();
  for (let i = 0; i < modules.lines.length / 3; i++) {
    number.set(`${modules.lines[3 * i]},${modules.lines[3 * i + 1]},${modules.lines[3 * i + 2]}`, i);
  }
  const edges = Array.from({ length: number.size }, () => []);
  const add = (box, from, to, e) => edges[number.get(`${box},${from},${to}`)]?.push(e);
  for (let e = 0; e < graph.edges.length / 2; e++) {
    const u = graph.edges[2 * e];
    const v = graph.edges[2 * e + 1];
    let from = u;
    for (const box of around[u]) {
      if (around[v].includes(box)) break;
      add(box, from, -2, e);
      from = count + box;
    }
    let to = v;
    for (const box of around[v]) {
      if (around[u].includes(box)) {
        add(box, from, to, e);
        break;
      }
      add(box, -1, to, e);
      to = count + box;
    }
  }
  return edges;
}

/** The boxes that are open at first: the whole, and the largest ones that fold nothing as long as few boxes are shown. */
export function firstOpen(tree, few = 8) {
  const open = new Set([0]);
  const shown = [...tree.children[0]];
  while (shown.length <= few) {
    const boxes = shown.filter((item) => item >= tree.count && tree.times[item - tree.count] === 1);
    if (!boxes.length) break;
    const largest = boxes.reduce((a, b) => (tree.nodes[b - tree.count].length > tree.nodes[a - tree.count].length ? b : a)) - tree.count;
    if (tree.nodes[largest].length < few) break;
    open.add(largest);
    shown.splice(shown.indexOf(tree.count + largest), 1, ...tree.children[largest]);
  }
  return open;
}

/** The item that shows a node: the outermost closed box around it, else itself. */
export function shownItem(tree, v, open) {
  let item = v;
  for (const box of tree.around[v]) if (!open.has(box)) item = tree.count + box;
  return item;
}

/** The boxes to open so that a node is shown itself. */
export function withNode(tree, v, open) {
  return new Set([...open, ...tree.around[v]]);
}

/** The text of a box: its name, after the name of its parent if it is a number, shortened to `most` characters. */
export function boxName(tree, m, most = 18) {
  const own = tree.names[m] || tree.paths[m] || "model";
  const name = /^\d/.test(own) ? tree.paths[m].split(".").slice(-2).join(".") : own;
  return name.length <= most ? name : `…${name.slice(name.length - most + 1)}`;
}
