// A stepper: one or more scenes with a player each; tabs choose the scene.

import { html, keepBareKeys, listeners } from "../shared/elements.js";
import { mountPlayer } from "./lesson_player.js";

/** Mount a stepper into `el`. Returns a function that ends it. */
export function mountStepper({ model, el }) {
  const events = listeners();
  const root = html("div", "rv-teach", el);
  keepBareKeys(root, events.listen);
  root.setAttribute("role", "group");
  const label = model.get("_label");
  root.setAttribute("aria-label", label);
  const scenes = model.get("_scenes");
  const tabs = html("div", "rv-tbar", root);
  tabs.hidden = scenes.length < 2;
  const place = html("div", "", root);
  let player = null;
  const buttons = scenes.map((scene, i) => {
    const button = html("button", "rv-tbutton rv-tchapter", tabs, scene.title);
    button.type = "button";
    events.listen(button, "click", () => {
      model.set("_shown", i);
      model.set("_frame", 0);
      model.save_changes();
      show();
    });
    return button;
  });

  function show() {
    player?.release();
    place.replaceChildren();
    const i = model.get("_shown");
    buttons.forEach((button, j) => button.setAttribute("aria-pressed", i === j));
    player = mountPlayer(place, scenes[i], `${label}: ${scenes[i].title}`, {
      start: model.get("_frame"),
      predict: model.get("_predict"),
      more: tabs.hidden ? null : tabs,
      changed: (frame) => {
        model.set("_frame", frame);
        model.save_changes();
      },
    });
  }
  // steps of the player change the trait, too; following these would stop the player. marimo tells of a change at once,
  // also of the one that the player makes while it is mounted.
  const follow = () => player && model.get("_frame") !== player.frame() && player.show(model.get("_frame"));
  model.on("change:_frame", follow);
  show();
  return () => {
    model.off("change:_frame", follow);
    events.release();
    player.release();
  };
}
