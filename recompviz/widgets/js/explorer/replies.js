// Messages of the kernel: each changes the state and repaints what depends on it.

import { readBound, readLayout, readTable, readReply, readRuns } from "../data/wire.js";
import { rowFor, rowWithMask, shareFigures } from "../data/plan_table.js";
import { remember } from "./points.js";

/** Whether a reply answers an older choice than the page has made since, or is about another graph. */
export function isStale(reply, state, fingerprint) {
  return reply.request < state.request || reply.fingerprint !== fingerprint;
}

/** A choice { table, row } after the tables changed: where its plan is in the table of that number, or null. */
export function carried(choice, before, after) {
  const { table, row } = choice;
  const [old, next] = [before[table], after[table]];
  if (!old || !next || row >= old.rows) return null;
  const stride = old.kept.length / old.rows;
  const packed = old.kept.subarray(row * stride, (row + 1) * stride);
  const stays = row < next.rows && packed.every((byte, i) => next.kept[row * stride + i] === byte);
  if (old === next || stays) return { ...choice };
  const found = rowWithMask(next, packed);
  return found < 0 ? null : { ...choice, row: found };
}

/** Listen to the model; returns the function that stops listening. `explorer` is made by mount in explorer.js. */
export function listenToKernel(explorer) {
  const { model, graph, state, views } = explorer;
  const handlers = {
    "change:_reply": () => {
      const next = readReply(model.get("_reply"));
      if (isStale(next, state, graph.fingerprint)) return;
      const moved = next.row !== state.row || next.table !== state.table;
      // with other tables, as after a search, the same choice has another plan; else the kernel chose, for pins or for Python code
      const chose = moved && (model.get("_edition") ?? 0) === explorer.edition;
      if (chose && state.rested) state.earlier = remember(state.earlier, state.rested);
      if (moved || next.request > state.request) Object.assign(state, { table: next.table, row: next.row, budget: next.budget, wanted: next.wanted, settled: true });
      else if (state.settled) Object.assign(state, { budget: next.budget, wanted: next.wanted }); // the kernel may have raised it
      if (moved) Object.assign(state, { rested: chose || state.rested ? { table: next.table, row: next.row } : null, stepping: false });
      Object.assign(state, { request: next.request, confirmed: true });
      explorer.asked = { request: next.request, table: next.table, row: next.row, budget: next.wanted };
      explorer.pacer.answered(next.request);
      views.graph.setNote(model.get("_waiting"));
      explorer.reply = next;
      views.timeline.setReply(explorer.reply);
      explorer.markStep();
      if (state.step >= explorer.reply.steps) explorer.setStep(explorer.reply.steps - 1);
      explorer.light();
      explorer.schedule();
    },
    "change:_more": () => {
      explorer.renumbered = true;
      const before = explorer.tables;
      explorer.tables = shareFigures([...explorer.fixed, ...model.get("_more").map(readTable)]);
      // a table solved with other pins, or with one more loaded plan, has other plans in the same rows
      const now = (choice) => choice && carried(choice, before, explorer.tables);
      state.earlier = state.earlier.map(now).filter(Boolean);
      state.rested = now(state.rested);
      state.opening = now(state.opening);
      if (state.against) explorer.setAgainst(now(state.against));
      Object.assign(state, now({ table: state.table, row: state.row }));
      const gone = ({ table, row }) => !explorer.tables[table] || row >= explorer.tables[table].rows;
      if (gone(state)) Object.assign(state, { table: 0, row: Math.max(0, rowFor(explorer.tables[0], state.budget)) });
      explorer.schedule();
    },
    "change:_pins": () => {
      if (model.get("_pins").request < state.pins.request) return;
      state.pins = model.get("_pins");
      explorer.schedule();
    },
    "change:_layout": () => {
      views.graph.setLayout(readLayout(model.get("_layout")));
      explorer.light();
      explorer.lightUp();
    },
    "change:_runs": () => {
      state.runs = readRuns(model.get("_runs"));
      explorer.schedule();
    },
    "change:_run": () => explorer.schedule(),
    "change:_waiting": () => {
      views.graph.setNote(model.get("_waiting"));
      explorer.schedule();
    },
    "change:_searching": () => explorer.schedule(),
    "change:_sizes": () => {
      if (["failed", "cancelled", "idle"].includes(model.get("_sizes").state)) views.fit.reset();
      explorer.schedule();
    },
    "change:_bound": () => {
      explorer.bound = readBound(model.get("_bound"));
      views.budget.setBound(explorer.bound);
      explorer.schedule();
    },
    "change:_theory": () => explorer.showTheory(model.get("_theory")),
    "change:_solving": () => {
      const { state: how, text, loaded } = model.get("_solving");
      if (how === "failed" || loaded) views.save.report(text);
      explorer.schedule();
    },
    "msg:custom": (message, buffers) => {
      if (message?.type === "page" && buffers?.length) views.save.page(buffers[0]);
    },
  };
  handlers["change:_revision"] = () => explorer.heard(); // every message with traits has one
  for (const [event, handler] of Object.entries(handlers)) model.on(event, handler);
  return () => {
    for (const [event, handler] of Object.entries(handlers)) model.off(event, handler);
  };
}
