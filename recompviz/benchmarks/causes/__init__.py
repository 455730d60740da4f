"""Planted scripts: small training programs whose memory has a known cause, repaired ones, and healthy ones.

``scripts`` has the registry, ``programs`` and ``healthy`` the programs as source text, and ``trial`` runs one of them.
``python -m recompviz.benchmarks.causes`` prints a table.
"""
