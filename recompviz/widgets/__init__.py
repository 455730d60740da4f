"""Interactive widgets: the Explorer, the lessons and the graph layout.

The highest of the three layers. It imports ``core``. Functions that need torch are passed in as callables, so only
:mod:`recompviz.widgets.explorer.explore_model` and :mod:`recompviz.widgets.explorer.debug_model` need torch. The page's
code is in ``js`` and ``css``; ``js/graph`` draws the graph.
"""
