"""Interactive widgets: the Explorer, the views of ranks and of recordings, and the lessons.

This is the highest of the three layers ``core``, ``pytorch`` and ``widgets``. It imports ``core`` only, except in four
modules that also import ``pytorch`` when one of their functions runs: ``explore_model``, ``debug_model`` and
``cell_magic`` in ``explorer``, and ``rank_explorer`` in ``ranks``. The JavaScript and CSS of the page are in ``js`` and
``css``: ``js/graph`` paints the graph, and ``js/explorer`` the views of the Explorer.
"""
