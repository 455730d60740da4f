// Finds messages that were lost between page and kernel, and asks the kernel for what they had.
//
// Each message of the kernel with traits has `_revision`, a list [since, number, question, lost, own]: a page that has
// message `since` and those before it now has everything up to `number`. A larger `since` shows that a message was lost.
// The last message may be lost too, so the page also asks when nothing has come for a while. It sends along what it has
// set itself, in case the kernel never got it: `lost` is how many of these the kernel did not have. `own` counts what
// pages have set, so that a page does not undo what another one has set later. `question` repeats the number of the
// question that a message answers; 0 if it answers none.

import { listeners } from "./elements.js";

// ms after the last message or choice, and then after the answer
const QUIET_FOR = [3000, 12000];
// ms; a message that seems to be lost may still be on its way
const GAP_FOR = 300;
// the least ms between two questions
const ASK_EVERY_MS = 3000;
// ms without an answer after which the page asks again, and how often it asks; a busy kernel answers later
const ASK_AGAIN = 60000;
const MOST_QUESTIONS = 3;
// ms between two looks at a busy kernel. It could not answer, and the cell that it runs may close the widget
const BUSY_FOR = 1000;
// ms between two questions that are asked because the user came back
const RETURN_EVERY = 30000;
const SIGNS_OF_RETURN = ["focus", "online", "pointerdown"];

/** What the page has after a message: the number up to which it has everything, and whether a message before is missing. */
export function received(known, [since, number]) {
  return { known: since > known ? known : Math.max(known, number), missing: since > known };
}

/** The `initialize` of a widget; `own` names the traits that the page sets. */
export function inStep(own) {
  return ({ model }) => {
    const first = model.get("_revision");
    if (!first?.length) return undefined; // a page without a kernel
    const { listen, release } = listeners();
    let known = first[0] ? 0 : first[1]; // a message that came before this script shows not what came before it
    let ownKnown = first[0] ? 0 : (first[4] ?? 0);
    let question = Math.floor(Math.random() * 2 ** 40); // other pages ask too
    let asked = -Infinity; // when
    let tries = 0; // questions without an answer
    let owed = false; // whether a question waits until the page is seen
    let busySince = Infinity; // when a question first met a busy kernel
    let lossy = false; // whether a choice was lost: the host may then hold back the next ones, but no questions
    let gap = false; // whether a question about a gap is about to be asked
    let timer = 0;
    let waits = [];

    function askAfter(next) {
      waits = next.slice(1);
      gap = false;
      busySince = Infinity;
      clearTimeout(timer);
      timer = next.length ? setTimeout(ask, next[0]) : 0;
    }
    function ask() {
      gap = false;
      owed = document.hidden;
      if (owed || tries >= MOST_QUESTIONS) return;
      clearTimeout(timer);
      const now = performance.now();
      busySince = Math.min(busySince, now);
      if (model.widget_manager?.kernel?.status === "busy" && now - busySince < ASK_AGAIN) {
        timer = setTimeout(ask, BUSY_FOR);
        return;
      }
      busySince = Infinity;
      tries += 1;
      question += 1;
      asked = now;
      timer = setTimeout(ask, ASK_AGAIN);
      const state = Object.fromEntries(own.map((name) => [name, model.get(name)]));
      try {
        model.send({ type: "since", since: known, own: ownKnown, question, state });
      } catch {
        clearTimeout(timer); // the kernel is gone
      }
    }
    function message() {
      const revision = model.get("_revision");
      const next = received(known, revision);
      known = next.known;
      const [, , answered, lost, ownNow] = revision;
      if (answered && answered === question) {
        tries = 0;
        lossy = lost > 0;
        ownKnown = ownNow;
        askAfter(waits);
      } else if (next.missing) {
        // messages come again, so a question that is not answered was lost
        if (gap || (tries && performance.now() - asked < ASK_EVERY_MS)) return;
        tries = 0;
        askAfter([Math.max(GAP_FOR, asked + ASK_EVERY_MS - performance.now())]);
        gap = true;
      } else if (!answered && !tries) askAfter(QUIET_FOR);
    }
    function chosen() {
      tries = 0;
      askAfter(lossy ? [0, ...QUIET_FOR] : QUIET_FOR);
    }
    function returned() {
      if (document.hidden || (!owed && performance.now() - asked < RETURN_EVERY)) return;
      tries = 0;
      ask();
    }

    model.on("change:_revision", message);
    for (const name of own) model.on(`change:${name}`, chosen);
    for (const type of SIGNS_OF_RETURN) listen(window, type, returned, { passive: true, capture: true });
    listen(document, "visibilitychange", returned);
    askAfter(QUIET_FOR);
    return () => {
      clearTimeout(timer);
      model.off("change:_revision", message);
      for (const name of own) model.off(`change:${name}`, chosen);
      release();
    };
  };
}
