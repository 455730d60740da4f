"""All planted programs."""

from __future__ import annotations

from recompviz.benchmarks.causes.programs.broadcasts import BROADCASTS
from recompviz.benchmarks.causes.programs.caches import CACHES
from recompviz.benchmarks.causes.programs.copies import COPIES
from recompviz.benchmarks.causes.programs.encodings import ENCODINGS
from recompviz.benchmarks.causes.programs.evaluations import EVALUATIONS
from recompviz.benchmarks.causes.programs.frozen import FROZEN
from recompviz.benchmarks.causes.programs.graphs import GRAPHS
from recompviz.benchmarks.causes.programs.growing import GROWING
from recompviz.benchmarks.causes.programs.phases import PHASES
from recompviz.benchmarks.causes.programs.retries import RETRIES
from recompviz.benchmarks.causes.programs.sums import SUMS

PLANTED = (*RETRIES, *EVALUATIONS, *SUMS, *FROZEN, *ENCODINGS, *PHASES, *GROWING)
# Rebuilt from public reports.
REPORTED = (*BROADCASTS, *CACHES, *GRAPHS, *COPIES)
