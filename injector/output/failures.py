"""What a file system's refusal means, and what to do about it."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

from injector.errors import OutputError
from injector.output.attributes import ModeRefused, OwnerRefused

if TYPE_CHECKING:
    from pathlib import Path

_PERMISSION = "check the directory's owner and mode; in Kubernetes fsGroup, runAsUser and readOnly of the volume mount"

_OWNER = (
    "run as that user and as a member of that group, or as root; in Kubernetes set runAsUser and fsGroup instead of "
    "`owner` and `group`"
)
_MODE = "set `mode` to that of the file, or run as the file's owner"

_MEANINGS: dict[int, tuple[str, str]] = {
    errno.ENOSPC: ("no space is left on its file system", "free space there, or raise the volume's sizeLimit"),
    errno.EDQUOT: ("the disk quota is used up", "free space, or ask for a larger quota"),
    errno.EFBIG: ("it is larger than the file size limit", "raise the limit (ulimit -f)"),
    errno.EROFS: ("the file system is read-only", "mount it writable, or write somewhere else"),
    errno.EISDIR: ("a directory has that name", "name a file, or pass the directory with --output-dir"),
    errno.ENOENT: ("its directory does not exist", "create the directory first"),
    errno.ENOTDIR: ("a part of its path is a file, not a directory", "correct the path"),
    errno.ELOOP: ("its path leads through too many symbolic links", "correct the links"),
    errno.EXDEV: (
        "it is on another file system than its directory",
        "mount the whole directory instead of the single file, or set `write: in-place`",
    ),
    errno.EBUSY: (
        "it is a mount of its own and cannot be replaced",
        "mount the whole directory instead of the single file (in Kubernetes: no subPath), or set `write: in-place`",
    ),
    errno.EMFILE: ("too many files are open", "raise the limit of open files (ulimit -n)"),
    errno.ENFILE: ("too many files are open on this machine", "raise fs.file-max"),
    errno.EIO: ("the disk reports an input/output error", "check the disk; the kernel's log says more"),
    errno.ENXIO: ("nothing reads from it", "start the reader of the named pipe first; a socket cannot be written"),
    errno.EPIPE: ("its reader went away", "keep the reader running until the output is complete"),
}


def output_error(error: OSError, path: Path, *, doing: str = "write") -> OutputError:
    """The OutputError that tells *error*, met while writing *path* (or *doing* something else to it)."""
    number = error.errno or 0
    if isinstance(error, OwnerRefused):
        return OutputError(f"cannot set owner or group of {path}: uid {os.geteuid()} is not permitted to", hint=_OWNER)
    if isinstance(error, ModeRefused):
        return OutputError(f"cannot set the mode of {path}: it does not belong to uid {os.geteuid()}", hint=_MODE)
    if number in (errno.EACCES, errno.EPERM):
        return OutputError(f"cannot {doing} {path}: uid {os.geteuid()} is not permitted to", hint=_PERMISSION)
    if number == errno.ENAMETOOLONG:
        size = len(os.fsencode(path.name))
        return OutputError(
            f"cannot {doing} {path}: its name or path is too long (the name has {size} bytes)",
            hint="most file systems take names of at most 255 bytes",
        )
    text, hint = _MEANINGS.get(number, (os.strerror(number), None))
    return OutputError(f"cannot {doing} {path}: {text}", hint=hint)
