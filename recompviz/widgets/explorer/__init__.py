"""The Explorer: graph, budget, trade-off curve, memory timeline and runs of one training step in one view.

``explorer.py`` has the widget, and ``explore_model.py`` opens it on a model. ``wire.py`` makes the messages for the
page, which ``widgets/js/explorer`` draws.
"""
