"""
From bytes to tokens: the token grammar, the scanner, and the substitution of environment variables before it.

Belongs here: what a template's text means (design page "tokens"), as pure functions of bytes. Does not belong here:
reading files, key lookup, fetching, writing values into text (`render`). May be imported by `app` and `cli`.
"""
