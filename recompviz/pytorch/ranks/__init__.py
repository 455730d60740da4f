"""Training steps on several ranks: the memory of each rank, predicted from a trace that one process made."""
