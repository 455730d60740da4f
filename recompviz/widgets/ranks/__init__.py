"""The view of several ranks of a distributed run under one budget."""
