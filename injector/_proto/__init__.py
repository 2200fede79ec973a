"""
Messages of the wire, generated from `proto/` by tools/generate_proto.py.

Nothing is written here by hand. May be imported by `sdk` and by `backends.goplugin`; the modules do not import
each other.
"""
