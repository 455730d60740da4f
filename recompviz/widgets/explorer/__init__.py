"""The Explorer.

Graph, budget slider, memory timeline and runs in one view.
"""
