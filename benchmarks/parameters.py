"""
1,000 parameters of a Parameter Store with 20 ms latency that lets 40 calls a second through, cold: protocol 2 in
batches of ten, beside the same plugin in protocol 1, which has one call for each reference.

The store is tests/integration/fake_ssm.py, with a full bucket of 40 at the start: no way of asking that makes 100 calls
can be done in less than 1.5 s, and none that makes 1,000 in less than 24 s. `start` is a render of one parameter: two
interpreters, gRPC and the AWS SDK.
"""

from __future__ import annotations

import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import urllib.request
from collections import Counter
from pathlib import Path

from benchmarks.processes import MIB, Run, median, run
from injector.backends.executables import this_platform

ROOT = Path(__file__).resolve().parent.parent
INJECTOR = Path(sys.executable).with_name("injector")
PARAMETERS = 1000
RATE = 40
LATENCY = 0.02
RUNS = {2: 5, 1: 1}  # by protocol; the second takes half a minute each


def once(protocol: int, work: Path, parameters: int = PARAMETERS) -> tuple[Run, Counter[str]]:
    """One cold render against a store of its own: times, and how many calls ended how."""
    (work / "template").write_text("".join(f"key{n}: AWSPARAMSTR:///app/{n}\n" for n in range(parameters)))
    server = [sys.executable, str(ROOT / "tests/integration/fake_ssm.py"), f"--rate={RATE}", f"--latency={LATENCY}"]
    with subprocess.Popen(server, stdout=subprocess.PIPE, text=True) as store:
        try:
            assert store.stdout is not None
            url = store.stdout.readline().strip()
            output = work / "out"
            output.unlink(missing_ok=True)
            command = [INJECTOR, "render", "-q", work / "template", "-o", output, "--plugin-path", work / str(protocol)]
            keys = {"AWS_REGION": "eu-west-1", "AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "test"}
            result = run(command, env=os.environ | keys | {"AWS_ENDPOINT_URL_SSM": url}, cwd=work)
            if output.read_text().count("value of /app/") != parameters:
                raise SystemExit("the render is wrong")
            with urllib.request.urlopen(f"{url}/calls") as answer:
                return result, Counter(outcome for _, _, outcome in json.load(answer))
        finally:
            store.terminate()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        for protocol in RUNS:
            plugin = work / str(protocol) / "awsparamstr" / f"awsparamstr-{this_platform().file_suffix}"
            plugin.parent.mkdir(parents=True)
            python = shlex.quote(sys.executable)
            plugin.write_text(
                f"#!/bin/sh\nPLUGIN_PROTOCOL_VERSIONS={protocol} exec {python} -P -m injector_awsparamstr\n"
            )
            plugin.chmod(0o755)
        print(f"{PARAMETERS} parameters, {LATENCY * 1e3:.0f} ms, {RATE} calls/s")
        print(
            f"{'protocol':>8} {'runs':>5} {'seconds':>8} {'start':>6} {'calls':>6} {'refused':>8} {'cpu ms':>7} "
            f"{'host MiB':>9}"
        )
        for protocol, runs in RUNS.items():
            results, starts = [], []
            for _ in range(runs):
                starts.append(once(protocol, work, 1)[0].wall)
                results.append(once(protocol, work))
            middle = median([result for result, _ in results])
            calls = statistics.median(outcomes["ok"] for _, outcomes in results)
            refused = statistics.median(outcomes.total() - outcomes["ok"] for _, outcomes in results)
            print(
                f"{protocol:8} {runs:5} {middle.wall:8.2f} {statistics.median(starts):6.2f} {calls:6.0f} "
                f"{refused:8.0f} {middle.cpu * 1e3:7.0f} "
                f"{middle.peak / MIB:9.1f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
