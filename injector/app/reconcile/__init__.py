"""
The sidecar's reconcile loop: keeps every output what its template and the current values make of it.

Belongs here: which templates there are, which values they need and when those are asked for again, which files must
be rendered, and what is known about each. Nothing here reacts to an event as such: an event says only that it is time
to look, and each pass works on what is there. `engine.Sidecar` is the whole; the other modules are its parts.
"""
