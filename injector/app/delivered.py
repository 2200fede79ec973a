"""
Sets variables from rendered files, and becomes another program: `DIRECTORY NAME... -- COMMAND [ARGUMENT]...`.

Each NAME is a file in DIRECTORY; the variable is exactly its bytes. This file is run by itself, by an interpreter that
has little of the standard library (see delivering): it imports nothing but what is built into that.
"""

from __future__ import annotations

import os
import sys

_NOT_FOUND, _NOT_RUN = 127, 126  # as a shell
_DEFAULT_PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def main(arguments: list[bytes]) -> int:
    """Does not return when it succeeds; else a shell's exit code, and one line on standard error without any value."""
    end = arguments.index(b"--")
    directory, names, command = arguments[0], arguments[1:end], arguments[end + 1 :]
    environment = dict(os.environb)
    for name in names:
        path = os.path.join(directory, name)
        try:
            with open(path, "rb", buffering=0) as file:
                value = file.readall()
        except OSError as error:
            return _refused(_NOT_RUN, path, os.strerror(error.errno or 0).lower())
        if b"\0" in value:
            return _refused(_NOT_RUN, path, "holds a NUL character, which no variable can")
        environment[name] = value
    return _become(command, environment)


def _become(command: list[bytes], environment: dict[bytes, bytes]) -> int:
    """As execvp(3): a name without a slash is looked for in PATH."""
    code, reason = _NOT_FOUND, "not found"
    for program in _candidates(command[0], environment):
        try:
            os.execve(program, command, environment)  # noqa: S606  # no shell
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            code, reason = _NOT_RUN, os.strerror(error.errno or 0).lower()
    return _refused(code, command[0], reason)


def _candidates(name: bytes, environment: dict[bytes, bytes]) -> list[bytes]:
    if b"/" in name:
        return [name]
    return [os.path.join(folder or b".", name) for folder in environment.get(b"PATH", _DEFAULT_PATH).split(b":")]


def _refused(code: int, what: bytes, why: str) -> int:
    os.write(2, b"injector: " + what + b": " + why.encode() + b"\n")
    return code


if __name__ == "__main__":
    os._exit(main([os.fsencode(argument) for argument in sys.argv[1:]]))
