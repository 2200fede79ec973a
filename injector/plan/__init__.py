"""
Tokens to the fewest fetches.

Belongs here: grouping, de-duplication, and later batches. Does not belong here: I/O, or any knowledge of a backend
beyond its prefix. May be imported by `resolve`, `app` and `cli`.
"""
