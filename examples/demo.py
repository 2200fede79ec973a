"""
`make demo`: the main job from end to end, on this machine, in a minute.

Starts a Parameter Store-compatible server (moto's), puts `parameters.yaml` in, renders `templates/` with the command
a user would type, shows template and result side by side, and removes everything again.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Path(__file__).resolve().parent
INJECTOR = Path(sys.executable).with_name("injector")
# Made-up credentials for a server that takes any; nothing of the caller's environment reaches it.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "demo", "AWS_SECRET_ACCESS_KEY": "demo", "AWS_REGION": "eu-west-1"}


def main() -> int:
    color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    with ExitStack() as stack:
        step(1, "a Parameter Store on this machine (moto's server)")
        endpoint = stack.enter_context(parameter_store())
        print(f"      {endpoint}")
        step(2, "parameters into it, from examples/parameters.yaml")
        for line in put_parameters(endpoint):
            print(f"      {line}")
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="injector-demo-")))
        step(3, "templates to finished files")
        code = render(endpoint, work / "config")
        if code != 0:
            print(f"\nthe render failed with exit code {code}", file=sys.stderr)
            return code
        step(4, "template (left) and result (right); a bar marks what changed")
        for result in sorted((work / "config").rglob("*")):
            if result.is_file():
                name = result.relative_to(work / "config")
                print(f"\n   {name}  (mode {result.stat().st_mode & 0o777:04o})")
                show(HERE / "templates" / name, result, color=color)
        step(5, "cleaning up: the server and the files go")
    print("\nDone. The tour in README.md goes on from here.")
    return 0


def step(number: int, text: str) -> None:
    print(f"\n[{number}/5] {text}", flush=True)


@contextmanager
def parameter_store() -> Iterator[str]:
    """A moto server on a free loopback port; gives its address, ends it afterwards."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(port, server)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(10)


def wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise SystemExit(f"moto's server ended with exit code {server.returncode}")
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise SystemExit("moto's server did not listen within 30 s")


def put_parameters(endpoint: str) -> Iterator[str]:
    """Puts every parameter; gives a line for each, without its value."""
    from botocore.session import Session

    client: Any = Session().create_client(
        "ssm",
        region_name=CREDENTIALS["AWS_REGION"],
        endpoint_url=endpoint,
        aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
    )
    for parameter in yaml.safe_load((HERE / "parameters.yaml").read_text()):
        for value in parameter["values"]:
            client.put_parameter(Name=parameter["name"], Value=str(value), Type=parameter["type"], Overwrite=True)
        for label, version in parameter.get("label", {}).items():
            client.label_parameter_version(Name=parameter["name"], ParameterVersion=version, Labels=[label])
        versions = len(parameter["values"])
        yield f"{parameter['name']:28} {parameter['type']:13} {versions} version{'s' if versions > 1 else ''}"


def render(endpoint: str, target: Path) -> int:
    """Runs the command as a user would; its exit code."""
    arguments = ["render", "examples/templates", "--file-root", "examples/files", "--output-dir"]
    print(f"      $ injector {' '.join(arguments)} config/")
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    environment = {**kept, **CREDENTIALS, "AWS_ENDPOINT_URL_SSM": endpoint, "BUILD_ID": "2041"}
    return subprocess.run(
        [INJECTOR, *arguments, target], cwd=HERE.parent, env=environment, check=False, stdin=subprocess.DEVNULL
    ).returncode


def show(template: Path, result: Path, *, color: bool) -> None:
    """The two files in two columns. A line of a template is always one line of its result here."""
    width = max(40, (shutil.get_terminal_size((150, 40)).columns - 9) // 2)
    for before, after in zip(template.read_text().splitlines(), result.read_text().splitlines(), strict=True):
        left = textwrap.wrap(before, width, drop_whitespace=False, break_on_hyphens=False) or [""]
        right = textwrap.wrap(after, width, drop_whitespace=False, break_on_hyphens=False) or [""]
        rows = max(len(left), len(right))
        left += [""] * (rows - len(left))
        right += [""] * (rows - len(right))
        bar = "|" if before != after else " "
        for old, new in zip(left, right, strict=True):
            shown = f"\033[32m{new}\033[0m" if color and before != after else new
            print(f"   {old:{width}} {bar} {shown}")


if __name__ == "__main__":
    sys.exit(main())
