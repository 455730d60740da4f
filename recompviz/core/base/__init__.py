"""Errors, sizes in bytes, colours and small helpers for the other packages of recompviz.

No module of this package imports another package of recompviz. One function does when it is called:
:func:`recompviz.core.base.rendering.render`.
"""
