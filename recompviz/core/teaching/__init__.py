"""The data of the course: lower sets, the actions of a strategy, tables of the dynamic programme, and exercises.

This package computes frozen values. The lesson widgets draw them.
"""
