// The entry of an exported page: unpack its data and draw the Explorer without a kernel.

import { drawPage } from "../shared/page_data.js";
import { startAs } from "../graph/graph_view.js";
import { mount } from "./explorer.js";
import { aimAt } from "./fit_view.js";
import { offlineModel } from "./offline.js";

drawPage((data, parent, view) => {
  const model = offlineModel(data);
  if (view) {
    startAs(parent, view.graph);
    aimAt(model, view.target);
  }
  mount(model, parent, view?.choices ?? null);
});
