// The player: a scrubber on the axis of the timeline, with buttons for play, pause, step and speed.

import { html, listeners, setText } from "../shared/elements.js";

// seconds for the whole schedule at speed 1
const WHOLE = 24;
const STEP_THUMB = 13; // pixels, the width of the thumb in panels.css
const SPEEDS = [0.25, 0.5, 1, 2, 4];

/** The position in the schedule after a few milliseconds of playing, at most the last step. */
export function advance(at, milliseconds, steps, speed) {
  return Math.min(steps - 1, at + (milliseconds / 1000) * (steps / WHOLE) * speed);
}

/**
 * The player's controls.
 * @param actions { step(step or −1) }
 */
export function makePlayer(head, track, actions, id) {
  const { listen, release } = listeners();
  const root = html("div", "rv-player", head);
  root.setAttribute("role", "group");
  root.setAttribute("aria-label", "Play the schedule");
  const scrubber = html("input", "rv-slider rv-scrubber", track);
  Object.assign(scrubber, { type: "range", min: 0, max: 1, step: 1, id: `${id}-scrubber`, value: 0 });
  scrubber.setAttribute("aria-label", "Step of the schedule");
  let steps = 0;
  let at = -1;
  let speed = 2;
  let frame = 0;
  let before = 0;
  let name = () => "";
  let edge = { left: 0, width: 0 }; // of the axis of the timeline

  const button = (text, label, act) => {
    const element = html("button", "rv-button", root, text);
    element.title = label;
    element.setAttribute("aria-label", label);
    listen(element, "click", act);
    return element;
  };
  button("|‹", "First step", () => go(0));
  button("‹", "Step back", () => go(Math.floor(at) - 1));
  const playButton = button("▶", "Play", toggle);
  playButton.classList.add("rv-play");
  button("›", "Step forward", () => go(Math.floor(at) + 1));
  const rate = button("", "Speed", () => setSpeed((speed + 1) % SPEEDS.length));
  setSpeed(speed);
  const leave = button("✕", "Leave the schedule: show the whole step", () => {
    pause();
    moveTo(-1);
  });
  root.prepend(leave); // while it is invisible, its place is at the empty end

  function setSpeed(next) {
    speed = next;
    setText(rate, `${SPEEDS[speed]}×`);
    rate.setAttribute("aria-label", `Speed ${SPEEDS[speed]}×`);
  }

  function moveTo(step) {
    at = step;
    actions.step(step < 0 ? -1 : Math.floor(step));
  }

  function go(step) {
    pause();
    if (steps) moveTo(Math.max(0, Math.min(steps - 1, step)));
  }

  function toggle() {
    if (frame) return pause();
    if (!steps) return undefined;
    if (at < 0 || at >= steps - 1) moveTo(0);
    before = performance.now();
    frame = requestAnimationFrame(tick);
    show();
    return undefined;
  }

  function tick(now) {
    const next = advance(at, now - before, steps, SPEEDS[speed]);
    before = now;
    const moved = Math.floor(next) !== Math.floor(at);
    at = next;
    if (moved) actions.step(Math.floor(at));
    if (at >= steps - 1) return pause();
    frame = requestAnimationFrame(tick);
    return undefined;
  }

  function pause() {
    cancelAnimationFrame(frame);
    frame = 0;
    at = Math.floor(at);
    show();
  }

  function show() {
    setText(playButton, frame ? "❚❚" : "▶");
    playButton.setAttribute("aria-label", frame ? "Pause" : "Play");
    playButton.title = frame ? "Pause" : "Play";
  }

  function keys(event) {
    const far = Math.max(1, Math.round(steps / 20));
    const act = {
      " ": toggle,
      ArrowLeft: () => go(Math.floor(at) - 1),
      ArrowDown: () => go(Math.floor(at) - 1),
      ArrowRight: () => go(Math.floor(at) + 1),
      ArrowUp: () => go(Math.floor(at) + 1),
      PageUp: () => go(Math.floor(at) + far),
      PageDown: () => go(Math.floor(at) - far),
      Home: () => go(0),
      End: () => go(steps - 1),
      Escape: () => {
        pause();
        moveTo(-1);
      },
    }[event.key];
    event.stopPropagation(); // JupyterLab has commands on bare keys
    if (!act) return;
    event.preventDefault();
    act();
  }
  /** Put the thumb on the axis: over the middle of its step, at the first and at the last one too. */
  function placeThumb() {
    const [first, last, now] = [Number(scrubber.min), Number(scrubber.max), Math.floor(at)];
    const each = edge.width / (last - first + 1);
    scrubber.style.marginLeft = `${edge.left + each / 2 - STEP_THUMB / 2}px`;
    scrubber.style.width = `${edge.width - each + STEP_THUMB}px`;
    scrubber.value = Math.max(first, now);
    scrubber.classList.toggle("rv-idle", now < first || now > last);
  }

  listen(scrubber, "input", () => go(Number(scrubber.value)));
  listen(scrubber, "keydown", keys);

  return {
    /** Set the number of steps of another schedule, and the text for each. If it is shorter, the position moves to its end. */
    setSteps(count, naming) {
      steps = count;
      name = naming;
      if (at >= steps) moveTo(steps - 1);
    },
    /** Let the scrubber cover the steps from `first` to `last`. */
    setRange(first, last) {
      scrubber.min = Math.max(0, first);
      scrubber.max = Math.max(0, last);
      placeThumb(); // a browser moves the thumb into the limits, and leaves it there
    },
    setStep(step) {
      if (Math.floor(at) !== step) at = step;
      placeThumb();
      leave.classList.toggle("rv-no-step", step < 0); // it keeps its place, or the other buttons would move under the pointer
      scrubber.setAttribute("aria-valuetext", step < 0 ? "the whole step" : name(step));
    },
    place(left, width) {
      edge = { left, width };
      placeThumb();
    },
    pause,
    /** The speed, and whether the schedule is being played, for a player that is made anew. */
    entry: () => ({ speed, playing: frame !== 0 }),
    restore(before) {
      setSpeed(before.speed);
      if (before.playing && !frame && at >= 0) toggle();
    },
    destroy: () => {
      pause();
      release();
    },
  };
}
