"""Watch eager training steps and join what was seen with the allocator's events into one frozen recording.

``watcher`` sees every operator and, in its ``block_table``, every storage; ``watched`` defines the frozen result;
``recording`` assigns each allocation to an operator and a storage.
"""
