"""What is to be built: a project with an entry point, a package that `python -m` can run, or a single file."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from injector.errors import PluginSourceInvalid

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_GROUP = "injector.plugins"
_PREFIX = re.compile(r"[a-z][a-z0-9_]*")
_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_REQUIREMENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_BROUGHT_ALONG = {"kube-config-injector", "grpcio", "protobuf"}  # by the file itself, or by its interpreter
_TAKEN = {"injector", "grpc", "google", "__main__"}
_NATIVE = (".so", ".pyd", ".dylib", ".dll")


class PluginSource(NamedTuple):
    """
    A plugin as it was found.

    `module` is what is run, `root` the directory that it is imported from. `files` are the plugin's own, by their
    names below `root`. `dependencies` are the requirements of its project that the file does not bring by itself.
    """

    prefix: str
    module: str
    root: Path
    files: dict[str, bytes]
    dependencies: tuple[str, ...] = ()


def find_source(source: Path, *, prefix: str | None) -> PluginSource:
    """
    The plugin at *source*: a directory with pyproject.toml, a package with `__main__.py`, or a file `*.py`.

    *prefix* is that of the tokens, in lower case; by default the name of the project's entry point, of the package, or
    of the file. PluginSourceInvalid says what is missing.
    """
    if prefix is not None and not _PREFIX.fullmatch(prefix):
        raise PluginSourceInvalid(f"{prefix!r} is no prefix", hint="lower-case letters, digits and _, a letter first")
    if (source / "pyproject.toml").is_file():
        return _in_project(source, prefix)
    if (source / "__main__.py").is_file():
        package = source.resolve().name
        return _plugin(prefix or _prefix_of(package), package, source.resolve().parent)
    if source.is_file() and source.suffix == ".py":
        return _plugin(prefix or _prefix_of(source.stem), source.stem, source.resolve().parent)
    raise PluginSourceInvalid(
        f"{source} is no plugin in Python",
        hint="give a project (pyproject.toml with an entry point in the group injector.plugins), a package "
        "(with __main__.py), or a file *.py; `injector plugin new` writes a project",
    )


def native_files(names: Iterable[str]) -> list[str]:
    """Those of *names* that hold machine code, which cannot be imported from inside a file."""
    return [name for name in names if name.endswith(_NATIVE) or ".so." in name]


def read_tree(root: Path, top: Path) -> dict[str, bytes]:
    """The files below *top* by their names below *root*, in order; without bytecode and hidden files."""
    files = {}
    for path in sorted(top.rglob("*")):
        name = path.relative_to(root)
        hidden = any(part.startswith(".") or part == "__pycache__" for part in name.parts)
        if path.is_file() and not hidden and path.suffix != ".pyc":
            files[name.as_posix()] = _read(path)
    return files


def _in_project(project: Path, prefix: str | None) -> PluginSource:
    import tomllib

    try:
        metadata = tomllib.loads(_read(project / "pyproject.toml").decode()).get("project", {})
    except ValueError as error:  # not UTF-8, or not TOML
        raise PluginSourceInvalid(f"{project / 'pyproject.toml'} cannot be read: {error}") from None
    plugins: dict[str, str] = metadata.get("entry-points", {}).get(_GROUP, {})
    chosen = prefix or next(iter(plugins), "")
    if chosen not in plugins or (prefix is None and len(plugins) > 1):
        names = ", ".join(sorted(plugins)) or "none"
        raise PluginSourceInvalid(
            f"{project / 'pyproject.toml'} does not say which plugin to build (group {_GROUP}: {names})",
            hint='add an entry point `prefix = "module"`, or choose one with --name',
        )
    roots = [root for root in (project, project / "src") if _module_path(root, plugins[chosen]) is not None]
    if not roots:
        raise PluginSourceInvalid(f"module {plugins[chosen]} is neither in {project} nor in {project / 'src'}")
    needed = tuple(text for text in metadata.get("dependencies", ()) if not _is_brought_along(text))
    return _plugin(chosen, plugins[chosen], roots[0].resolve())._replace(dependencies=needed)


def _plugin(prefix: str, module: str, root: Path) -> PluginSource:
    top = module.partition(".")[0]
    if not _MODULE.fullmatch(module) or top in _TAKEN:
        raise PluginSourceInvalid(f"{module!r} cannot be the name of a plugin's module", hint="rename it")
    if _module_path(root, module) is None:
        raise PluginSourceInvalid(f"{module} in {root} cannot be run: it has no __main__.py")
    files = read_tree(root, root / top) if (root / top).is_dir() else {f"{top}.py": _read(root / f"{top}.py")}
    native = native_files(files)
    if native:
        raise PluginSourceInvalid(
            f"{native[0]} is machine code, which cannot be imported from inside a file",
            hint="install the plugin as a package instead (entry point group injector.plugins)",
        )
    return PluginSource(prefix, module, root, files)


def _module_path(root: Path, module: str) -> Path | None:
    path = root.joinpath(*module.split("."))
    return next((file for file in (path / "__main__.py", path.with_suffix(".py")) if file.is_file()), None)


def _prefix_of(module: str) -> str:
    prefix = module.lower().removeprefix("injector_").removesuffix("_plugin")
    if not _PREFIX.fullmatch(prefix):
        raise PluginSourceInvalid(f"{module!r} is no prefix of a token", hint="give one with --name")
    return prefix


def _is_brought_along(requirement: str) -> bool:
    name = _REQUIREMENT.match(requirement)
    return name is not None and "[" not in requirement and re.sub(r"[-_.]+", "-", name[0]).lower() in _BROUGHT_ALONG


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise PluginSourceInvalid(f"{path} cannot be read: {error.strerror}") from None
