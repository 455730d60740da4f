"""Errors, sizes in bytes, colours and small helpers for the other packages of recompviz.

This package imports no other package of recompviz. Only :func:`recompviz.core.base.rendering.render` does, when it is
called.
"""
