"""
`python -m benchmarks.webhook [--rate N] [--seconds N] [--connections N]`: reviews of the webhook, over TLS.

- At a steady rate: when each answer came, counted from when its question was due, so that a queue shows.
- As fast as it goes: how many a second, with all connections always busy.
- What one review costs: processor time of the server alone, and its memory as the rounds go on.

The server is a process of its own, the load another. Connections are kept, as the API server keeps them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

INJECTOR = Path(sys.executable).with_name("injector")
DOMAIN = "config-injector.io/"


def review() -> bytes:
    """A review of a pod such as a Deployment makes: about 4 kB."""
    annotations = {
        f"{DOMAIN}templates": "shop",
        f"{DOMAIN}template-app.env": "PASSWORD=AWSPARAMSTR:///shop/db|password\n" * 5,
        f"{DOMAIN}refresh": "1m",
        f"{DOMAIN}notify": "http:http://127.0.0.1:8080/-/reload",
    }
    token = {"name": "kube-api-access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": True}
    container = {
        "name": "app",
        "image": "registry.example/shop/app:1.2.3",
        "env": [{"name": f"VARIABLE_{number}", "value": f"value {number}"} for number in range(20)],
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "volumeMounts": [token],
        "terminationMessagePath": "/dev/termination-log",
    }
    managed = {
        "manager": "kube-controller-manager",
        "operation": "Update",
        "fieldsV1": {"f:metadata": {"f:x" * 200: {}}},
    }
    pod = {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "generateName": "shop-6b7f9c5d8d-",
            "labels": {"app": "shop", f"{DOMAIN}inject": "enabled"},
            "annotations": annotations,
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "shop-6b7f9c5d8d", "uid": "1"}],
            "managedFields": [managed, managed],
        },
        "spec": {"containers": [container], "volumes": [{"name": "kube-api-access", "projected": {"sources": []}}]},
    }
    request = {
        "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "operation": "CREATE",
        "namespace": "shop",
        "object": pod,
        "oldObject": None,
        "dryRun": False,
    }
    return json.dumps({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": request}).encode()


class Client:
    """Kept connections; each answer is checked to be one that injects."""

    def __init__(self, port: int, authority: bytes) -> None:
        self._port = port
        self._context = ssl.create_default_context(cadata=authority.decode())
        body = review()
        head = (
            f"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._request = head.encode() + body

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self._port, ssl=self._context, server_hostname="127.0.0.1")

    async def ask(self, connection: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        reader, writer = connection
        writer.write(self._request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        body = await reader.readexactly(length)
        if not head.startswith(b"HTTP/1.1 200") or b'"patch"' not in body:
            raise SystemExit("an answer without a patch")


async def steady(client: Client, rate: float, seconds: float, connections: int) -> list[float]:
    """Seconds from when each question was due to its answer."""
    took: list[float] = []
    start = time.perf_counter() + 0.5

    async def work(number: int) -> None:
        connection = await client.connect()
        due = start + number / rate
        while due < start + seconds:
            await asyncio.sleep(due - time.perf_counter())
            await client.ask(connection)
            took.append(time.perf_counter() - due)
            due += connections / rate
        connection[1].close()

    await asyncio.gather(*(work(number) for number in range(connections)))
    return sorted(took)


async def fastest(client: Client, seconds: float, connections: int) -> float:
    """Answers a second."""
    answered = 0

    async def work() -> None:
        nonlocal answered
        connection = await client.connect()
        while time.perf_counter() < end:
            await client.ask(connection)
            answered += 1
        connection[1].close()

    start = time.perf_counter()
    end = start + seconds
    await asyncio.gather(*(work() for _ in range(connections)))
    return answered / (time.perf_counter() - start)


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024


def quantile(sorted_values: list[float], share: float) -> float:
    return sorted_values[min(len(sorted_values) - 1, int(len(sorted_values) * share))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--log-level", default="info")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        run(Path(directory), chosen)


def run(directory: Path, chosen: Any) -> None:
    from injector.webhook.certificates import issue

    material = issue(["127.0.0.1"], 3600.0, time.time())
    (directory / "tls.crt").write_bytes(material.certificate)
    (directory / "tls.key").write_bytes(material.key)
    command = [
        *(str(INJECTOR), "webhook", "--image", "registry.example/injector:1", "--listen", "127.0.0.1:0"),
        *("--cert-file", str(directory / "tls.crt"), "--key-file", str(directory / "tls.key")),
        *("--log-format", "json", "--log-level", chosen.log_level, "--shutdown-delay", "off"),
    ]
    log = directory / "log"
    with log.open("wb") as stream:
        server = subprocess.Popen(command, stderr=stream)
    try:
        port = wait_for_port(log) if chosen.log_level in ("info", "debug") else find_port(server.pid)
        client = Client(port, material.bundle[0])
        print(f"review of {len(review())} bytes, {chosen.connections} connections, log level {chosen.log_level}")
        rates, costs, tails = [], [], []
        print(f"resident memory of the server: {resident_mib(server.pid):.1f} MiB before the first review")
        for _ in range(chosen.rounds):
            before, started = processor_seconds(server.pid), time.perf_counter()
            took = asyncio.run(steady(client, chosen.rate, chosen.seconds, chosen.connections))
            spent, passed = processor_seconds(server.pid) - before, time.perf_counter() - started - 0.5
            costs.append(spent / len(took) * 1000)
            tails.append(quantile(took, 0.99) * 1000)
            print(
                f"  {chosen.rate:.0f}/s asked, {len(took) / passed:.0f}/s answered: "
                f"median {statistics.median(took) * 1000:.1f} ms, p99 {tails[-1]:.1f} ms, "
                f"p99.9 {quantile(took, 0.999) * 1000:.1f} ms; {costs[-1]:.2f} ms of processor each; "
                f"{resident_mib(server.pid):.1f} MiB after {len(took)} reviews; load {os.getloadavg()[0]:.1f}"
            )
            rates.append(asyncio.run(fastest(client, min(chosen.seconds, 5.0), chosen.connections)))
            print(f"  as fast as it goes: {rates[-1]:.0f}/s")
        print(
            f"medians: p99 {statistics.median(tails):.1f} ms at {chosen.rate:.0f}/s, {statistics.median(rates):.0f}/s "
            f"at most, {statistics.median(costs):.2f} ms of processor time a review"
        )
        print(f"resident memory of the server: {resident_mib(server.pid):.1f} MiB at the end")
    finally:
        server.terminate()
        server.wait(60)


def wait_for_port(log: Path) -> int:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
        if any(line["event"] == "certificate loaded" for line in lines):
            return next(int(line["port"]) for line in lines if line["event"] == "listening")
        time.sleep(0.05)
    raise SystemExit(f"the webhook does not start: {log.read_text()}")


def find_port(pid: int) -> int:
    import psutil

    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = [one.laddr.port for one in psutil.Process(pid).net_connections() if one.status == "LISTEN"]
        if found:
            time.sleep(1)  # for the certificate
            return found[0]
        time.sleep(0.05)
    raise SystemExit("the webhook does not start")


if __name__ == "__main__":
    main()
