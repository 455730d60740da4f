"""Planted programs, a file for each kind of cause. Each has the change that its advice asks for."""
