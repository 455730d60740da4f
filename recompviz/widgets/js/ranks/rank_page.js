// The entry of an exported page of ranks.

import { drawPage } from "../shared/page_data.js";
import { mountRanks } from "./rank_view.js";

/** A model that holds the values of the page; nobody answers. */
function fixedModel(values) {
  return { offline: true, get: (name) => values[name], set: (name, value) => (values[name] = value), save_changes() {}, on() {}, off() {}, send() {} };
}

drawPage((values, parent) => mountRanks(fixedModel(values), parent));
