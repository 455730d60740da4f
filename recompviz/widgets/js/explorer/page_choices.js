// What the reader has chosen, as an exported page opens with it: the choices of a view that is made anew, as JSON can express
// them, without what goes on in the notebook (typing, playing, a run) and without what the notebook said about it.

const GOES_ON = new Set(["save", "run"]); // views whose entries are about the notebook

/** The choices of `unmount.chosen()` in explorer.js, for JSON. */
export function asShown({ against, earlier, entries, ...choices }) {
  const plain = (kept) => kept && { ...kept, packed: [...kept.packed] };
  const shown = Object.fromEntries(Object.entries(entries).filter(([name]) => !GOES_ON.has(name)));
  const { budget, timeline, fit } = shown;
  if (budget) shown.budget = { ...budget, text: null, refusal: "" };
  if (timeline) shown.timeline = { ...timeline, player: { ...timeline.player, playing: false } };
  if (fit) shown.fit = { ...fit, text: null, refusal: "", asking: false };
  return { ...choices, against: plain(against), earlier: earlier.map(plain), entries: shown };
}
