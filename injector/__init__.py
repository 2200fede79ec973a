"""
injector: puts secrets into config files.

This root stays almost empty on purpose: a plugin that imports `injector.sdk` runs it first, and every
pod pays for what is imported here.
"""

__version__ = "0.1.0.dev0"
