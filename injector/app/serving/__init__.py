"""
What a sidecar serves about itself: probes, metrics and status over HTTP, and the control socket.

Belongs here: sockets, HTTP, and what each address answers. Does not belong here: what is true (`app.status`,
`telemetry.vitals`) and what a refresh does.
"""
