"""
The only importer of `kubernetes`, and only in a process of its own: the library costs 65 MB that a sidecar gets back
when that process ends.
"""
