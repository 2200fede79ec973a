"""
The spelling of values in config files, one module for each format.

Belongs here: where a token stands in a template, how a value is written there, and what a parser reads back. Does not
belong here: I/O, settings, the policies for missing values. Imported by `render` and `app`; each module only when a
file of its format is rendered.
"""
