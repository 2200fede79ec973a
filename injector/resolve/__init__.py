"""
Runs a plan against backends: fan-out, call budget, deadline, retry.

Belongs here: everything about when and how often a backend is asked. Retry lives here and nowhere else. Does not
belong here: how a backend is reached, or what a value is used for. May be imported by `app` and `cli`.
"""
