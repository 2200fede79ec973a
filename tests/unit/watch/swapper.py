"""`python swapper.py MOUNT COUNT`: replaces the mount COUNT times, as the kubelet does it, in a process of its own."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path

if __name__ == "__main__":
    spec = importlib.util.spec_from_file_location("watch_conftest", Path(__file__).with_name("conftest.py"))
    conftest = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conftest)
    mount, count = Path(sys.argv[1]), int(sys.argv[2])
    for number in range(1, count + 1):
        conftest.swap(mount, {f"f{file}.tmpl": f"generation {number}\n" for file in range(5)})
        time.sleep(0.002 if number % 2 else 0)
