"""Interactive widgets: the Explorer, the lessons, and the layout of graphs.

This is the highest of the three layers ``core``, ``pytorch`` and ``widgets``. It imports ``core`` only, except in two
modules that also import ``pytorch``: :mod:`recompviz.widgets.explorer.explore_model` and
:mod:`recompviz.widgets.explorer.debug_model`. They pass functions that need torch to the widgets. The JavaScript and
CSS of the page are in ``js`` and ``css``: ``js/graph`` paints the graph, and ``js/explorer`` the views of the Explorer.
"""
