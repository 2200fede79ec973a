"""
What a program file is for, told from its first bytes: format, system and processor in Go's names.

Sources: elf(5) (`e_machine`), Apple's mach-o/loader.h and fat.h, Microsoft's PE/COFF specification, the WebAssembly
specification (magic).
"""

from __future__ import annotations

import os
import struct
import sys

from msgspec import Struct

HEADER_BYTES = 4096  # a PE header stands behind the DOS stub, well inside this

_ELF_MACHINES = {3: "386", 8: "mips", 20: "ppc", 22: "s390x", 40: "arm", 62: "amd64", 183: "arm64", 258: "loong64"}
_ELF_POWERPC64 = 21
_ELF_RISCV = 243
_MACH_MACHINES = {7: "386", 0x01000007: "amd64", 12: "arm", 0x0100000C: "arm64"}
_PE_MACHINES = {0x014C: "386", 0x01C4: "arm", 0x8664: "amd64", 0xAA64: "arm64"}
_UNAME_MACHINES = {
    "x86_64": "amd64",
    "amd64": "amd64",
    "i386": "386",
    "i486": "386",
    "i586": "386",
    "i686": "386",
    "aarch64": "arm64",
    "arm64": "arm64",
    "armv6l": "arm",
    "armv7l": "arm",
    "armv8l": "arm",
    "loongarch64": "loong64",
}
_MOST_FAT_SLICES = 32  # a Java class file has the same magic and, in this field, a version above 40


class Platform(Struct, frozen=True):
    """A system and a processor by Go's names, e.g. linux and amd64."""

    system: str
    processor: str

    def __str__(self) -> str:
        return f"{self.system}/{self.processor}"

    @property
    def file_suffix(self) -> str:
        """What the name of a plugin file ends in: `linux-amd64`, `windows-amd64.exe`."""
        return f"{self.system}-{self.processor}" + (".exe" if self.system == "windows" else "")


def this_platform() -> Platform:
    """The platform that this process runs on."""
    if sys.platform == "win32":
        machine = os.environ.get("PROCESSOR_ARCHITECTURE", "amd64")
        return Platform("windows", go_processor(machine))
    name = os.uname()
    return Platform(name.sysname.lower(), go_processor(name.machine))


def go_processor(machine: str) -> str:
    """Go's name for what `uname -m` says: x86_64 is amd64. Names that Go shares (riscv64, ppc64le) stay."""
    return _UNAME_MACHINES.get(machine.lower(), machine.lower())


class Executable(Struct, frozen=True):
    """A recognised program: its format, the systems of that format, its processors (several in a fat Mach-O)."""

    format: str
    systems: tuple[str, ...]
    processors: tuple[str, ...]

    def runs_on(self, platform: Platform) -> bool:
        """Whether system and processor fit. 32-bit programs run on their 64-bit brother."""
        if self.systems and platform.system not in self.systems:
            return False
        wanted = {platform.processor} | ({"386"} if platform.processor == "amd64" else set())
        return bool(wanted & set(self.processors))

    def __str__(self) -> str:
        return f"{self.format} program for {' and '.join(self.processors)}"


def recognise(header: bytes) -> Executable | None:
    """
    What the file with these first bytes (`HEADER_BYTES` suffice) is.

    None for a script and for anything else that has no known header: the system decides whether that can be run.
    Never raises.
    """
    try:
        return _elf(header) or _mach(header) or _pe(header)
    except struct.error:
        return None


def _elf(header: bytes) -> Executable | None:
    if header[:4] != b"\x7fELF":
        return None
    order = ">" if header[5:6] == b"\x02" else "<"
    (machine,) = struct.unpack_from(f"{order}H", header, 18)
    name = _ELF_MACHINES.get(machine, f"machine {machine}")
    if machine == _ELF_POWERPC64:
        name = "ppc64" if order == ">" else "ppc64le"
    elif machine == _ELF_RISCV:
        name = "riscv64" if header[4:5] == b"\x02" else "riscv32"
    elif name == "mips":
        name = ("mips64" if header[4:5] == b"\x02" else "mips") + ("" if order == ">" else "le")
    # The header does not tell Linux from the BSDs for sure.
    return Executable("ELF", ("linux", "freebsd", "netbsd", "openbsd", "dragonfly", "sunos", "android"), (name,))


def _mach(header: bytes) -> Executable | None:
    systems = ("darwin", "ios")
    orders = {b"\xcf\xfa\xed\xfe": "<", b"\xce\xfa\xed\xfe": "<", b"\xfe\xed\xfa\xcf": ">", b"\xfe\xed\xfa\xce": ">"}
    order = orders.get(header[:4])
    if order is not None:
        (kind,) = struct.unpack_from(f"{order}I", header, 4)
        return Executable("Mach-O", systems, (_MACH_MACHINES.get(kind, f"machine {kind}"),))
    if header[:4] == b"\xca\xfe\xba\xbe":
        (count,) = struct.unpack_from(">I", header, 4)
        if 0 < count <= _MOST_FAT_SLICES:
            kinds = [struct.unpack_from(">I", header, 8 + 20 * index)[0] for index in range(count)]
            return Executable("Mach-O", systems, tuple(_MACH_MACHINES.get(kind, f"machine {kind}") for kind in kinds))
    return None


def _pe(header: bytes) -> Executable | None:
    if header[:2] != b"MZ":
        return None
    (offset,) = struct.unpack_from("<I", header, 0x3C)
    if header[offset : offset + 4] != b"PE\0\0":
        return None
    (machine,) = struct.unpack_from("<H", header, offset + 4)
    return Executable("PE", ("windows",), (_PE_MACHINES.get(machine, f"machine {machine:#x}"),))
