"""
The settings of a run: their schema, their text forms, and the merge of flags, environment, file and defaults.

Belongs here: what can be set, how it is written, who wins. Does not belong here: what a setting does. Imports
`model` and `errors`; imported by everything above. PyYAML is loaded only when there is a settings file.
"""
