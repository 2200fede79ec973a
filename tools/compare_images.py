"""
Compares the contents of two image archives: `python -m tools.compare_images FIRST.tar SECOND.tar`.

A path is compared by kind, mode, owner, size and SHA-256, the configuration by its settings; how files are spread over
layers and the times of files do not count.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tools.image import contents
from tools.image.tree import BuildError


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 the same, 1 they differ (each difference is a line of the output), 2 one cannot be read."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    options = parser.parse_args(arguments)
    try:
        found = list(contents.differences(contents.read(options.first), contents.read(options.second)))
    except BuildError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.writelines(f"{line}\n" for line in found)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
