"""Planted scripts: small training programs whose memory has a known cause, repaired ones, and healthy ones.

``scripts`` has the registry, ``programs`` and ``healthy`` have the source texts, and ``trial`` runs one script.
``python -m recompviz.benchmarks.causes`` prints a table.
"""
