"""
Values into text.

Belongs here: key lookup in a value and splicing by position; later escaping by format. Does not belong here: I/O,
clocks, the choice of what to fetch. May be imported by `resolve`, `output`, `app` and `cli`.
"""
