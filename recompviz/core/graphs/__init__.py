"""The graph G = (V, E) of the intermediate values of a forward pass, and its lower sets.

A lower set is a set of nodes that no edge enters from outside. ``graph.py`` has the graph, its lower sets and their
boundaries. The package also has the costs of nodes, pins (nodes that every plan must keep or must recompute), families
of lower sets, and the comparison of two graphs.
"""
