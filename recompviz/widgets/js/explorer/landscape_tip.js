// What is at the pointer on the memory landscape: name, bytes, birth and last use of a value.

import { html, setName, setText } from "../shared/elements.js";
import { formatBytes } from "../shared/units.js";
import { nodeOfBlock, whyAlive } from "../data/blocks.js";
import { MEANING, PHASES } from "./timeline_legend.js";
import { phaseRuns } from "./timeline_shapes.js";

const PHASE_MEANING = {
  forward: "calls of the forward pass",
  recompute: "calls of the forward pass that run again, because their values were not kept",
  backward: "calls of the backward pass",
  accumulate: "gradients are added to those of the parameters",
  optimizer: "calls of the optimizer's step",
};

/**
 * The texts about a bar: name, size with the first and the last step, and why it is alive.
 * @param name(step) → name of a step; @param label(block) → name of a block that is no value of the graph
 */
export function textsOf(graph, reply, bars, k, name, label) {
  const block = bars.blocks[k];
  const category = reply.categories.find((each) => each.number === bars.categories[k])?.label ?? "";
  if (block < 0) return [category, `${formatBytes(bars.bytes[k])} · the whole step`, "allocated before the step and after it"];
  const v = bars.layers[k] > 1 ? nodeOfBlock(reply, block) : -1;
  const title = (v >= 0 && category !== "gradients in flight" ? graph.nodes[v].key : label(block)) || category;
  const stop = reply.blocks.stop[block];
  const until = stop >= reply.steps ? "the end" : `step ${stop}`;
  const outside = v >= 0 && !graph.nodes[v].module && graph.nodes.some((node) => node.module) ? "; computed in the model's own forward, outside of its modules" : "";
  return [title, `${formatBytes(bars.bytes[k])} · step ${bars.first[k] + 1} to ${until} of ${reply.steps}`, `${whyAlive(reply, block, name)}${outside}`];
}

/** The texts about the phase at a step: its name, its steps, and what it is. */
export function phaseTexts(reply, at) {
  const [phase, from, to] = phaseRuns(reply.phases).find(([, , end]) => at < end);
  const name = PHASES[phase];
  return [name, `step ${from + 1} to ${to} of ${reply.steps}`, PHASE_MEANING[name]];
}

/** The texts about a lifetime, as livesOf gives it, of the selected node. */
export function lifeTexts(reply, [category, first, stop], key) {
  const label = reply.categories.find((each) => each.number === category)?.label ?? "";
  return [key, `${label} · step ${first + 1} to ${stop} of ${reply.steps}`, MEANING[label] ?? ""];
}

/** The box with these texts beside the pointer. */
export function makeLandscapeTip(parent) {
  const root = html("div", "rv-tip", parent);
  root.hidden = true;
  const lines = ["rv-tip-title", "rv-tip-line", "rv-tip-why rv-muted"].map((name) => html("div", name, root));
  return {
    /** @param texts of textsOf; @param x, y the pointer; @param width of the chart */
    show(texts, x, y, width) {
      root.hidden = false;
      texts.forEach((text, i) => (i ? setText : setName)(lines[i], text));
      const left = x > width / 2;
      root.style.left = left ? "" : `${x + 14}px`;
      root.style.right = left ? `${width - x + 14}px` : "";
      root.style.top = `${Math.max(0, y - 20)}px`;
    },
    hide() {
      root.hidden = true;
    },
  };
}
