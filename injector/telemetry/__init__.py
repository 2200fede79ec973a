"""
What the process says about itself: log lines and the redaction that every line passes.

Belongs here: the log sink, the registry of live secrets, later metrics and traces. Does not belong here: error
texts for people (`cli`) or any decision.
"""
