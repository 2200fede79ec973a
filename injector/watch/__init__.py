"""
Says when to look again, and nothing else: files, directories and mounts that may have changed.

Belongs here: inotify, the slow rescan behind it, what to do where inotify is not to be had. Does not belong here: what
is in the files, or what is done about a change; `app` recomputes from what is there.
"""
