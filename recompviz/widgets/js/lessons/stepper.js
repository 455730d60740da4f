// The entry of a stepper as a widget in a notebook.

import { inStep } from "../shared/in_step.js";
import { mountStepper } from "./stepper_view.js";

export default { initialize: inStep(["_shown", "_frame"]), render: mountStepper };
