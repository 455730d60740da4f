"""Who holds a tensor.

Reference paths from names in the program to a storage, and the retainer among them.
"""
