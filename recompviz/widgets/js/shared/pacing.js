// When choices are sent to the kernel: at the end of a drag without delay, and during a drag at intervals, so that the
// kernel is free when the drag ends. Outline and graph follow the pointer without the kernel.

// the time between two requests of a drag: 120 ms, or three times the kernel's last answer time if that is longer
const ASK_EVERY = 120;
const ASK_SHARE = 3;
// ms; an answer that takes longer has waited for a running cell, so its time does not count
const LONGEST_ANSWER = 200;

// If the kernel has not answered after this time, in ms, the page says so.
export const SILENCE = 4000;

/** Calls `send(choice)` at these times. `first` is the request number that is already answered; `silent()` is called if no answer comes. */
export function makePacer(send, first, silent) {
  let sent = first;
  let sentAt = 0;
  let took = 0;
  let later = 0;
  let waiting = 0;

  function ask(choice, settled) {
    clearTimeout(later);
    if (choice.request === sent) return;
    const wait = settled ? 0 : sentAt + Math.max(ASK_EVERY, ASK_SHARE * took) - performance.now();
    if (wait > 0) {
      later = setTimeout(ask, wait, choice, settled);
      return;
    }
    sentAt = performance.now();
    sent = choice.request;
    clearTimeout(waiting);
    waiting = setTimeout(silent, SILENCE);
    send(choice);
  }

  /** An answer came. A choice that waits to be sent is older than it and is dropped. */
  function answered(request) {
    if (request === sent) took = Math.min(LONGEST_ANSWER, performance.now() - sentAt);
    sent = request;
    clearTimeout(later);
    clearTimeout(waiting);
  }

  function stop() {
    clearTimeout(later);
    clearTimeout(waiting);
  }

  return { ask, answered, stop };
}
