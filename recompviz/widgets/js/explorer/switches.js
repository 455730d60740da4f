// The switches of the budget: objective and solver.

import { html, listeners } from "../shared/elements.js";

// objective of a table → its name and its meaning
export const OBJECTIVES = {
  live: ["best found", "Least recomputation found whose simulated bytes fit the budget; any set of values may be kept"],
  time: ["paper: least time", "The formula's time-centric optima: least overhead under the budget"],
  memory: ["paper: least memory", "The formula's memory-centric optima: largest overhead, lowest true peak"],
  given: ["baseline", "A common choice without a planner, or a loaded plan"],
};

/** The name of a table in the page. */
export function tableName(tables, number, families) {
  const table = tables[number];
  if (!table) return "";
  const name = OBJECTIVES[table.objective][0];
  if (table.base >= 0) return `${name}, under pins`;
  return table.family === "auto" ? name : `${name}, ${families[table.family] ?? table.family}`;
}

/** The number of the switch of a table: that of its objective, whichever solver or pins the table has. */
export function switchOf(tables, number) {
  const table = tables[number];
  if (!table) return -1;
  if (table.base >= 0) return switchOf(tables, table.base);
  return tables.findIndex((other) => other && other.objective === table.objective && table.objective !== "given");
}

/** The number of the table whose plans the budget chooses: while a baseline or a loaded plan is shown, the first one. */
export function curveOf(tables, number) {
  return tables[number].objective === "given" ? 0 : number;
}

/** The numbers of the objectives that the chooser offers: without the paper's view only the best plans found. */
export function offered(tables, theory) {
  const every = tables.map((_, i) => i);
  const best = every.filter((i) => tables[i].objective === "live");
  return theory || !best.length ? every : best;
}

/** Whether the page offers the plans of a table: those of the paper only in its view, and where there are no others. */
export function isOffered(tables, number, theory) {
  const objective = tables[number]?.objective;
  return Boolean(objective) && (theory || objective === "given" || objective === "live" || !tables.some((table) => table?.objective === "live"));
}

/**
 * The switches.
 * @param actions { objective(table), solver(family) }
 */
export function makeSwitches(parent, tables, families, actions, id) {
  const { listen, release } = listeners();
  const root = html("div", "rv-switches", parent);
  const switches = html("div", "rv-switch", root);
  switches.setAttribute("role", "radiogroup");
  switches.setAttribute("aria-label", "Objective");
  const radios = tables.map((table, i) => {
    const [name, meaning] = OBJECTIVES[table.objective];
    const button = html("button", "rv-button", switches, name);
    button.setAttribute("role", "radio");
    button.title = meaning;
    listen(button, "click", () => actions.objective(i));
    return button;
  });
  listen(switches, "keydown", (event) => {
    const shown = radios.filter((radio) => !radio.hidden);
    const at = shown.indexOf(event.target);
    const next = { ArrowRight: at + 1, ArrowLeft: at - 1 }[event.key];
    event.stopPropagation();
    if (at < 0 || next === undefined) return;
    event.preventDefault();
    shown[(next + shown.length) % shown.length].click();
    shown[(next + shown.length) % shown.length].focus();
  });
  const solver = html("select", "rv-select", root);
  solver.id = `${id}-solver`;
  solver.setAttribute("aria-label", "Solver");
  solver.title = "Which lower sets the formula's optima may use";
  for (const [family, name] of Object.entries(families)) html("option", "", solver, name).value = family;
  listen(solver, "change", () => actions.solver(solver.value));
  listen(solver, "keydown", (event) => event.stopPropagation());

  return {
    update(all, number, theory) {
      const at = switchOf(all, number);
      const shown = offered(tables, theory);
      switches.hidden = shown.length < 2;
      radios.forEach((radio, i) => (radio.hidden = !shown.includes(i)));
      radios.forEach((radio, i) => {
        radio.setAttribute("aria-checked", String(i === at));
        radio.tabIndex = i === Math.max(0, at) ? 0 : -1;
      });
      const table = all[number];
      solver.hidden = !theory || !Object.keys(families).length || !["time", "memory"].includes(table.objective) || table.base >= 0;
      if (!solver.hidden) solver.value = table.family;
    },
    destroy: release,
  };
}
