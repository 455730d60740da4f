"""Give a plan to a tool of PyTorch. The tool then saves for the backward pass what the plan keeps.

``inductor.py`` is a partitioner for Inductor. ``selective.py`` is a policy for selective checkpoints of eager models.
``graph_tags.py`` writes tags for trainers that work on graphs. PyTorch's tools, not recompviz, run these plans.
"""
