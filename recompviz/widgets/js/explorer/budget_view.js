// The budget: a typed value and a native slider, under the trade-off curve. Slider and curve share the axis of total bytes.

import { heightKeeper, html, listeners, setText } from "../shared/elements.js";
import { afterFrame } from "../shared/measuring.js";
import { parseBudget, percentWith } from "../shared/units.js";
import { reachableRows, leastTotal, rowFor, totalText } from "../data/plan_table.js";
import { budgetDomain, neighbourRow } from "./budget_axis.js";
import { misfitText, notASize } from "./fit.js";
import { makeTradeoffCurve, PAD } from "./tradeoff_curve.js";
import { curveOf, makeSwitches } from "./switches.js";

// half the width of the thumb, by which a native track is inset at both ends
const THUMB = 9;
const BINDS_LINE = 15.6; // pixels, the height of a line of what limits the budget

/**
 * Typed value, curve and slider.
 * @param fixed the tables of the objectives; `all()` gives every table
 * @param base of baseOf in base_time.js; call `redraw` after it changed
 * @param actions { budget(bytes), typed(bytes), row(row, stepping), left() the slider, choose(table, row), objective(table), solver(family), binding(), sizes(), target() }
 * @param devices of markedDevices in fit.js, which are marked on the axis
 */
export function makeBudgetView(parent, graph, fixed, all, families, base, actions, id, devices = []) {
  const { listen, release } = listeners();
  const domain = budgetDomain(fixed, graph.capacity, devices.map(({ bytes }) => bytes));
  const root = html("section", "rv-panel rv-budget", parent);
  const head = html("div", "rv-panel-head", root);
  const label = html("label", "rv-panel-title", head, "Budget");
  label.htmlFor = `${id}-slider`;
  const value = html("input", "rv-budget-value", head);
  Object.assign(value, { type: "text", spellcheck: false, autocomplete: "off" });
  value.setAttribute("aria-label", "Budget, typed: bytes such as 500 MiB, or per cent of keep-all");
  value.title = "type bytes (500 MiB) or per cent of keep-all (60%)";
  const share = html("span", "rv-muted", head);
  html("span", "rv-gap", head);
  const unit = html("button", "rv-button", head, "%");
  unit.setAttribute("aria-label", "Show budgets in per cent of keep-all");
  unit.title = "Show budgets in per cent of keep-all";
  // what was refused, or that no plan fits
  const note = html("div", "rv-budget-note");
  note.setAttribute("role", "status");
  note.id = `${id}-budget-note`;
  value.setAttribute("aria-describedby", note.id);
  // the style sheet shows the slider below the curve; here it comes first, so that few tab stops lead to it
  const slider = html("input", "rv-slider", root);
  Object.assign(slider, { type: "range", id: `${id}-slider` });
  const setRange = () => Object.assign(slider, { min: domain.low, max: domain.high, step: (domain.high - domain.low) / 2000 });
  setRange();
  slider.setAttribute("aria-label", "Budget in total bytes");
  const curve = makeTradeoffCurve(root, graph, fixed, domain, base, id, devices);
  const foot = html("div", "rv-budget-foot", root);
  let refusal = ""; // why the budget typed last was refused
  let tooLow = false; // why it was refused
  let about = ""; // the choice to which the refusal belongs
  let roomFor = ""; // the texts for which there is room
  const leastText = html("span", "rv-least", foot, "");
  const switches = makeSwitches(foot, fixed, families, actions, id);
  const tail = html("div", "rv-budget-tail", root); // what limits the budget, and above it a note
  const binds = html("button", "rv-link rv-binds", tail);
  tail.append(note);
  listen(binds, "click", () => actions.binding(binds));

  let width = 0;
  let drawn = null; // the table of the curve
  let percent = false;
  let moving = false; // whether the slider was moved and the drag has not ended
  let held = false; // whether the least budget holds the drag
  let searching = false; // as drawn
  let state = { table: 0, row: 0, budget: 0, wanted: 0, earlier: [], searching: false };
  const measuring = afterFrame(heightKeeper(root, root)); // a shorter text below the curve moves nothing
  const shown = () => all()[state.table];
  const now = () => all()[curveOf(all(), state.table)]; // the curve stays while a baseline or a loaded plan is shown
  /** Whether a search for better plans goes on, so that the least total is only the least so far. */
  const interim = () => state.searching && fixed.includes(now());
  /** What the least total is called: plans of the search are not proven to be the leanest, those of the formula are. */
  const leastName = () => (interim() ? "least so far" : now().objective === "live" ? "least found" : "least feasible");
  const bytesText = (bytes) => totalText(now(), bytes);
  const shareText = (bytes) => totalText(now(), bytes, (total, more) => percentWith(total / domain.most, more));
  const amount = (bytes) => (percent ? shareText(bytes) : bytesText(bytes));

  function draw() {
    const table = now();
    drawn = table;
    searching = state.searching;
    curve.draw(table, all(), width, percent, interim());
    const right = width - PAD.right;
    slider.style.marginLeft = `${PAD.left - THUMB}px`;
    slider.style.width = `${right - PAD.left + 2 * THUMB}px`;
    const share = (leastTotal(table) - domain.low) / (domain.high - domain.low);
    slider.style.setProperty("--rv-least", `${(100 * (THUMB + share * (right - PAD.left))) / (right - PAD.left + 2 * THUMB)}%`);
    setText(leastText, `${leastName()} ${bytesText(leastTotal(table))} · keep-all ${bytesText(domain.most)}`);
    setText(binds, `What limits the least: ${table.binding}`);
    binds.title = `${binds.textContent}\nclick: go to the leanest plan and see what is alive at its peak`;
    makeRoom();
  }

  function update(next, settled) {
    state = next;
    if (about !== choice()) refusal = ""; // it concerned another choice
    tell();
    if (!width) return;
    if (drawn !== now() || searching !== state.searching) draw();
    const table = now();
    switches.update(all(), state.table, state.theory);
    if (settled) curve.markPoints(all(), state, actions.choose);
    curve.mark(shown(), state.row, state.budget);
    if (settled || !isFocused(slider)) slider.value = state.budget;
    if (!isFocused(value)) value.value = amount(state.budget);
    setText(share, percent ? `of keep-all · ${bytesText(state.budget)} total bytes` : `${shareText(state.budget)} of keep-all`);
    share.title = share.textContent;
    slider.setAttribute("aria-valuetext", `${bytesText(state.budget)} total bytes, ${shareText(state.budget)} of keep-all`);
    if (settled) measuring.ask();
  }

  /** Show budgets in per cent of keep-all, or in bytes again. */
  function showPercent() {
    percent = !percent;
    unit.setAttribute("aria-pressed", String(percent));
    if (!width) return;
    draw();
    update(state, true);
  }

  const isFocused = (element) => element.getRootNode().activeElement === element;

  const choice = () => [state.table, state.row, state.wanted].join();

  /** Say why a budget is refused; "" if it is accepted. `low`: because it is below the least feasible one. */
  function refuse(why, low = false) {
    refusal = why;
    tooLow = low;
    about = choice();
    tell();
  }

  /** A note takes the place of lines of what limits the budget, so that it moves nothing. */
  function makeRoom() {
    const about = [note.textContent, binds.textContent, width].join();
    if (about === roomFor) return;
    roomFor = about;
    for (const element of [tail, binds]) element.removeAttribute("style");
    if (note.hidden) return;
    const [high, taken] = [tail, note].map((element) => element.getBoundingClientRect().height);
    tail.style.height = `${high}px`;
    binds.style.marginTop = `${taken}px`;
    binds.style.maxHeight = `${BINDS_LINE * Math.max(1, Math.floor((high - taken) / BINDS_LINE))}px`;
  }

  /** Say beside the budget why it was refused, or that no plan fits it. */
  function tell() {
    const unsearched = state.unsearched && fixed.includes(shown());
    const misfit = misfitText(state.wanted, shown(), { searching: interim(), unsearched, sizes: actions.sizes?.(), pinned: shown().base >= 0, target: actions.target?.() ?? null });
    setText(note, refusal || misfit);
    note.hidden = note.textContent === "";
    makeRoom();
    const below = held || (refusal === "" ? misfit !== "" && !interim() : tooLow);
    root.classList.toggle("rv-refused", below || refusal !== "");
    root.classList.toggle("rv-below-least", below);
  }

  /**
   * Choose a budget in bytes. A budget that was typed stays, and the leanest plan is shown if none fits it; one that is
   * more than any plan needs is refused. Otherwise the budget becomes the total of its plan.
   */
  function choose(bytes, typed = false) {
    const table = now();
    const least = leastTotal(table);
    if (typed) actions.typed(Math.ceil(bytes > domain.high ? domain.most : bytes));
    else actions.row(rowFor(table, Math.min(domain.high, Math.max(least, bytes))));
    if (!typed && bytes < least) refuse(`${bytesText(bytes)} is below the ${leastName()}, ${bytesText(least)}`, true);
    else if (bytes > domain.high) refuse(`${bytesText(bytes)} is more than any plan needs; keep-all needs ${bytesText(domain.most)}`);
    else refuse("");
  }
  let restored = false; // the next focus comes from a view that is made anew while the user types
  listen(value, "focus", () => {
    if (restored) value.setSelectionRange(value.value.length, value.value.length);
    else value.select();
    restored = false;
  });
  listen(value, "keydown", (event) => {
    event.stopPropagation(); // JupyterLab has commands on bare keys
    if (event.key === "Escape") value.value = amount(state.budget);
    if (event.key !== "Enter") return;
    const bytes = parseBudget(value.value, domain.most);
    value.setAttribute("aria-invalid", String(bytes === null));
    if (bytes === null) return refuse(notASize(value.value, "500 MiB or 60%"));
    slider.focus({ preventScroll: true });
    choose(Math.floor(bytes), true);
  });
  listen(value, "blur", () => {
    value.setAttribute("aria-invalid", "false");
    value.value = amount(state.budget);
  });
  listen(unit, "click", showPercent);

  listen(slider, "input", () => {
    const table = now();
    const least = leastTotal(table);
    const budget = Number(slider.value);
    moving = true;
    held = budget < least;
    refuse("");
    if (budget < least) slider.value = least;
    actions.budget(Math.max(budget, least), rowFor(table, Math.max(budget, least)));
  });
  /** The end of a drag: the budget becomes the total of the plan. */
  function settle() {
    if (!moving) return;
    moving = held = false;
    actions.row(state.row);
  }
  // "change" alone is not enough: there is none if the drag ends where it began, or where the least budget held it
  for (const end of ["change", "keyup", "blur"]) listen(slider, end, settle);
  for (const end of ["pointerup", "pointercancel"]) listen(window, end, settle);
  listen(slider, "keydown", (event) => {
    const table = now();
    const rows = reachableRows(table);
    const at = table === shown() ? state.row : Math.max(0, rowFor(table, state.budget));
    const go = {
      ArrowLeft: () => neighbourRow(table, rows, at, -1),
      ArrowDown: () => neighbourRow(table, rows, at, -1),
      ArrowRight: () => neighbourRow(table, rows, at, 1),
      ArrowUp: () => neighbourRow(table, rows, at, 1),
      Home: () => rows[rows.length - 1],
      End: () => rows[0],
    }[event.key];
    event.stopPropagation(); // JupyterLab has commands on bare keys
    if (!go) return;
    event.preventDefault();
    actions.row(go(), event.key.startsWith("Arrow"));
  });
  listen(slider, "blur", () => actions.left?.());
  listen(curve.chart, "pointerdown", (event) => {
    choose(curve.budgetAt(event));
    slider.focus({ preventScroll: true });
  });

  return {
    update,
    redraw() {
      if (!width || !drawn) return;
      draw();
      update(state, true);
    },
    /** What the user is typing, and the unit, for a view that is made anew: { text, refusal, percent }; the text is null if nothing is typed. */
    entry: () => ({ text: isFocused(value) ? value.value : null, refusal, percent }),
    restore({ text, refusal: why, percent: inPercent }, sameStep) {
      if (inPercent !== percent) showPercent();
      if (!sameStep) return;
      if (text !== null) {
        value.value = text;
        restored = true;
      }
      if (!why) return;
      value.setAttribute("aria-invalid", String(text !== null));
      refuse(why);
    },
    /** Mark other devices; the axis covers those that are near. */
    setDevices(next) {
      Object.assign(domain, budgetDomain(fixed, graph.capacity, next.map(({ bytes }) => bytes)));
      setRange();
      curve.setDevices(next);
      if (width && drawn) draw();
      if (width && drawn) update(state, true);
    },
    /** Show the bounds of the rows of the first table, or null. */
    setBound(bound) {
      curve.setBound(bound);
      if (width && drawn) draw();
      if (width && drawn) update(state, true);
    },
    resize() {
      width = root.clientWidth;
      if (!width) return;
      draw();
      update(state, true);
    },
    destroy: () => {
      switches.destroy();
      curve.destroy();
      measuring.cancel();
      release();
    },
  };
}
