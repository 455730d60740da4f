"""Pictures that move: the Explorer and what it is drawn with.

Top of the three layers. It stands on ``core``; what needs torch is handed in as callables, so that
everything here but :mod:`recompviz.widgets.explorer.explore_model` works without torch.
"""
