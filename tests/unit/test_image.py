"""The image builder: same input, same digest; what stands in the Containerfile is what the program builds."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
import shlex
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from injector.backends.discovery import SYSTEM_DIRECTORY
from tools import build_image, compare_images
from tools.image import archive, base, contents, layout, sbom, tree
from tools.image.layout import Label, Python

CONTAINERFILE = (tree.ROOT / "Containerfile").read_text()
CREATED = "1970-01-01T00:00:00Z"


def instructions(stage: int) -> list[tuple[str, str]]:
    """The instructions of a stage (0: before the first FROM) as (name, text), continuation lines joined."""
    text = re.sub(r"^#.*\n", "", CONTAINERFILE, flags=re.MULTILINE).replace("\\\n", " ")
    stages: list[list[tuple[str, str]]] = [[]]
    for line in filter(None, map(str.strip, text.splitlines())):
        name, _, rest = line.partition(" ")
        if name == "FROM":
            stages.append([])
        stages[-1].append((name, rest))
    return stages[stage]


def test_the_containerfile_configures_what_the_program_does() -> None:
    final = dict(instructions(2))
    assert json.loads(final["ENTRYPOINT"]) == list(layout.ENTRYPOINT)
    assert (final["USER"], final["WORKDIR"]) == (layout.USER, layout.WORKING_DIRECTORY)
    assert dict(item.split("=", 1) for item in shlex.split(final["ENV"])) == layout.ENVIRONMENT
    labels = dict(item.split("=", 1) for item in shlex.split(final["LABEL"]))
    ours = {**Label("${VERSION}", "${REVISION}").all(), "org.opencontainers.image.created": "${CREATED}"}
    assert labels == ours
    assert f"VERSION={build_image.version()}" in [text for name, text in instructions(2) if name == "ARG"]


def test_the_containerfile_copies_both_directories_and_is_pinned_by_checksums() -> None:
    copies = [text for name, text in instructions(2) if name == "COPY"]
    assert copies == ["--from=build /tree/dependencies/ /", "--from=build /tree/injector/ /"]
    runs = [json.loads(text[text.index("[") :]) for name, text in instructions(1) if name == "RUN"]
    assert "--require-hashes" in runs[0]
    assert runs[1] == ["python3", "-m", "tools.build_image", "--tree", "/tree"]


def test_what_the_build_stage_copies_is_not_ignored() -> None:
    allowed = {line[1:] for line in (tree.ROOT / ".containerignore").read_text().splitlines() if line.startswith("!")}
    sources = {
        name.rstrip("/") for instruction, text in instructions(1) if instruction == "COPY" for name in text.split()[:-1]
    }
    assert sources <= allowed
    assert (tree.ROOT / ".dockerignore").read_text() == (tree.ROOT / ".containerignore").read_text()


def test_no_file_of_the_image_names_a_registry() -> None:
    for name in ("Containerfile", "requirements/build.txt", "requirements/runtime.txt", "requirements/helm.txt"):
        assert "://" not in (tree.ROOT / name).read_text(), name


def test_plugins_are_looked_for_where_the_image_has_them() -> None:
    assert str(SYSTEM_DIRECTORY) == f"/{layout.PLUGINS}"


def test_the_program_needs_only_the_standard_library() -> None:
    """The Containerfile's build stage has nothing else."""
    program = "import sys; import tools.build_image; print(sorted({m.partition('.')[0] for m in sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], cwd=tree.ROOT, capture_output=True, text=True, check=True
    )
    foreign = {name for name in eval(done.stdout) if name not in sys.stdlib_module_names and name[0] != "_"}
    assert foreign == {"tools"}


@pytest.fixture
def content(tmp_path: Path) -> Path:
    folder = tmp_path / "content"
    (folder / "usr" / "bin").mkdir(parents=True)
    (folder / "tmp").mkdir()
    program = folder / "usr" / "bin" / "program"
    program.write_text("#!/bin/true\n")
    program.chmod(0o775)
    (folder / "usr" / "data").write_text("x")
    (folder / "usr" / "data").chmod(0o600)
    (folder / "usr" / "link").symlink_to("/usr/data")
    return folder


def build(folder: Path, output: Path, *, compress: bool = True) -> str:
    layers = [archive.layer(folder, "content", epoch=0, compress=compress)]
    return archive.write(output, "localhost/a:1", layers, {"User": layout.USER}, created=CREATED)


