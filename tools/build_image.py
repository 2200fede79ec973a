"""
Builds the container image without a daemon: `python -m tools.build_image -o build/injector.tar --tag injector:dev`.

The archive is an OCI layout that `ctr images import`, `podman load`, `docker load` and `skopeo copy oci-archive:` read.
Below ours lies either a base image's archive (`--base`, of `docker save` or `skopeo copy`), or, without one, the Python
that runs this with the shared libraries it needs: an image without a shell and without a package manager. The
dependencies are those of requirements/runtime.txt, by their checksums, from pip's or uv's configured index. The bill of
materials lies beside the archive, as NAME.cdx.json, and in the image.

The same sources, base and Python give the same digest; the time of everything is SOURCE_DATE_EPOCH, or 1970.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import sysconfig
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tools.image import archive, base, host_python, layout, sbom, tree
from tools.image.layout import Label, Python
from tools.image.tree import BuildError


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 built, 1 it could not be (the reason is on standard error), 2 wrong usage."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        if options.tree:
            _fill_tree(options.tree, options.wheel)
        elif options.output:
            _build(options)
        else:
            parser.error("give --output or --tree")
    except BuildError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="the archive to write")
    parser.add_argument("--tag", metavar="NAME:TAG", help="the image's name (default: injector:VERSION)")
    parser.add_argument("--base", type=Path, metavar="FILE", help="archive of the base image")
    parser.add_argument("--wheel", type=Path, metavar="FILE", help="injector's wheel (default: built from here)")
    parser.add_argument("--revision", default="", metavar="COMMIT", help="for the label of that name")
    parser.add_argument("--no-compress", action="store_true", help="layers as plain tars: larger and sooner there")
    parser.add_argument("--add", action="append", default=[], metavar="SOURCE:PATH", help="one more file or directory")
    parser.add_argument("--tree", type=Path, metavar="DIR", help="only fill DIR/dependencies and DIR/injector")
    return parser


def version() -> str:
    """injector's version, read from its source."""
    for line in (tree.ROOT / "injector" / "__init__.py").read_text(encoding="utf-8").splitlines():
        if line.startswith("__version__"):
            return line.split('"')[1]
    raise BuildError("injector/__init__.py says no version")


def _created() -> tuple[int, str]:
    text = os.environ.get("SOURCE_DATE_EPOCH") or "0"
    if not text.isdecimal():
        raise BuildError(f"SOURCE_DATE_EPOCH is {text!r}, and no number of seconds")
    return int(text), datetime.fromtimestamp(int(text), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _fill_tree(directory: Path, wheel: Path | None) -> None:
    # For the Containerfile: this very Python is that of the base.
    executable = str(Path(sys.executable).resolve())
    python = Python(host_python.describe().version, executable, sysconfig.get_path("stdlib"))
    bundle = Path("/", layout.CERTIFICATES)
    has_certificates = bundle.is_file() and bundle.stat().st_size > 0
    tree.dependencies(directory / "dependencies", python, Path(python.stdlib), has_certificates=has_certificates)
    tree.product(directory / "injector", python, wheel)
    _write_sbom(directory, sbom.of_base(Path("/"), python), python)


def _write_sbom(directory: Path, below: list[dict[str, Any]], python: Python) -> Path:
    parts = [
        directory / part / layout.PREFIX / "lib" / f"python{python.version}" for part in ("dependencies", "injector")
    ]
    content = sbom.document(
        [part / "site-packages" for part in parts], below, python, version=version(), created=_created()[1]
    )
    path = directory / "injector" / layout.SBOM
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _build(options: argparse.Namespace) -> None:
    compress = not options.no_compress
    epoch, created = _created()
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="injector-image-") as name:
        work = Path(name)
        below = base.read(options.base, compress=compress) if options.base else None
        python = below.python if below else host_python.describe()
        if below:
            base.unpack(below, work / "base")
        stdlib = work / "base" / python.stdlib.lstrip("/") if below else None
        has_certificates = below is not None and below.has_certificates
        tree.dependencies(work / "dependencies", python, stdlib, has_certificates=has_certificates)
        tree.product(work / "injector", python, options.wheel)
        layers = list(below.layers) if below else []
        parts = {"dependencies": "dependencies of injector", "injector": f"injector {version()}"}
        if below:
            listed = sbom.of_base(work / "base", python)
        else:
            listed = sbom.of_host(host_python.fill(work / "python", work / "dependencies"))
            parts = {"python": f"Python {python.version} and its libraries", **parts}
        if options.add:
            _add(options.add, work / "added")
            parts["added"] = "added by --add"
        shutil.copy(_write_sbom(work, listed, python), options.output.with_suffix(".cdx.json"))
        layers += [
            archive.layer(work / part, comment, epoch=epoch, compress=compress) for part, comment in parts.items()
        ]
    tag = options.tag or f"injector:{version()}"
    label = Label(version(), options.revision)
    digest = archive.write(options.output, tag, layers, _config(below, label, created), created=created)
    _report(options.output, tag, digest, layers)


def _config(below: base.Base | None, label: Label, created: str) -> dict[str, Any]:
    theirs = below.config if below else {}
    environment = [item for item in theirs.get("Env") or () if item.partition("=")[0] not in layout.ENVIRONMENT]
    environment = environment or [f"PATH={layout.PATH}"]
    environment += [f"{name}={value}" for name, value in layout.ENVIRONMENT.items()]
    labels = {**(theirs.get("Labels") or {}), **label.all(), "org.opencontainers.image.created": created}
    return {
        "Entrypoint": list(layout.ENTRYPOINT),
        "Env": environment,
        "Labels": labels,
        "User": layout.USER,
        "WorkingDir": layout.WORKING_DIRECTORY,
    }


def _add(items: list[str], into: Path) -> None:
    for item in items:
        source, _, target = item.rpartition(":")
        if not source or not Path(source).exists():
            raise BuildError(f"--add {item}: there is no {source or item}; the form is SOURCE:PATH")
        place = into / target.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        if Path(source).is_dir():
            shutil.copytree(source, place, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, place)


def _report(output: Path, tag: str, digest: str, layers: list[archive.Layer]) -> None:
    sys.stdout.write(f"{output}: {tag}, {digest}, {output.stat().st_size / 1e6:.1f} MB\n")
    for layer in layers:
        sys.stdout.write(f"  {len(layer.blob) / 1e6:6.1f} MB  {layer.comment[:80]}\n")


if __name__ == "__main__":
    sys.exit(main())
