"""Which objects of the user's program hold a tensor.

``walk`` searches from named variables through ``children`` for live tensors; ``reference_path`` describes how one was
found without holding it; ``held`` compares what is held after successive steps; ``insertions`` watches for the line
that stores a tensor.
"""
