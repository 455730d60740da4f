"""The widgets of the course: the playground of lower sets, and steppers through strategies and dynamic programmes."""
