// When the kernel is asked: at once for a choice at rest, now and then during a drag, so that it is free when the drag
// comes to rest. The outline and the graph follow the pointer without it.

// ms between two requests of a drag, or so many times what the last answer took
const ASK_EVERY = 120;
const ASK_SHARE = 3;
// a cell that runs meanwhile is no measure of an answer
const LONGEST_ANSWER = 200;

// ms without an answer after which it is said
const SILENCE = 4000;

/** Paces `send(choice)`; a choice has a `request` number, `first` is the one that is known already; `silent()` tells that no answer comes. */
export function makePacer(send, first, silent) {
  let sent = first;
  let sentAt = 0;
  let took = 0;
  let later = 0;
  let waiting = 0;

  function tell(choice, settled) {
    clearTimeout(later);
    if (choice.request === sent) return;
    const wait = settled ? 0 : sentAt + Math.max(ASK_EVERY, ASK_SHARE * took) - performance.now();
    if (wait > 0) {
      later = setTimeout(tell, wait, choice, settled);
      return;
    }
    sentAt = performance.now();
    sent = choice.request;
    clearTimeout(waiting);
    waiting = setTimeout(silent, SILENCE);
    send(choice);
  }

  /** An answer has come; whatever was about to be asked is older than it. */
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

  return { tell, answered, stop };
}
