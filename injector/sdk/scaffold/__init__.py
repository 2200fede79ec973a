"""
`injector plugin new`: a plugin's project that passes its tests at once.

Belongs here: the project's files, as `project/**.in`, and what writes them. Does not belong here: options and texts for
people (`injector.cli.plugin_new`, the only importer).
"""
