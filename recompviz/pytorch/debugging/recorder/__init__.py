"""Watch eager training steps, and join the observations with the allocator's events into one frozen recording.

``watcher`` observes every operator, ``block_table`` numbers the storages, and ``owners`` follows modules and
optimizers. ``watched`` defines the frozen observations. ``recording`` assigns each allocation to an operator and a
storage. ``other_threads`` counts threads, which are not observed.
"""
