"""The only room that uses private PyTorch API.

Each file says which private names it uses and on which releases of PyTorch it was tried. What differs between devices,
and what is read from a stack trace, is here, too.
"""
