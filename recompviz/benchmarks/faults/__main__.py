"""Inject faults into recompviz and print how many were tried and how many did harm.

    python -m recompviz.benchmarks.faults                            # all parts
    python -m recompviz.benchmarks.faults verbs --count 200 --seed 3 # one part, with fewer faults

Each part is a module of this package with a function ``run(count, seed)``, which returns rows of the table. The command
ends with status 1 if any fault did harm.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
import warnings
from collections.abc import Sequence

from recompviz.benchmarks.faults.counts import FaultCount, table

# the parts, with the number of faults that each of them injects by default
PARTS = {"verbs": 2_000, "core": 20_000, "recordings": 20_000, "messages": 5_000}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line, run the parts, and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"some of {', '.join(PARTS)}; default: all")
    parser.add_argument("--count", type=int, help="number of faults in each part; default: the part's own")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.parts) - set(PARTS)):
        parser.error(f"unknown part {unknown[0]!r}; expected some of {', '.join(PARTS)}")
    rows = list[FaultCount]()
    for part in options.parts or PARTS:
        module = importlib.import_module(f"recompviz.benchmarks.faults.{part}")
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = module.run(PARTS[part] if options.count is None else options.count, options.seed)
        print("\n".join(table(part, found)))
        print(f"  {time.perf_counter() - start:.0f} s\n", flush=True)
        rows += found
    sys.exit(any(row.wrong for row in rows))


if __name__ == "__main__":
    main()
