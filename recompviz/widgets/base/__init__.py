"""What every widget uses.

The packaged JavaScript and CSS, colours, and the job that runs in the background.
"""
