"""Takes away the output of a template that is gone."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from injector.errors import OutputError, OutputOutsideRoot
from injector.output.directories import Directories, sync_directory
from injector.output.failures import output_error
from injector.output.streams import is_stream

if TYPE_CHECKING:
    from pathlib import Path


def remove(target: Path, root: Path) -> bool:
    """
    Removes the file *target* (a path below *root*); answers whether there was one. Directories stay.

    No link that leads out of *root* is followed on the way, and one at the end is removed itself, not what it leads
    to. Devices, named pipes and sockets are left alone: nobody has published those.

    Raises OutputOutsideRoot, or OutputError for anything else that the file system refuses.
    """
    if target.name in ("", ".."):
        raise OutputOutsideRoot(f"{root / target} is not the name of a file", hint="name a file")
    try:
        with Directories(make=False) as directories:
            directory = directories.below(root, target.parent).descriptor
            status = os.stat(target.name, dir_fd=directory, follow_symlinks=False)
            if is_stream(status):
                return False
            if stat.S_ISDIR(status.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            os.unlink(target.name, dir_fd=directory)
            sync_directory(directory)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise output_error(error, root / target, doing="remove") from None
    except ValueError:
        raise OutputError(f"{os.fspath(target)!r} is not a path", hint="a path holds no NUL character") from None
    return True
