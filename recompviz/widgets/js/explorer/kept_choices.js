// Choices of the user in a form that outlives the plan tables: when a search has found better plans, or another size is shown,
// the same number of a table and a row mean another plan.

import { rowFor, rowWithMask } from "../data/plan_table.js";

/** The name of a plan { table, row } by which it is found in other tables: a baseline's, a loaded plan's, or "keep-all"; else null. */
export function knownName(tables, { table, row }) {
  if (tables[table]?.objective === "given") return tables[table].names[row];
  return table === 0 && row === 0 ? "keep-all" : null;
}

/** The plan { table, row } of a name from knownName, or null. */
export function knownRival(tables, name) {
  const table = name === null ? -1 : tables.findIndex((each) => each?.objective === "given" && each.names.includes(name));
  if (table >= 0) return { table, row: tables[table].names.indexOf(name) };
  return name === "keep-all" ? { table: 0, row: 0 } : null;
}

/** What is remembered of a plan { table, row }: its name, what it keeps, its objective and its total peak. Null if there is no such row. */
export function asKept(tables, { table, row }) {
  const { objective, family, base, kept, rows, totalPeaks } = tables[table] ?? { rows: 0 };
  if (row >= rows) return null;
  const stride = kept.length / rows;
  return { name: knownName(tables, { table, row }), objective, family, pinned: base >= 0, packed: kept.slice(row * stride, (row + 1) * stride), total: totalPeaks[row] };
}

/**
 * The plan { table, row } in other tables: the same plan, or else the one that replaced it at its total; null if there is none.
 * @param kept of asKept; @param sameStep whether the tables are of the same training step, so that bytes mean the same
 */
export function shownAgain(kept, tables, sameStep) {
  const named = knownRival(tables, kept.name);
  if (named) return named;
  const alike = tables.findIndex((table) => table && table.objective === kept.objective && table.family === kept.family && table.base >= 0 === kept.pinned);
  for (const number of [alike, ...tables.keys()]) {
    const row = tables[number] ? rowWithMask(tables[number], kept.packed) : -1;
    if (row >= 0) return { table: number, row };
  }
  const row = sameStep && alike >= 0 ? rowFor(tables[alike], kept.total) : -1;
  return row < 0 ? null : { table: alike, row };
}
