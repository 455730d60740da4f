"""Steppers and the playground of the course."""
