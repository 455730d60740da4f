"""Errors, sizes in bytes, colours and small helpers that all other packages of recompviz use.

This package imports no other package of recompviz, except for drawing functions when they are called
(:mod:`recompviz.core.base.rendering`).
"""
