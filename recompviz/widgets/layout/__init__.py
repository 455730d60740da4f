"""Positions of the boxes of a graph.

By Graphviz, or by the built-in layered layout; in one piece, wrapped in lines, or by module.
"""