def test_the_same_files_give_the_same_archive_whatever_their_times_and_modes(content: Path, tmp_path: Path) -> None:
    first = build(content, tmp_path / "1.tar")
    (content / "usr" / "data").touch()
    (content / "usr" / "data").chmod(0o664)
    second = build(content, tmp_path / "2.tar")
    assert first == second
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()
    (content / "usr" / "data").write_text("y")
    assert build(content, tmp_path / "3.tar") != first


@pytest.mark.parametrize("compress", [True, False])
def test_every_checksum_of_the_archive_is_right(content: Path, tmp_path: Path, compress: bool) -> None:
    output = tmp_path / "a.tar"
    digest = build(content, output, compress=compress)
    with tarfile.open(output) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    for name, data in files.items():
        if name.startswith("blobs/"):
            assert name == f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"
    (entry,) = json.loads(files["index.json"])["manifests"]
    assert entry["digest"] == digest
    assert entry["annotations"]["io.containerd.image.name"] == "localhost/a:1"
    manifest = json.loads(files["blobs/" + digest.replace(":", "/")])
    (described,) = manifest["layers"]
    data = files["blobs/" + described["digest"].replace(":", "/")]
    assert len(data) == described["size"]
    plain = gzip.decompress(data) if compress else data
    config = json.loads(files["blobs/" + manifest["config"]["digest"].replace(":", "/")])
    assert config["rootfs"]["diff_ids"] == ["sha256:" + hashlib.sha256(plain).hexdigest()]
    (docker,) = json.loads(files["manifest.json"])
    assert (docker["RepoTags"], docker["Layers"]) == (
        ["localhost/a:1"],
        ["blobs/" + described["digest"].replace(":", "/")],
    )
    with tarfile.open(fileobj=io.BytesIO(plain)) as layer:
        modes = {member.name: (member.mode, member.uid, member.mtime) for member in layer}
    assert modes["usr/bin/program"] == (0o755, 0, 0)
    assert modes["usr/data"] == (0o644, 0, 0)
    assert modes["tmp"] == (0o1777, 0, 0)


def test_a_base_image_is_read_back(content: Path, tmp_path: Path) -> None:
    stdlib = content / "usr" / "local" / "lib" / "python3.11"
    stdlib.mkdir(parents=True)
    (stdlib / "os.py").write_text("a = 1\n")
    (stdlib / "linked.py").symlink_to("../python3.11/os.py")
    (stdlib / "dangling.py").symlink_to("nowhere.py")
    (content / "usr" / "local" / "bin").mkdir()
    (content / "usr" / "local" / "bin" / "python3.11").write_text("")
    output = tmp_path / "base.tar"
    build(content, output)
    found = base.read(output, compress=False)
    assert found.python == Python("3.11", "/usr/local/bin/python3.11", "/usr/local/lib/python3.11")
    assert found.config == {"User": layout.USER}
    assert not found.has_certificates
    base.unpack(found, tmp_path / "unpacked")
    assert (tmp_path / "unpacked/usr/local/lib/python3.11/os.py").read_text() == "a = 1\n"
    assert (tmp_path / "unpacked/usr/local/lib/python3.11/linked.py").read_text() == "a = 1\n"
    assert not (tmp_path / "unpacked/usr/local/lib/python3.11/dangling.py").is_symlink()
    assert not (tmp_path / "unpacked/usr/data").exists()


def test_a_base_with_authorities_keeps_them(content: Path, tmp_path: Path) -> None:
    bundle = content / layout.CERTIFICATES
    bundle.parent.mkdir(parents=True)
    bundle.write_text("")
    (content / "usr" / "bin" / "python3.11").write_text("")
    build(content, tmp_path / "empty.tar")
    assert not base.read(tmp_path / "empty.tar", compress=False).has_certificates
    bundle.write_text("-----BEGIN CERTIFICATE-----\n")
    build(content, tmp_path / "full.tar")
    assert base.read(tmp_path / "full.tar", compress=False).has_certificates


