"""The graph G = (V, E) of the intermediate values of a forward pass, and its lower sets.

This package also has the costs of nodes, pins (nodes that every plan must keep or must recompute) and families of lower
sets.
"""
