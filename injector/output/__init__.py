"""
Puts finished bytes under their names: atomically, as a set, never outside the output directory.

Belongs here: staging, renaming, syncing and sweeping of files, and the errors of a file system told in plain words.
Does not belong here: what the bytes mean, when to write, whom to notify. Imported by `app` and `cli`.
"""
