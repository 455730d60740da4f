// Which of the plan's lower sets is shown on the graph: L_i with its boundary, V_i and U_i as flags, its numbers in the
// panel under the graph; kept up to date while the plan changes.

import { boundaryOf } from "../data/lower_sets.js";
import { makeSequenceView } from "./sequence_view.js";
import { sequenceOf } from "../data/sequence.js";

// of a graph of more nodes than this the sequence follows once the budget rests
const AT_ONCE = 400;
const REST = 250;

/** The browser; `shown()` is called when the panel comes or goes, for it changes the height of the graph. */
export function makeSequenceBrowser(parent, toggle, graph, near, painter, shown) {
  const view = makeSequenceView(parent, toggle, browse);
  let sequence = null;
  let index = 0;
  let later = 0;

  const make = () => sequenceOf(graph, near, painter.plan.segments, painter.plan.kept);

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
  }

  return {
    /** Whether a lower set of the sequence is shown. */
    get open() {
      return index > 0;
    },
    /** The plan changed; `fresh` where everything is painted anew. */
    follow(fresh) {
      if (!index) return;
      clearTimeout(later);
      if (fresh || graph.count <= AT_ONCE) renew();
      else later = setTimeout(renew, REST);
    },
    destroy() {
      clearTimeout(later);
      view.destroy();
    },
  };
}
