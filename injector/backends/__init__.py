"""
What answers for a prefix: the backend contract, the registry, discovery of plugins, and the hosts that run them.

Belongs here: everything between a reference and the program or function that knows its value. Does not belong here:
retries, concurrency over several backends, deadlines of a run (`resolve`). The hosts `goplugin`, `wasm` and
`builtin` do not know each other. A backend reports what happened; it does not try again.
"""
