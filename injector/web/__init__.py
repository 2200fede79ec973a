"""
The page of `injector ui`: what a sidecar knows of itself, and the user's connections, on the loopback interface.

Here: signing in, what keeps other pages and other users out, and JSON over HTTP. Not here: where a sidecar and
connections are found, which comes in through the protocols of `sources`.
"""
