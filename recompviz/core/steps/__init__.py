"""One training step as operator calls: its joint graph, its schedule, the simulation of its memory, its timeline."""
