"""
Named sets of credentials, and how what is secret about them is kept on a disk.

Belongs here: sealing (AES-256-GCM), keys, the store of connections. Does not belong here: what a connection is for.
"""
