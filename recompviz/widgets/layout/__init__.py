"""Positions of the nodes and edges of a graph in the Explorer, as one picture or by module.

A picture is drawn by Graphviz or by the built-in layered layout. A deep network is wrapped into lines.
"""
