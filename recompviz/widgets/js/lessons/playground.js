// The entry of the playground as a widget in a notebook.

import { inStep } from "../shared/in_step.js";
import { mountPlayground } from "./playground_view.js";

export default { initialize: inStep(["_chosen", "_sequence"]), render: mountPlayground };
