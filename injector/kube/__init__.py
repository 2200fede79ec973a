"""
What is asked of the API server. The package `kubernetes` is imported in a process of its own only: it costs 65 MB that
a sidecar gets back when that process ends. `api` does without it, for processes that last.
"""
