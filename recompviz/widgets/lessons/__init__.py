"""The widgets of the course: the playground of lower sets, and the steppers."""
