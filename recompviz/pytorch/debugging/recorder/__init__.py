"""Watch eager training steps and join what was seen with the allocator's events into one frozen recording."""
