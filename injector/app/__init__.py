"""
Wiring, and one pass from templates to files.

Belongs here: the order of the stages, which object is built from which setting, reading the sources. Does not belong
here: formatting for people (`cli`), and the work of any single stage. May be imported by `cli` only.
"""
