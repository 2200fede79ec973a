"""
Tells the application that its files changed: by signal, command, HTTP request, or rollout.

Belongs here: the four ways, their retries, and the grouping of changes to one action. Does not belong here: whether
a file changed (`output` knows) or which (`app` does). A failing notification never leads to a fetch or a render.
"""
