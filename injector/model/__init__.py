"""
Frozen values that cross stages: sources, tokens, references, values, secrets, policies.

Belongs here: a value that at least two packages exchange, with the few methods that only read it; `depth` is here for
being needed by two packages that do not know each other. Does not belong here: I/O, asyncio, clocks, or a decision. May
be imported by everything but `errors`, `sdk` and `_proto`.
"""
