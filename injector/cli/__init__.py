"""
argv and environment to one call of `app`; errors to text and exit codes.

The only place that formats for people. Belongs here: options, help texts, progress, diagnostics. Does not belong
here: anything that a test would want to call without a command line. Nothing imports it.
"""
