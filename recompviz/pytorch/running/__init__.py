"""From a plan to a module that trains.

The generated program and the planned module.
"""
