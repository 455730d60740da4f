"""The data of the course: lower sets, the actions of a strategy, tables of the dynamic programme, and exercises.

This room computes and does not draw. Its results are frozen values, which the lesson widgets draw.
"""
