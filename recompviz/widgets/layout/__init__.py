"""Positions of the boxes of a graph.

Layered, by Graphviz, wrapped, and folded by module.
"""
