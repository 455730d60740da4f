"""The Explorer: graph, budget, trade-off curve, memory timeline and runs of one training step in one view."""
