// Shows one lower set of the plan: L_i with its boundary, V_i and U_i on the graph, and its numbers in the panel below.
// It follows changes of the plan.

import { boundaryOf } from "../data/lower_sets.js";
import { makeSequenceView } from "./sequence_view.js";
import { sequenceOf } from "../data/sequence.js";

// in a graph with more nodes the sequence follows REST ms after the last change of the plan
const MOST_NODES = 400;
const REST = 250;

/** The browser; `shown()` is called when the panel opens or closes, because the height of the graph changes. */
export function makeSequenceBrowser(parent, toggle, graph, near, painter, shown) {
  const view = makeSequenceView(parent, toggle, browse);
  let sequence = null;
  let index = 0;
  let later = 0;
  let resumed = false; // the panel opens when the plan is painted

  const make = () => sequenceOf(graph, near, painter.plan.segments, painter.plan.states);

  function browse(i) {
    if (i && !sequence) sequence = make();
    const count = i ? sequence.steps.length : 0;
    index = Math.min(Math.max(i, 0), count);
    if (!index) sequence = null;
    view.update(sequence, index);
    show();
    shown();
    if (index && !parent.querySelector(".rv-sequence").contains(document.activeElement)) view.focus();
  }

  function show() {
    if (!index) return painter.lay({ lower: null, segmentOf: null, cached: null });
    const { segments } = painter.plan;
    const inside = Uint8Array.from(segments, (s) => (s <= index ? 1 : 0));
    const cached = Uint8Array.from(sequence.held, (s) => (s > 0 && s <= index ? 1 : 0));
    const segmentOf = Uint8Array.from(segments, (s) => (s === index ? 1 : 0));
    return painter.lay({ lower: { inside, boundary: boundaryOf(inside, near) }, segmentOf, cached });
  }

  function renew() {
    sequence = make();
    index = Math.min(index, sequence.steps.length);
    view.update(sequence, index);
    show();
    if (resumed) shown();
    resumed = false;
  }

  return {
    close: () => index && browse(0),
    /** The number of the lower set shown, from 1; 0 for none. */
    get index() {
      return index;
    },
    /** Show a lower set as soon as the plan is painted, in a view that is made anew. */
    resume(i) {
      index = i;
      resumed = i > 0;
    },
    /** Whether a lower set of the sequence is shown. */
    get open() {
      return index > 0;
    },
    /** Follow a change of the plan; `fresh` if every box was painted. */
    follow(fresh) {
      if (!index) return;
      clearTimeout(later);
      if (fresh || graph.count <= MOST_NODES) renew();
      else later = setTimeout(renew, REST);
    },
    destroy() {
      clearTimeout(later);
      view.destroy();
    },
  };
}
