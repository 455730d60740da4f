"""The graph G = (V, E) of intermediate values.

Sets of its nodes are bit masks. Costs, pins and families of lower sets belong here.
"""
