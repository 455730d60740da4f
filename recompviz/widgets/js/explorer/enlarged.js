// The bytes at the top of the landscape. It shows the peak of keep-all, or, enlarged, the plan alone: its top is then a half,
// a quarter, … of that, so that it does not change with every step of the budget.

const ROOM = 1.08; // over the highest line

/** How many times the top is halved so that `need` bytes still fit below it. */
export function halvings(whole, need) {
  return need > 0 ? Math.max(0, Math.floor(Math.log2(whole / need))) : 0;
}

/**
 * The bytes at the top.
 * @param whole the highest peak of all; @param need the highest line of the plan shown; @param enlarged whether the plan alone is shown
 */
export function topOf(whole, need, enlarged) {
  return (ROOM * whole) / 2 ** (enlarged ? halvings(whole, need) : 0);
}
