"""Lower bounds on the recomputation and on the peak memory of every strategy that runs one training step."""
