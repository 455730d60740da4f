"""Planted programs, one file for each kind of cause. Each program has the change that the expected advice asks for."""
