// The entry of the playground as a widget in a notebook.

import { mountPlayground } from "./playground_view.js";

export default { render: mountPlayground };
