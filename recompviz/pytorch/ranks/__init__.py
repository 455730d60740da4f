"""Training steps on several ranks: what each rank holds, predicted from the trace of one process."""
