"""The data of the course: lower sets, the steps of a strategy, dynamic programming tables, exercises.

Everything is computed before it is drawn. The results are frozen values that both the widgets and the tests read.
"""
