// The model of a lesson in a page without a kernel. It has the same `get`, `set`, `on` and `send` as the model of a
// widget. It computes the costs of a sequence, and has the frames of some sequences, which the kernel made in advance.

import { costsText, sequenceKey } from "./sequence_costs.js";

/** The model; `traits` are the values of the widget, `steppers` maps keys of sequences to scenes. */
export function offlineLesson({ traits, steppers = {} }) {
  const values = { ...traits };
  const handlers = new Map();
  const setTrait = (name, value) => {
    if (values[name] === value) return;
    values[name] = value;
    for (const handler of handlers.get(`change:${name}`) ?? []) handler();
    if (name !== "_sequence") return;
    setTrait("_stepper", {});
    setTrait("_costs", costsText(values._lesson, value));
  };
  return {
    offline: true,
    get: (name) => values[name],
    set: setTrait,
    save_changes: () => {},
    on: (event, handler) => handlers.set(event, [...(handlers.get(event) ?? []), handler]),
    off: (event, handler) => handlers.set(event, (handlers.get(event) ?? []).filter((other) => other !== handler)),
    send: ({ type }) => {
      if (type !== "step") return;
      const scene = steppers[sequenceKey(values._sequence)];
      setTrait("_problem", scene ? "" : "This page has no steps of this sequence; they need a notebook.");
      if (scene) setTrait("_stepper", scene);
    },
  };
}
