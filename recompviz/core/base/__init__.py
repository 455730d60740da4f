"""Errors, units and small text helpers.

Every other room may use them; this one uses none.
"""
