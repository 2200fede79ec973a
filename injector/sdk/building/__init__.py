"""
`injector plugin build`: a plugin's package as one executable file.

Belongs here: what goes into the file and what its interpreter must have. Does not belong here: options and texts for
people (`injector.cli.plugin_build`, the only importer), and anything that a plugin needs when it runs: nothing of this
package is put into the file.
"""
