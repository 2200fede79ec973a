"""What authors pay for the SDK."""

from __future__ import annotations

import subprocess
import sys


def test_the_sdk_without_a_host_imports_nothing_heavy_and_nothing_of_the_product():
    script = (
        "import sys, injector.sdk.serving, injector.sdk.store, injector.sdk.errors, injector.sdk.hclog;"
        "print(*sorted(sys.modules))"
    )
    loaded = set(
        subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout.split()
    )
    heavy = {"grpc", "google.protobuf", "asyncio", "logging", "concurrent.futures", "botocore", "tempfile", "json"}
    assert not loaded & heavy
    ours = {name for name in loaded if name.startswith("injector.") and not name.startswith("injector.sdk")}
    assert ours == {"injector.errors"}
