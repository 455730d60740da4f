"""The theory as things to look at: sets, strategies, dynamic programmes and exercises, step by step.

All of it is computed before anything is drawn, as frozen values that the widgets and the tests read alike.
"""
