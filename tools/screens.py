"""
Writes docs/screens/*.svg: what `check`, `explain`, `plan` and `diff` print on a terminal, with its colours.

    python -m tools.screens

The commands run under a pseudo-terminal on a template of examples/, with values from a file, in a directory of their
own. Hashes of `diff` are different ones each time.
"""

from __future__ import annotations

import html
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SCREENS = ROOT / "docs" / "screens"
INJECTOR = Path(sys.executable).with_name("injector")
WIDTH = 118

_FAULTY = """\
database:
  user: AWSPARAMSTR:///shop/db|user
  password: AWSPARAMSTR:///shop/db[]
"""
_MISSING = """\
host = VAULT:///secret___db
user = AWSPARAMSTORE:///shop/db|user
"""
_APP = """\
# of the shop
database:
  user: AWSPARAMSTR:///shop/db|user
  password: AWSPARAMSTR:///shop/db|password
  pool: {size: 10}
key: AWSPARAMSTR:///shop/key
"""
_CONF = "listen 8080;\nsecret AWSPARAMSTR:///shop/key;\n"
_VALUES = """\
"AWSPARAMSTR:///shop/db": {user: shop, password: %s}
"AWSPARAMSTR:///shop/key": %s
"""
FILES = {
    "faulty/app.yml": _FAULTY,
    "faulty/shop.conf": _MISSING,
    "templates/app.yml.tmpl": _APP,
    "templates/shop.conf.tmpl": _CONF,
    "before.yaml": _VALUES % ("example-of-old", "an-old-key"),
    "values.yaml": _VALUES % ("example-of-a-new-one", "a-new-key"),
}
PREPARED = (
    "injector render templates --output-dir config --values before.yaml",
    "sed -i 's/10}/5, timeout: 3s}/' config/app.yml",
)
SHOWN = {
    "check": "injector check faulty/",
    "explain": "injector explain templates/app.yml.tmpl",
    "plan": "injector plan templates/ --replicas 200 --refresh 1m",
    "diff": "injector diff templates/ --output-dir config/ --values values.yaml",
}

_ESCAPE = re.compile(r"\x1b\[([0-9;]*)m")
_COLORS = {"31": "#ff7b72", "32": "#7ee787", "33": "#e3b341", "34": "#79c0ff", "36": "#76e3ea"}


def run_on_terminal(command: str, directory: Path) -> str:
    """What *command* prints on a terminal, standard output and error as they come."""
    ours, theirs = pty.openpty()
    environment = {
        "PATH": f"{INJECTOR.parent}:{os.environ['PATH']}",
        "HOME": str(directory),
        "TERM": "xterm-256color",
        "COLUMNS": str(WIDTH),
    }
    process = subprocess.Popen(
        shlex.split(command), cwd=directory, env=environment, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    printed = bytearray()
    while True:
        try:
            chunk = os.read(ours, 65536)
        except OSError:  # the terminal is closed when its last user has gone
            break
        if not chunk:
            break
        printed += chunk
    os.close(ours)
    process.wait()
    return printed.decode().replace("\r\n", "\n").replace(str(directory), "/home/ada")


def svg(command: str, text: str) -> str:
    """*text* with its colours as a picture."""
    lines = [_styled(f"\x1b[2m$\x1b[0m {command}")] + [_styled(line) for line in text.rstrip("\n").split("\n")]
    longest = max(len(_ESCAPE.sub("", line)) for line in [command, *text.split("\n")]) + 2
    width, height = round(longest * 8.1) + 32, len(lines) * 19 + 32
    rows = "\n".join(f'<text x="16" y="{30 + 19 * number}">{line}</text>' for number, line in enumerate(lines))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">\n'
        f'<rect width="100%" height="100%" rx="8" fill="#0d1117"/>\n'
        f'<g font-family="ui-monospace,Menlo,Consolas,monospace" font-size="13.5" fill="#e6edf3" xml:space="preserve">\n'
        f"{rows}\n</g>\n</svg>\n"
    )


def _styled(line: str) -> str:
    parts: list[str] = []
    style = ""
    position = 0
    for match in [*_ESCAPE.finditer(line), None]:
        run = line[position : match.start() if match else len(line)]
        if run:
            text = html.escape(run).replace(" ", "\u00a0")
            parts.append(f"<tspan{style}>{text}</tspan>" if style else text)
        if match:
            position = match.end()
            style = _style(match[1].split(";"), style)
    return "".join(parts)


def _style(codes: list[str], style: str) -> str:
    for code in codes:
        if code in {"", "0"}:
            style = ""
        elif code == "1":
            style += ' font-weight="bold"'
        elif code == "2":
            style += ' opacity="0.6"'
        elif code in _COLORS:
            style += f' fill="{_COLORS[code]}"'
    return style


def main() -> int:
    """Writes all screens."""
    SCREENS.mkdir(exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix="screens-"))
    try:
        for name, text in FILES.items():
            path = directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        for command in PREPARED:
            run_on_terminal(command, directory)
        for name, command in SHOWN.items():
            text = run_on_terminal(command, directory)
            (SCREENS / f"{name}.svg").write_text(svg(command, text), encoding="utf-8")
            print(text)
    finally:
        shutil.rmtree(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
