// The entry of a stepper as a widget in a notebook.

import { mountStepper } from "./stepper_view.js";

export default { render: mountStepper };
