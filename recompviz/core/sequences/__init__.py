"""Schedules of a graph in which every value may be computed again at any later position."""
