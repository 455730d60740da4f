"""What is shown to people.

Memory reports and the ranking of their findings, text, HTML, figures, and comparisons of runs.
"""
