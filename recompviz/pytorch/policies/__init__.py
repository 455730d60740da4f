"""Give a plan to a tool of PyTorch, which then decides by it what is saved for the backward pass.

``inductor.py`` is a partitioner for Inductor, ``selective.py`` a policy for selective checkpoints of eager models, and
``graph_tags.py`` writes tags for trainers that work on graphs. The package executes none of these plans itself.
"""
