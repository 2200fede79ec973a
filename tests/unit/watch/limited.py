"""
`python limited.py HOW DIRECTORY`: a watcher in a process that the kernel gives no inotify.

HOW is `instances` (this user's are used up), `descriptors` (this process's are), or the name of an error that a seccomp
filter makes the kernel return for `init` or `watch`, as `init=ENOSYS`. Prints what happens, line by line; each line of
standard input ends the shortage.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import os
import platform
import resource
import struct
import sys
from pathlib import Path

from injector.telemetry.logs import Level, Log
from injector.telemetry.meter import Meter
from injector.telemetry.vitals import Vitals
from injector.watch.inotify import Inotify, Unavailable
from injector.watch.watcher import Watcher

CALLS = {"x86_64": {"init": 294, "watch": 254}, "aarch64": {"init": 26, "watch": 27}}
NO_SECCOMP = 77


def refuse(call, code):
    """From here on the kernel answers *call* with the error *code* (seccomp(2); no rights are needed)."""
    program = [
        struct.pack("HBBI", 0x20, 0, 0, 0),  # load the number of the system call
        struct.pack("HBBI", 0x15, 0, 1, CALLS[platform.machine()][call]),  # equal? else skip one
        struct.pack("HBBI", 0x06, 0, 0, 0x00050000 | code),  # SECCOMP_RET_ERRNO
        struct.pack("HBBI", 0x06, 0, 0, 0x7FFF0000),  # SECCOMP_RET_ALLOW
    ]
    filters = ctypes.create_string_buffer(b"".join(program))
    header = ctypes.create_string_buffer(struct.pack("HP", len(program), ctypes.addressof(filters)))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
    if libc.prctl(22, 2, header, 0, 0) != 0:  # PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        print("no seccomp", flush=True)
        sys.exit(NO_SECCOMP)


def cause(how):
    """Makes the shortage, and returns what ends it."""
    if how == "instances":
        os.setgroups([])
        os.setgid(65532)
        os.setuid(65532)
        taken = []
        try:
            while True:
                taken.append(Inotify())
        except Unavailable:
            return lambda: [instance.close() for instance in taken]
    if how == "descriptors":
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = max(int(name) for name in os.listdir("/proc/self/fd"))
        # One is left for listing a directory, but an inotify instance must not get it.
        held = os.open("/dev/null", os.O_RDONLY)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(highest, held) + 1, hard))
        return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    call, name = how.split("=")
    refuse(call, getattr(errno, name))
    return lambda: None


async def main(how, directory):
    loop = asyncio.get_running_loop()
    log = Log(Level.INFO, stream=sys.stdout)
    log.info("it begins")  # what a line needs is imported before there are no descriptors and no rights any more
    over = cause(how)

    def said(change):
        print(change.source, flush=True)

    watcher = Watcher([Path(directory)], said, rescan=0.5, log=log, meter=Meter(), vitals=Vitals())
    loop.add_reader(0, lambda: over() if os.read(0, 100) else None)
    await watcher.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
