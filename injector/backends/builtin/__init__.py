"""
Backends that need no plugin: environment variables (`ENV://`) and files (`FILE://`).

Belongs here: sources of values on this machine. Does not belong here: anything that talks to a network. Imported by
the registry; knows no other host.
"""
