"""Search for plans in simulated bytes.

Any set of values may be kept, and memory is freed at last use.
"""
