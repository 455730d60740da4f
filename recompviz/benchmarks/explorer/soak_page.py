"""JavaScript that reads what the page shows of an Explorer; :mod:`recompviz.benchmarks.explorer.soak` compares it."""

# every view of an Explorer in the page: the state of the script, and what is written and drawn
VIEWS = """() => [...document.querySelectorAll(".rv-explorer")].map((root) => {
  const { state, kept } = root.recompviz;
  const text = (selector) => root.querySelector(selector)?.textContent ?? "";
  const typed = root.querySelector(".rv-budget-value");
  const slider = root.querySelector(".rv-slider:not(.rv-scrubber)");
  const percent = root.querySelector(".rv-budget .rv-button[aria-pressed=true]") !== null;
  const drawn = [...root.querySelectorAll(".rv-nodes > g[data-v]")];
  const wrong = drawn.filter((box) => box.ariaLabel.includes(", kept, ") !== (kept[box.dataset.v] === 1)).length;
  const axis = Math.max(slider.min, Math.min(state.budget, slider.max));
  const count = (selector) => root.querySelectorAll(selector).length;
  return {
    table: state.table, row: state.row, budget: Math.trunc(state.budget),
    settled: state.settled, confirmed: state.confirmed, kept: kept.join(""),
    total: text(".rv-tile-total .rv-tile-value"), formula: text(".rv-tile-formula .rv-tile-value"),
    values: text(".rv-tile-values .rv-tile-value"),
    peak: root.querySelector(".rv-timeline .rv-chart").getAttribute("aria-label").match(/peak (.*) total/)?.[1],
    written: percent || typed.matches(":focus") ? null : typed.value,
    slider: Math.abs(slider.value - axis) <= slider.step ? "" : `${slider.value} for ${state.budget}`,
    live: text(":scope > .rv-live"),
    keep: [...state.pins.keep], recompute: [...state.pins.recompute], chips: count(".rv-pins .rv-chip"),
    layout: root.querySelector(".rv-graph").dataset.shown !== "all" ? null : {
      "Wrapped like a text": "wrapped", "Left to right": "right", "Top down": "down",
    }[root.querySelector(".rv-bar [aria-pressed=true]:is([aria-label^=Wrapped], [aria-label^=Left], [aria-label^=Top])")
      ?.ariaLabel],
    runs: state.runs.length, running: !root.querySelector(".rv-run .rv-progress").hidden,
    note: text(".rv-graph-note"), wrong,
    card: root.querySelector(".rv-card").classList.contains("rv-there"),
    pointed: state.hover >= 0 || state.selected >= 0,
    marks: ["card", "now", "now-cross", "minimap", "playhead", "crosshair", "sequence", "header"]
      .filter((name) => count(`.rv-${name}`) !== 1).concat(count(":scope > .rv-live") === 1 ? [] : ["live"]),
    scrolled: [...root.querySelectorAll(".rv-graph, .rv-panel, .rv-below, .rv-header")]
      .concat(root).filter((each) => each.scrollTop || each.scrollLeft).map((each) => each.className),
    wide: root.scrollWidth > root.clientWidth + 1 ? [...root.querySelectorAll("*")]
      .filter((each) => each.getBoundingClientRect().right > root.getBoundingClientRect().right + 1
        && !each.closest(".rv-graph, .rv-table-scroll, svg")).map((each) => each.className).slice(0, 4).join(", ") : "",
  };
})"""

# identifiers that two elements of the page share, and parts of an Explorer outside of every Explorer
STRAY = """() => {
  const ids = [...document.querySelectorAll(".rv-explorer [id]")].map((each) => each.id);
  const outside = [...document.querySelectorAll("body > [class*='rv-']")].map((each) => each.className);
  return [...new Set(ids.filter((id, i) => ids.indexOf(id) !== i)), ...outside];
}"""
