// The model of an exported page, which has no kernel: it answers choices from the data in the page. It has the same
// `get`, `set`, `on` and `send` as the model of a widget, so that the views are the same.

import { readJoint, simulateReply } from "../data/simulated_reply.js";
import { readTable } from "../data/wire.js";
import { keepMask } from "../data/plan_table.js";

/** The model; `data` is the unpacked data of the page. */
export function offlineModel(data) {
  const values = { ...data.traits };
  const joint = readJoint(data.joint);
  values._labels = [...joint.labels];
  const handlers = new Map();
  const count = values._graph.count;
  const tables = [...values._tables, ...values._more].map((message) => (message.rows ? readTable(message) : null));

  function setTrait(name, value) {
    values[name] = value;
    for (const handler of handlers.get(`change:${name}`) ?? []) handler();
  }

  function answer() {
    const { request, table, row, budget } = values._asked;
    const kept = keepMask(tables[table], row, count);
    const affordable = Math.max(budget, tables[table].totalPeaks[row]);
    setTrait("_reply", { request, fingerprint: values._graph.fingerprint, table, row, budget: affordable, wanted: budget, ...simulateReply(joint, kept) });
  }

  // the kernel numbers labels in the order of their first use; from here on labels have the numbers of the joint graph
  values._asked = { ...values._reply, budget: values._reply.wanted ?? values._reply.budget };
  answer();
  let changed = new Set();
  let waiting = 0;
  return {
    offline: true,
    joint,
    get: (name) => values[name],
    set: (name, value) => {
      values[name] = value;
      changed.add(name);
    },
    save_changes: () => {
      if (changed.has("_asked")) {
        clearTimeout(waiting);
        waiting = setTimeout(answer, 30);
      }
      if (changed.has("_mode") && data.layouts[values._mode]) setTrait("_layout", data.layouts[values._mode]);
      changed = new Set();
    },
    on: (event, handler) => handlers.set(event, [...(handlers.get(event) ?? []), handler]),
    off: (event, handler) => handlers.set(event, (handlers.get(event) ?? []).filter((other) => other !== handler)),
    send: () => {},
  };
}
