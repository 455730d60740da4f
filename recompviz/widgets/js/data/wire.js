// Reads the messages of the kernel into typed arrays. Mirrors recompviz/widgets/explorer/wire.py; wire.md lists the fields.

import { bandsOf } from "./blocks.js";

/** A typed array over the bytes of a DataView; unaligned bytes are copied. */
export function typed(Type, view) {
  if (!view) return new Type(0);
  const { buffer, byteOffset, byteLength } = view;
  const size = Type.BYTES_PER_ELEMENT;
  if (byteOffset % size === 0) return new Type(buffer, byteOffset, byteLength / size);
  return new Type(buffer.slice(byteOffset, byteOffset + byteLength));
}

/** The `_graph` trait. */
export function readGraph(message) {
  const fields = ["label", "key", "op", "module", "source", "shape", "dtype", "flags", "block"];
  return {
    fingerprint: message.fingerprint,
    version: message.version,
    title: message.title,
    device: message.device,
    capacity: message.capacity ?? null,
    timeUnit: message.time_unit,
    stepTime: message.step_time ?? null, // of the step without recomputation, in the unit of the costs
    script: message.script, // the user's names, for code to copy
    count: message.count,
    edges: typed(Uint32Array, message.edges),
    memory: typed(Float64Array, message.memory),
    time: typed(Float64Array, message.time),
    nodes: message.nodes.map((row) => Object.fromEntries(fields.map((field, i) => [field, row[i]]))),
  };
}

/** The `_layout` trait. */
export function readLayout(message) {
  return {
    mode: message.mode,
    engine: message.engine,
    nodes: typed(Float32Array, message.nodes),
    points: typed(Float32Array, message.points),
    offsets: typed(Uint32Array, message.offsets),
    width: message.size[0],
    height: message.size[1],
    node: message.node,
  };
}

/** The `_modules` trait. */
export function readModules(message) {
  return {
    names: message.names,
    paths: message.paths,
    parent: typed(Int32Array, message.parent),
    times: typed(Uint32Array, message.times),
    owner: typed(Int32Array, message.owner),
    rank: typed(Uint16Array, message.rank),
    across: typed(Float32Array, message.across),
    ports: typed(Float32Array, message.ports),
    lines: typed(Int32Array, message.lines),
    passed: typed(Float32Array, message.passed),
    offsets: typed(Uint32Array, message.offsets),
    skips: typed(Uint32Array, message.skips),
    collapseAbove: message.collapse_above,
  };
}

/** The bounds of the rows of the first table; null until they are known. */
export function readBound(message) {
  return message?.rows ? typed(Float64Array, message.overheads) : null;
}

/** An entry of the `_tables` or `_more` trait; null for an empty slot. */
export function readTable(message) {
  if (!message.rows) return null;
  return {
    objective: message.objective,
    family: message.family,
    base: message.base,
    names: message.names,
    binding: message.binding,
    little: message.little ?? "",
    rows: message.rows,
    formulaPeaks: typed(Float64Array, message.formula_peaks),
    totalPeaks: typed(Float64Array, message.total_peaks),
    overheads: typed(Float64Array, message.overheads),
    kept: typed(Uint8Array, message.kept),
    segments: typed(Uint16Array, message.segments),
    outlines: typed(Float32Array, message.outlines),
    outlinePoints: message.outline_points,
  };
}

/** The `_reply` trait, with bands computed from its blocks. */
export function readReply(message) {
  const reply = {
    request: message.request,
    fingerprint: message.fingerprint,
    table: message.table,
    row: message.row,
    budget: message.budget,
    wanted: message.wanted ?? message.budget, // a page exported by an older version lacks it
    steps: message.steps,
    categories: message.categories.map(([number, label, fixed, bytes]) => ({ number, label, fixed, bytes })),
    blocks: {
      labels: typed(Uint32Array, message.block_labels),
      categories: typed(Uint8Array, message.block_categories),
      bytes: typed(Float64Array, message.block_bytes),
      first: typed(Uint32Array, message.block_first),
      stop: typed(Uint32Array, message.block_stop),
    },
    phases: typed(Uint8Array, message.phases),
    stepNodes: typed(Int32Array, message.step_nodes),
    stepLabels: typed(Uint32Array, message.step_labels),
    peak: message.peak,
    peakStep: message.peak_step,
    reserved: message.reserved ?? 0, // an exported page does not predict it
  };
  return { ...reply, bands: bandsOf(reply) };
}

/** The runs, oldest first. */
export function readRuns(messages) {
  return messages.map(readRun);
}

/** An entry of the `_runs` trait. */
function readRun(message) {
  return {
    number: message.number,
    table: message.table,
    row: message.row,
    measured: typed(Float32Array, message.measured),
    measuredPeak: message.measured_peak,
    predictedPeak: message.predicted_peak,
    device: message.device,
    seconds: message.seconds,
    certified: message.certified,
    certificate: message.certificate,
    eagerStep: message.eager_step,
    plannedStep: message.planned_step,
    predictedStep: message.predicted_step,
    predictedEager: message.predicted_eager ?? null, // an older page has neither
    tooHigh: message.too_high ?? false,
    tooLow: message.too_low ?? false,
    predictedShare: message.predicted_share ?? null,
    resolved: message.resolved ?? false,
    spread: message.spread ?? null, // an older page has none
    pairs: message.pairs ?? 0,
    notes: message.notes,
    kept: typed(Uint8Array, message.kept),
    name: message.name,
    overhead: message.overhead,
    budget: message.budget ?? null, // an older page has none
    wanted: message.wanted ?? message.budget ?? null,
    gap: message.gap.map(([name, change, total, why, behind]) => ({ name, change, total, why, behind })),
  };
}
