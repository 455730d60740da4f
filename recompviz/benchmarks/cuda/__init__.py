"""All checks that need a GPU, in one command that takes less than a quarter of an hour.

    python -m recompviz.benchmarks.cuda --minutes 8 --out DIR                # on a GPU
    python -m recompviz.benchmarks.cuda --minutes 8 --out DIR --device cpu   # the rehearsal

The most important parts run first. Each part runs in a process of its own with a time limit. A part writes one JSON
file when it has ended. If the command is started again, it skips the parts whose file is there; with ``--again``, it
runs them again. What a part printed is in ``DIR/NAME.log``, the table of all parts in ``DIR/table.md``.

The rehearsal runs the same parts on the CPU. Parts that need CUDA's allocator then run with a stand-in for
``torch.cuda`` (:mod:`.stand_in`).
"""
