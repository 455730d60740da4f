// Saving and loading: pictures, the plan as JSON, and the whole Explorer as one page.

import { html, listeners, setText } from "../shared/elements.js";
import { keepMask, segmentsOf } from "../data/plan_table.js";
import { withShown } from "../shared/page_data.js";
import { snapshot, rasterise, download } from "./picture_out.js";

// as in recompviz/core/plans/plan.py
const FORMAT = "recompviz plan 1";
// a plan has some characters for each node
const MOST_BYTES = 64e6;

/** A row as the JSON that `recompviz.Plan.from_json` reads. */
export function planJson(graph, table, row) {
  return {
    format: FORMAT,
    version: graph.version,
    fingerprint: graph.fingerprint,
    kind: table.names[row].replace(/^loaded /, ""),
    keep: Array.from(keepMask(table, row, graph.count)).join(""),
    segment: Array.from(segmentsOf(table, row, graph.count)),
  };
}

/** The table and row with the keep mask of a plan in JSON, or null. Throws if the plan is for another graph. */
export function findPlan(text, graph, tables) {
  const no = "this is not a recompviz plan; write one with plan.to_json()";
  let plan;
  try {
    plan = JSON.parse(text);
  } catch (error) {
    throw new Error(`${no} (it is not JSON: ${error.message})`);
  }
  if (plan?.format !== FORMAT || typeof plan.fingerprint !== "string") throw new Error(no);
  if (plan.fingerprint !== graph.fingerprint) {
    const writer = plan.version === graph.version ? "" : `; ${plan.version ? `recompviz ${plan.version}` : "an older version of recompviz"} wrote it, this is recompviz ${graph.version}`;
    throw new Error(`the plan was made for graph ${plan.fingerprint.slice(0, 12)}…, this is ${graph.fingerprint.slice(0, 12)}…${writer}`);
  }
  for (const [number, table] of tables.entries()) {
    for (let row = 0; table && row < table.rows; row++) {
      if (Array.from(keepMask(table, row, graph.count)).join("") === plan.keep) return { table: number, row };
    }
  }
  return null;
}

/**
 * The lines of a training script that apply a saved plan.
 * @param script { trace, step }: calls with the user's names
 * @param sizes "batch 64", the sizes for which the plan was made; "" if they are those of the user's own batch
 */
export function applyLines(file, script, sizes = "") {
  return [
    "import recompviz as rv",
    "",
    `trace = ${script.trace}${sizes && `  # with tensors of ${sizes}, for which the plan was made`}`,
    `plan = rv.Plan.from_json(trace.graph, open("${file}").read())`,
    "step = rv.apply(trace, plan)  # then, in the loop:",
    `${script.step}.backward()`,
  ].join("\n");
}

/**
 * The panel.
 * @param actions { now() → { table, row, tables }, choose(table, row), load(text), page(), arrange() of snapshot, shown() for withShown, otherSizes() for applyLines }
 */
export function makeSaveView(parent, graph, root, actions, offline) {
  const { listen, release } = listeners();
  const file = graph.title.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-|-$/g, "") || "plan";
  let awaited = false; // whether this view asked for the page
  const row = html("div", "rv-save", parent);
  const status = html("div", "rv-drawer-title", parent);
  status.setAttribute("role", "status");
  const button = (text, label, act) => {
    const element = html("button", "rv-button", row, text);
    element.title = label;
    listen(element, "click", act);
    return element;
  };
  button("Picture (SVG)", "Download this view as SVG", async () => {
    download(`${file}.svg`, new Blob([(await snapshot(root, graph.title, actions.arrange)).text], { type: "image/svg+xml" }));
    setText(status, `saved ${file}.svg`);
  });
  button("Picture (PNG)", "Download this view as PNG", async () => {
    download(`${file}.png`, await rasterise(await snapshot(root, graph.title, actions.arrange)));
    setText(status, `saved ${file}.png`);
  });
  button("Plan (JSON)", "Download the plan shown as JSON", () => {
    const { table, row: at, tables } = actions.now();
    download(`${file}.plan.json`, new Blob([JSON.stringify(planJson(graph, tables[table], at))], { type: "application/json" }));
    setText(status, `saved ${file}.plan.json`);
  });
  const input = html("input", "rv-hidden", row);
  Object.assign(input, { type: "file", accept: ".json,application/json" });
  input.setAttribute("aria-label", "Plan to load");
  input.tabIndex = -1;
  button("Load a plan…", "Show a plan that was saved as JSON", () => input.click());
  listen(input, "change", async () => {
    const chosen = input.files[0];
    input.value = "";
    if (!chosen) return;
    try {
      if (chosen.size > MOST_BYTES) throw new Error("the file is too large for a plan");
      const text = await chosen.text();
      const found = findPlan(text, graph, actions.now().tables);
      if (found) actions.choose(found.table, found.row);
      else if (offline) throw new Error("this page does not contain this plan; load it in a notebook");
      else actions.load(text);
      setText(status, found ? "plan loaded" : "loading the plan…"); // the kernel answers
    } catch (error) {
      setText(status, error.message);
    }
  });
  if (!offline) {
    button("This Explorer as one page (HTML)", "Download a page that works without a kernel and without a network", () => {
      setText(status, "writing the page…");
      awaited = true;
      actions.page();
    });
  }
  // JupyterLab keeps in the page where the outputs of a cell are, so that no output can be replaced after a reload
  if (!offline) html("div", "rv-muted rv-save-hint", parent, "The saved notebook shows a picture of the plan, drawn a few seconds after a choice or at the end of a run. After this page is loaded again, the picture follows once the cell has run again.");
  html("div", "rv-muted rv-save-hint", parent, "To train under the saved plan:");
  html("pre", "rv-code", parent, applyLines(`${file}.plan.json`, graph.script, actions.otherSizes()));
  return {
    page(buffer) {
      if (!awaited) return; // another view asked for it
      awaited = false;
      download(`${file}.html`, new Blob([withShown(new TextDecoder().decode(buffer), actions.shown())], { type: "text/html" }));
      setText(status, `saved ${file}.html`);
    },
    report: (text) => setText(status, text),
    /** What was asked for and told, for a view that is made anew. */
    entry: () => ({ awaited, told: status.textContent }),
    restore(before) {
      ({ awaited } = before);
      setText(status, before.told);
    },
    destroy() {
      release();
      input.remove(); // the browser may hold on to an input that loaded a file, and with it to all that is around it
    },
  };
}
