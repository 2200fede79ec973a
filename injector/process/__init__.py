"""
Child processes: start one, read what it prints, wait for it, stop it with everything that it started.

And this process itself, as far as it is about secrets: `hardening`.

Belongs here: the only use of `subprocess` in the product, and what POSIX wants to be told about groups, signals and
the death of a parent. Does not belong here: which program is run, with what environment, and what its output means.
Imported by `backends` and, later, by whoever runs a command.
"""
