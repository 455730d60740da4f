// Steps through the frames of a scene: first, previous, next, last, a chapter, or playing at a chosen speed.

import { html, listeners } from "../shared/elements.js";
import { mountPredictor } from "./predict.js";
import { saveFrame } from "./save_frame.js";
import { sceneView } from "./scene_view.js";

/** The frame after an action, within 0…count − 1. */
export function nextFrame(action, frame, count) {
  const to = { first: 0, back: frame - 1, forth: frame + 1, last: count - 1 }[action] ?? Number(action);
  return Math.min(Math.max(to, 0), count - 1);
}

/** Milliseconds per frame at a speed. */
export function pace(speed) {
  return 1200 / speed;
}

/** The action of a key, or undefined. A list keeps its arrow keys, and a field for a number keeps all of them. */
export function actionOfKey(key, tag, type) {
  if (tag === "SELECT" || (tag === "INPUT" && type === "number")) return undefined;
  return { ArrowLeft: "back", ArrowRight: "forth", Home: "first", End: "last" }[key];
}

const CONTROLS = [
  ["first", "|◀", "First step"],
  ["back", "◀", "Previous step"],
  ["forth", "▶", "Next step"],
  ["last", "▶|", "Last step"],
];

/**
 * Mount a player for one scene. Returns { frame(), show(frame), release() }; calls `changed(frame)` after every change.
 * `more` is the element for chapters and lists; without it they are beside the buttons.
 */
export function mountPlayer(parent, scene, label, { start = 0, changed = () => {}, predict = false, more = null } = {}) {
  const events = listeners();
  const root = html("div", "rv-tplayer", parent);
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", label);
  const count = scene.frames.length;
  let frame = Math.min(Math.max(start, 0), count - 1);
  let timer = null;

  const bar = html("div", "rv-tbar", root);
  const buttons = {};
  for (const [action, sign, name] of CONTROLS) {
    const button = html("button", "rv-tbutton rv-tsign", bar, sign);
    button.type = "button";
    button.setAttribute("aria-label", name);
    button.title = name;
    events.listen(button, "click", () => (stop(), go(nextFrame(action, frame, count))));
    buttons[action] = button;
  }
  const play = html("button", "rv-tbutton", bar, "Play");
  play.type = "button";
  const range = html("input", "rv-trange", bar);
  range.type = "range";
  range.min = 0;
  range.max = count - 1;
  range.setAttribute("aria-label", "Step");
  const place = html("span", "rv-tnote rv-tplace", bar);
  const second = html("div", "rv-tmore", more ?? bar);
  const speed = html("select", "", bar);
  speed.setAttribute("aria-label", "Speed");
  for (const factor of [0.5, 1, 2, 4]) html("option", "", speed, `${factor}×`).value = factor;
  speed.value = "1";
  const chapters = html("div", "rv-tchapters", second);
  for (const [at, name] of scene.chapters) {
    const button = html("button", "rv-tbutton rv-tchapter", chapters, name);
    button.type = "button";
    events.listen(button, "click", () => (stop(), show(at)));
  }
  chapters.hidden = scene.chapters.length === 0;
  const save = html("select", "rv-tsave", second);
  save.setAttribute("aria-label", "Save the picture");
  for (const [value, text] of [["", "Save…"], ["svg", "SVG"], ["png", "PNG"]]) html("option", "", save, text).value = value;
  const caption = html("p", "rv-tcaption", root);
  caption.setAttribute("aria-live", "polite");
  const ask = html("div", "rv-tbar rv-tpredict", root);
  const view = sceneView(html("div", "rv-tpicture", root), scene, (to) => (stop(), show(to)), events);
  const predictor = mountPredictor(ask, second, scene, view, events, predict);

  function show(to) {
    frame = to;
    view.apply({ ...scene.frames[frame], ...predictor.ask(frame) });
    caption.textContent = scene.captions[frame];
    range.value = frame;
    range.setAttribute("aria-valuetext", scene.places?.[frame] ?? `step ${frame + 1} of ${count}`);
    place.textContent = scene.places?.[frame] ?? `${frame + 1} / ${count}`;
    buttons.first.disabled = buttons.back.disabled = frame === 0;
    buttons.last.disabled = buttons.forth.disabled = frame === count - 1;
    changed(frame);
  }

  /** Show a frame. A prediction of it is judged first. */
  function go(to) {
    if (to === frame + 1) predictor.judge(frame);
    show(to);
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    play.textContent = "Play";
  }

  function run() {
    clearInterval(timer);
    timer = setInterval(() => {
      if (frame === count - 1) stop();
      else show(frame + 1);
    }, pace(Number(speed.value)));
  }

  predictor.onChange(() => view.apply({ ...scene.frames[frame], ...predictor.patch(frame) }));
  predictor.onReveal(() => (stop(), go(nextFrame("forth", frame, count))));
  predictor.onToggle(() => show(frame));
  events.listen(play, "click", () => {
    if (timer !== null) return stop();
    if (frame === count - 1) show(0);
    play.textContent = "Pause";
    run();
  });
  events.listen(speed, "change", () => timer !== null && run());
  events.listen(range, "input", () => (stop(), show(Number(range.value))));
  events.listen(save, "change", () => {
    saveFrame(view.root, `${label} ${frame + 1}`, save.value);
    save.value = "";
  });
  events.listen(root, "keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    // JupyterLab must not get keys that the player or one of its fields uses
    if (/^(Arrow|Home|End|Page)/.test(event.key)) event.stopPropagation();
    const action = actionOfKey(event.key, event.target.tagName, event.target.type);
    if (!action) return;
    event.preventDefault();
    stop();
    go(nextFrame(action, frame, count));
  });
  show(frame);
  return { frame: () => frame, show: (to) => (stop(), show(nextFrame(to, frame, count))), release: () => (stop(), second.remove(), events.release()) };
}
