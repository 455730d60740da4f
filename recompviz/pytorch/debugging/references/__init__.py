"""Find the objects of the user's program that hold a tensor.

``walk`` searches for live tensors, from named variables through the objects that ``children`` lists.
``reference_path`` describes a path to a tensor without keeping the tensor alive. ``held`` compares the paths after
successive training steps. ``insertions`` reads the tensors in an object, to find the line that stores a tensor there.
"""
