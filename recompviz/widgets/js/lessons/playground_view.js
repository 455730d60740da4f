// The playground: clicks on nodes build a set, a sentence says whether it is a lower set, and lower sets form a sequence.
// The page handles clicks itself. The kernel draws an edited graph and computes the cost of a sequence.

import { html, keepBareKeys, listeners } from "../shared/elements.js";
import { clickable, sceneView } from "./scene_view.js";
import { boundary, closure, playgroundPatch, setWords, verdict, violations } from "./playground_patch.js";
import { mountPlayer } from "./lesson_player.js";

function button(parent, text, label = text) {
  const element = html("button", "rv-tbutton", parent, text);
  element.type = "button";
  element.setAttribute("aria-label", label);
  return element;
}

function field(parent, label, name, attributes = {}) {
  const wrap = html("label", "rv-tfield", parent, `${label} `);
  const input = html(name, "", wrap);
  input.setAttribute("aria-label", label); // otherwise the options of a list would be part of its accessible name
  for (const [key, value] of Object.entries(attributes)) input.setAttribute(key, value);
  return input;
}

/** Mount a playground into `el`. Returns a function that ends it. */
export function mountPlayground({ model, el }) {
  const events = listeners();
  const root = html("div", "rv-teach", el);
  keepBareKeys(root, events.listen);
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Lower-set playground");
  const bar = html("div", "rv-tbar", root);
  const preset = field(bar, "Graph", "select");
  for (const name of ["my own", ...model.get("_presets")]) {
    const option = html("option", "", preset, name);
    option.value = name;
  }
  const counted = html("span", "rv-tnote", bar);
  const picture = html("div", "rv-tpicture", root);
  const status = html("div", "rv-tverdict", root);
  status.setAttribute("role", "status");
  const acts = html("div", "rv-tbar", root);
  const toClosure = button(acts, "Take the closure");
  const clear = button(acts, "Clear set", "Clear the set");
  const append = button(acts, "Add to sequence", "Add the set to the sequence");
  const undo = button(acts, "Undo", "Remove the last set of the sequence");
  const step = button(acts, "Step through the strategy");
  const costs = html("div", "rv-tverdict rv-tcosts", root);
  costs.setAttribute("role", "status");
  const stepper = html("div", "rv-tnested", root);

  const editor = html("details", "rv-tedit", root);
  editor.hidden = preset.parentElement.hidden = Boolean(model.offline); // the kernel draws edited graphs
  html("summary", "", editor, "Change the graph");
  html("p", "rv-tnote", editor, "Drag from one node to another to add an edge, or to remove it. Or use the fields.");
  const nodeRow = html("div", "rv-tbar", editor);
  const name = field(nodeRow, "Node", "input", { size: 8, maxlength: 24 });
  const memory = field(nodeRow, "size M", "input", { type: "number", min: 0, value: 1 });
  const time = field(nodeRow, "cost T", "input", { type: "number", min: 0, step: "any", value: 1 });
  const setNode = button(nodeRow, "Set node");
  const dropNode = button(nodeRow, "Remove node");
  const edgeRow = html("div", "rv-tbar", editor);
  const from = field(edgeRow, "Edge from", "select");
  const to = field(edgeRow, "Edge to", "select");
  const setEdge = button(edgeRow, "Add or remove edge");
  const problem = html("div", "rv-tproblem", root);
  problem.setAttribute("role", "alert");

  let view = null;
  let drawn = null; // the scene that the view shows; a new scene arrives after the other traits
  let viewListeners = listeners();
  let player = null;
  const graph = () => model.get("_lesson");
  const chosen = () => new Set(model.get("_chosen"));
  const sequence = () => model.get("_sequence");

  function choose(nodes) {
    model.set("_chosen", [...nodes].sort((a, b) => a - b));
    model.save_changes();
    paint();
  }

  function toggle(v) {
    const set = chosen();
    if (!set.delete(v)) set.add(v);
    const g = graph();
    name.value = g.names[v];
    memory.value = g.memory[v];
    time.value = g.time[v];
    choose(set);
  }

  function paint() {
    if (drawn !== model.get("_scene")) return;
    const g = graph();
    const set = chosen();
    view.apply(playgroundPatch(g, set, sequence()));
    const wrong = violations(g.edges, set).length > 0;
    const last = new Set(sequence().at(-1) ?? []);
    const grows = set.size > last.size && [...last].every((v) => set.has(v));
    status.textContent = verdict(g, set);
    status.classList.toggle("rv-twrong", wrong);
    toClosure.textContent = wrong
      ? `Take the closure ${setWords(g.names, closure(g.ancestors, set))}`
      : "Take the closure";
    toClosure.disabled = !wrong;
    append.disabled = wrong || !grows;
    undo.disabled = sequence().length === 0;
    step.disabled = sequence().length === 0;
    for (const v of g.names.keys()) {
      const role = set.has(v) ? (!wrong && boundary(g.edges, set).has(v) ? ", in the boundary" : ", in the set") : "";
      view.nodes.get(`n${v}`).setAttribute("aria-label", `node ${g.names[v]}${role}`);
      view.nodes.get(`n${v}`).setAttribute("aria-pressed", set.has(v));
    }
  }

  function draw() {
    viewListeners.release();
    viewListeners = listeners();
    picture.replaceChildren();
    const g = graph();
    drawn = model.get("_scene");
    view = sceneView(picture, drawn);
    let dragged = null;
    g.names.forEach((_, v) => {
      const node = view.nodes.get(`n${v}`);
      clickable(node, `node ${g.names[v]}`, () => toggle(v), viewListeners);
      view.nodes.get(`t${v}`).style.pointerEvents = "none";
      viewListeners.listen(node, "pointerdown", () => (dragged = v));
      viewListeners.listen(node, "pointerup", () => {
        if (dragged !== null && dragged !== v) edit({ verb: "edge", from: g.names[dragged], to: g.names[v] });
        dragged = null;
      });
    });
    viewListeners.listen(window, "pointerup", () => setTimeout(() => (dragged = null)));
    g.sets?.forEach((nodes, i) => {
      clickable(view.nodes.get(`h${i}`), `lower set ${setWords(g.names, nodes)}`, () => choose(nodes), viewListeners);
      view.nodes.get(`s${i}`).style.pointerEvents = "none";
    });
    counted.textContent = `${g.count} lower sets among ${g.subsets} subsets`;
    preset.value = g.preset;
    for (const select of [from, to]) {
      const before = select.value;
      select.replaceChildren();
      for (const n of g.names) html("option", "", select, n).value = n;
      if (g.names.includes(before)) select.value = before;
    }
    paint();
  }

  function edit(change) {
    problem.textContent = "";
    model.send({ type: "edit", ...change });
  }

  function setSequence(sets) {
    model.set("_sequence", sets);
    model.save_changes();
    paint();
  }

  events.listen(toClosure, "click", () => choose(closure(graph().ancestors, chosen())));
  events.listen(clear, "click", () => choose([]));
  events.listen(append, "click", () => setSequence([...sequence(), [...chosen()].sort((a, b) => a - b)]));
  events.listen(undo, "click", () => setSequence(sequence().slice(0, -1)));
  events.listen(step, "click", () => model.send({ type: "step" }));
  events.listen(preset, "change", () => edit({ verb: "preset", name: preset.value }));
  const costsOf = () => ({ memory: Number(memory.value), time: Number(time.value) });
  events.listen(setNode, "click", () => edit({ verb: "node", name: name.value.trim(), ...costsOf() }));
  events.listen(dropNode, "click", () => edit({ verb: "remove", name: name.value.trim() }));
  events.listen(setEdge, "click", () => edit({ verb: "edge", from: from.value, to: to.value }));

  const showCosts = () => (costs.textContent = model.get("_costs"));
  const showProblem = () => (problem.textContent = model.get("_problem"));
  const showStepper = () => {
    player?.release();
    stepper.replaceChildren();
    const scene = model.get("_stepper");
    player = scene.frames ? mountPlayer(stepper, scene, "Strategy stepper") : null;
  };
  const wired = [
    ["change:_scene", draw], // the kernel sends it after the other traits
    ["change:_chosen", paint],
    ["change:_sequence", paint],
    ["change:_costs", showCosts],
    ["change:_problem", showProblem],
    ["change:_stepper", showStepper],
  ];
  for (const [event, act] of wired) model.on(event, act);
  draw();
  showCosts();
  showStepper();
  return () => {
    for (const [event, act] of wired) model.off(event, act);
    events.release();
    viewListeners.release();
    player?.release();
  };
}
