"""All checks that need a GPU, in one command that takes less than a quarter of an hour.

    python -m recompviz.benchmarks.cuda --minutes 8 --out DIR                # on a GPU
    python -m recompviz.benchmarks.cuda --minutes 8 --out DIR --device cpu   # the rehearsal

The parts run in order of their value, each in a process of its own with a time limit. A part writes one JSON file when
it has ended; a part whose file is there is skipped, so that the command can be started again (``--again`` repeats it).
What a part printed is in ``DIR/NAME.log``, the table of all parts in ``DIR/table.md``.

In the rehearsal, parts that need CUDA's allocator run with a stand-in for ``torch.cuda`` (:mod:`.stand_in`).
"""