def test_upper_layers_replace_and_remove_what_lies_below(tmp_path: Path) -> None:
    def layer(number: int, files: dict[str, str]) -> archive.Layer:
        for name, text in files.items():
            file = tmp_path / str(number) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        return archive.layer(tmp_path / str(number), "a layer", epoch=0, compress=False)

    layers = [
        layer(1, {"etc/a": "1", "etc/b": "1", "opt/x/y": "1", "var/z/1": "1", "var/z/2": "1"}),
        layer(2, {"etc/a": "2", "etc/.wh.b": "", "opt/.wh.x": "", "var/z/.wh..wh..opq": "", "var/z/3": "2"}),
    ]
    archive.write(tmp_path / "a.tar", "localhost/a:1", layers, {}, created=CREATED)
    found = contents.read(tmp_path / "a.tar")
    files = {path: found.data(path) for path, entry in found.files.items() if entry.kind == "file"}
    assert files == {"etc/a": b"2", "var/z/3": b"2"}


def test_images_are_compared_by_paths_modes_links_bytes_and_settings(
    content: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    build(content, tmp_path / "1.tar")
    build(content, tmp_path / "2.tar", compress=False)
    assert compare_images.main([str(tmp_path / "1.tar"), str(tmp_path / "2.tar")]) == 0
    assert capsys.readouterr().out == ""

    (content / "usr" / "data").write_text("y")
    (content / "usr" / "bin" / "program").chmod(0o644)
    (content / "usr" / "link").unlink()
    (content / "usr" / "link").symlink_to("elsewhere")
    (content / "more").write_text("")
    layers = [archive.layer(content, "content", epoch=0, compress=False)]
    archive.write(tmp_path / "2.tar", "localhost/a:1", layers, {"User": "0", "Labels": {"a": ""}}, created=CREATED)
    assert compare_images.main([str(tmp_path / "1.tar"), str(tmp_path / "2.tar")]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == [
        "/more", "/usr/bin/program", "/usr/data", "/usr/link", "config User",
    ]  # fmt: skip
    assert lines[1] == "/usr/bin/program: mode 0o755 and 0o644"
    assert compare_images.main([str(tmp_path / "1.tar"), str(content / "usr" / "data")]) == 2


def test_a_file_that_is_no_image_is_refused_with_a_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "wrong.tar"
    wrong.write_text("no archive")
    assert build_image.main(["-o", str(tmp_path / "a.tar"), "--base", str(wrong)]) == 1
    assert f"error: {wrong} is no archive of one image" in capsys.readouterr().err
    assert not (tmp_path / "a.tar").exists()


def test_a_base_without_python_is_refused(content: Path, tmp_path: Path) -> None:
    build(content, tmp_path / "base.tar")
    with pytest.raises(tree.BuildError, match=r"has no python3\.X"):
        base.read(tmp_path / "base.tar", compress=False)


def test_another_python_than_the_base_has_cannot_compile_for_it(tmp_path: Path) -> None:
    with pytest.raises(tree.BuildError, match=r"the base has Python 3\.1, this is 3\.\d+: run it with python3\.1"):
        tree.dependencies(
            tmp_path, Python("3.1", "/usr/bin/python3.1", "/usr/lib/python3.1"), None, has_certificates=True
        )


def test_the_bill_of_materials_has_what_is_installed_and_no_more() -> None:
    installed = Path(pytest.__file__).parents[1]
    text = sbom.document([installed], [], Python("3.11", "", ""), version="1", created=CREATED)
    assert text == sbom.document([installed], [], Python("3.11", "", ""), version="1", created=CREATED)
    found: dict[str, Any] = json.loads(text)
    assert (found["bomFormat"], found["specVersion"]) == ("CycloneDX", "1.6")
    names = {component["name"]: component for component in found["components"]}
    assert names["pytest"]["purl"] == f"pkg:pypi/pytest@{pytest.__version__}"
    assert "kube-config-injector" not in names
    assert len({component["bom-ref"] for component in found["components"]}) == len(found["components"])


def test_a_dependency_that_a_cache_has_changed_is_not_built_in(tmp_path: Path) -> None:
    authorities = tmp_path / "certifi" / "cacert.pem"
    authorities.parent.mkdir()
    authorities.write_bytes(b"one")
    digest = base64.urlsafe_b64encode(hashlib.sha256(b"one").digest()).rstrip(b"=").decode()
    record = tmp_path / "certifi-1.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: certifi\nVersion: 1\n")
    (record / "RECORD").write_text(f"certifi/cacert.pem,sha256={digest},3\ncertifi-1.dist-info/RECORD,,\n")
    tree.check_installed(tmp_path)
    authorities.write_bytes(b"one and that of a proxy")
    with pytest.raises(tree.BuildError, match=r"certifi/cacert\.pem is not as certifi brings it"):
        tree.check_installed(tmp_path)
