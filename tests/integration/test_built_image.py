"""
The image as it is built: what is in it, that its list of contents is true, and that it runs as a pod runs it.

Its programs run here in its own root (chroot) as its own user; in a pod, with a read-only root, tests/e2e does so. The
Containerfile is built by buildah where that is installed.
"""

from __future__ import annotations

import ensurepip
import json
import os
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from injector.webhook import certificates
from tools import compare_images
from tools.image import archive, contents, host_python, layout, sbom
from tools.image.contents import Contents

ROOT = Path(__file__).resolve().parents[2]
CREATED = "1970-01-01T00:00:00Z"
# A build takes 20 s of CPU, on machines that have others to do.
pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("image")]


def build(output: Path, *arguments: str, **environment: str) -> Path:
    """The archive of an image, by the program; its dependencies come from the package index."""
    command = [sys.executable, "-m", "tools.build_image", "-o", str(output), "--tag", "localhost/injector:test"]
    done = subprocess.run(
        [*command, "--no-compress", *arguments],
        cwd=ROOT, check=False, capture_output=True, text=True, env={**os.environ, **environment},
    )  # fmt: skip
    if "the dependencies could not be installed" in done.stderr:
        pytest.skip(f"no package index is to be had: {done.stderr.strip()[-300:]}")
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image; INJECTOR_IMAGE_ARCHIVE names one that was built from these sources already."""
    if ready := os.environ.get("INJECTOR_IMAGE_ARCHIVE"):
        return Path(ready)
    return build(tmp_path_factory.mktemp("image") / "injector.tar")


@pytest.fixture(scope="module")
def image(built: Path) -> Contents:
    return contents.read(built)


def test_a_second_build_has_the_same_digest(built: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    umask = os.umask(0o077)
    try:
        again = build(tmp_path / "again.tar", TMPDIR=str(tmp_path / "elsewhere"), TZ="Asia/Tokyo", LC_ALL="C")
    finally:
        os.umask(umask)
    assert compare_images.main([str(built), str(again)]) == 0
    assert built.read_bytes() == again.read_bytes()


def test_it_is_started_as_nobody_in_particular(image: Contents) -> None:
    assert image.config["User"] == "65532:65532"
    assert image.config["Entrypoint"] == ["injector"]
    assert image.files["usr/local/bin/injector"].kind == "link"


def test_there_is_no_shell_and_nothing_that_its_user_could_change(image: Contents) -> None:
    shells = {"sh", "bash", "dash", "ash", "busybox", "apt", "dpkg"}
    assert not [path for path in image.files if path.rpartition("/")[2] in shells and "/bin/" in f"/{path}"]
    for path, entry in image.files.items():
        assert entry.owner == "0:0", path
        assert entry.mode & 0o6022 == 0 or path == "tmp", (path, oct(entry.mode))


def test_it_has_the_authorities_that_its_variable_names(image: Contents) -> None:
    named = {item.partition("=")[2] for item in image.config["Env"] if "CERT" in item or "CA_BUNDLE" in item}
    assert named == {f"/{layout.CERTIFICATES}"}
    bundle = image.data(layout.CERTIFICATES).decode()
    assert bundle.count("BEGIN CERTIFICATE") > 100
    packages = f"usr/local/lib/injector/lib/python{host_python.describe().version}/site-packages"
    assert bundle == image.data(f"{packages}/certifi/cacert.pem").decode(), "not those of the machine that built it"


def plain(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


def test_its_list_of_contents_is_valid_and_complete(image: Contents) -> None:
    text = image.data(layout.SBOM).decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    components = json.loads(text)["components"]

    installed = {plain(path.split("/")[-2]) for path in image.files if path.endswith(".dist-info/METADATA")}
    listed = {plain(f"{one['name']}-{one['version']}.dist-info") for one in components if "purl" in one}
    (subject,) = installed - listed
    assert subject.startswith("kube-config-injector")
    assert len(installed) > 40

    files = {one["name"]: one["hashes"][0]["content"] for one in components if one["type"] == "file"}
    within = (layout.PREFIX, host_python.describe().stdlib.lstrip("/"))
    libraries = {path for path, entry in image.files.items() if ".so" in path and entry.kind == "file"}
    apart = {path for path in libraries if not path.startswith(within)}
    assert {path.rpartition("/")[2] for path in apart} == set(files)
    assert {image.files[path].content for path in apart} == set(files.values())
    (python,) = [one for one in components if one["type"] == "platform"]
    assert python["version"] == ".".join(map(str, sys.version_info[:3]))


# --------------------------------------------------------------------------------------------------- its programs run


@pytest.fixture(scope="module")
def root(image: Contents) -> Iterator[Path]:
    """The image's files, as root owns them, with a /tmp that is everybody's."""
    if os.geteuid() != 0:
        pytest.skip("only root may make the image's root that of a process")
    # Outside of pytest's directories, which only their owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="injector-root-"))
    folder.chmod(0o755)
    for path, entry in sorted(image.files.items()):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if entry.kind == "directory":
            target.mkdir(exist_ok=True)
            target.chmod(entry.mode)
        elif entry.kind == "link":
            target.symlink_to(entry.content)
        else:
            target.write_bytes(image.data(path))
            target.chmod(entry.mode)
    yield folder
    shutil.rmtree(folder)


def run(root: Path, image: Contents, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Runs *command* in *root* as the image's user with its variables, and *more*."""

    def enter() -> None:
        os.chroot(root)
        os.chdir(image.config["WorkingDir"])
        os.setgroups([])
        user, _, group = image.config["User"].partition(":")
        os.setgid(int(group))
        os.setuid(int(user))

    environment = dict(item.partition("=")[::2] for item in image.config["Env"])
    return subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=120, env={**environment, **more},
        preexec_fn=enter,
    )  # fmt: skip


def test_its_command_renders_as_its_user_and_writes_nowhere_else(root: Path, image: Contents) -> None:
    (root / "tmp" / "template.env").write_text("NAME=ENV://NAME\n")
    done = run(root, image, "injector", "render", "/tmp/template.env", "-o", "/tmp/out.env", NAME="right")
    assert done.returncode == 0, done.stderr
    assert (root / "tmp" / "out.env").read_text() == "NAME=right\n"
    refused = run(root, image, "injector", "render", "/tmp/template.env", "-o", "/etc/out.env", NAME="right")
    assert refused.returncode == 9
    plugins = run(root, image, "injector", "plugin", "list")
    assert "awsparamstr" in plugins.stdout, plugins.stderr


def test_python_m_injector_is_the_command_in_the_image_too(root: Path, image: Contents) -> None:
    found = run(root, image, f"/{layout.PREFIX}/bin/python", "-I", "-m", "injector", "version")
    assert found.stdout == run(root, image, "injector", "version").stdout != ""


@pytest.fixture
def tls_server() -> Iterator[tuple[int, bytes]]:
    """A server at 127.0.0.1 whose certificate is of an authority that nobody knows: its port, and the authority."""
    material = certificates.issue(["localhost", "127.0.0.1"], 86400.0, time.time())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile() as pair:
        pair.write(material.key + material.certificate)
        pair.flush()
        context.load_cert_chain(pair.name)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        done = threading.Event()

        def serve() -> None:
            listener.settimeout(0.2)
            while not done.is_set():
                try:
                    raw = listener.accept()[0]
                except TimeoutError:
                    continue
                try:
                    raw.settimeout(30)
                    with context.wrap_socket(raw, server_side=True) as secured:
                        secured.sendall(b"hello")
                except OSError:
                    raw.close()  # a client that does not trust us

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1], b"".join(material.bundle)
        done.set()
        thread.join()


CLIENT = """
import socket, ssl, sys
context = ssl.create_default_context()
print(len(context.get_ca_certs()))
with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 60) as raw:
    with context.wrap_socket(raw, server_hostname="localhost") as secured:
        print(secured.recv(5).decode())
"""


def test_an_authority_of_ones_own_is_trusted_when_it_is_mounted_and_named(
    root: Path, image: Contents, tls_server: tuple[int, bytes]
) -> None:
    port, authority = tls_server
    command = [f"/{layout.PREFIX}/bin/python", "-I", "-c", CLIENT, str(port)]
    # Isolated as injector is: -I does not keep OpenSSL from its variables.
    unknown = run(root, image, *command)
    assert int(unknown.stdout) > 100, "the authorities of the image"
    assert "CERTIFICATE_VERIFY_FAILED" in unknown.stderr
    (root / "tmp" / "ca.pem").write_bytes(authority)
    known = run(root, image, *command, SSL_CERT_FILE="/tmp/ca.pem")
    assert known.stdout.split() == ["1", "hello"], known.stderr


AWS_CLIENT = """
import sys, botocore.session
session = botocore.session.get_session()
session.set_credentials("a", "b")
client = session.create_client("ssm", region_name="eu-west-1", endpoint_url=f"https://127.0.0.1:{sys.argv[1]}",
                               config=botocore.config.Config(retries={"total_max_attempts": 1}))
try:
    client.get_parameter(Name="a")
except Exception as error:
    print(error)
"""


def test_aws_is_asked_with_the_same_bundle(root: Path, image: Contents, tls_server: tuple[int, bytes]) -> None:
    port, authority = tls_server
    command = [f"/{layout.PREFIX}/bin/python", "-I", "-c", AWS_CLIENT, str(port)]
    assert "certificate verify failed" in run(root, image, *command).stdout
    # In the place of the image's own, as an image that is made of this one has it.
    (root / layout.CERTIFICATES).write_bytes(authority)
    try:
        answered = run(root, image, *command)
    finally:
        (root / layout.CERTIFICATES).write_bytes(image.data(layout.CERTIFICATES))
    # The server is no Parameter Store, but it is believed.
    assert answered.stdout, answered.stderr
    assert "certificate verify failed" not in answered.stdout


# -------------------------------------------------------------------------------------------------- the Containerfile


@pytest.fixture(scope="module")
def base_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This Python with pip in it, for the place of `python:3.11-slim`: no registry is to be had in the tests."""
    folder = tmp_path_factory.mktemp("base")
    host_python.fill(folder / "root", folder)
    packages = folder / "root" / host_python.describe().stdlib.lstrip("/") / "site-packages"
    packages.mkdir()
    bundled = [*(Path(ensurepip.__path__[0]) / "_bundled").glob("pip-*.whl")]
    if not bundled:
        pytest.skip("this Python brings no pip for the base")
    with zipfile.ZipFile(bundled[0]) as wheel:
        wheel.extractall(packages)
    layer = archive.layer(folder / "root", "base", epoch=0, compress=False)
    config = {"Env": ["PATH=/usr/local/bin:/usr/bin:/bin"]}
    archive.write(folder / "base.tar", "localhost/base:1", [layer], config, created=CREATED)
    return folder / "base.tar"


class Buildah:
    """buildah with a store of its own, without a daemon and without the kernel's overlays."""

    def __init__(self, store: Path) -> None:
        self._command = ["buildah", "--root", f"{store}/root", "--runroot", f"{store}/run", "--storage-driver", "vfs"]

    def __call__(self, *arguments: str) -> str:
        done = subprocess.run([*self._command, *arguments], check=False, capture_output=True, text=True, cwd=ROOT)
        if "No matching distribution found" in done.stderr:
            pytest.skip("no package index is to be had from within a container build")
        assert done.returncode == 0, (shlex.join(arguments), done.stderr[-3000:])
        return done.stdout


@pytest.fixture
def buildah() -> Iterator[Buildah]:
    if not shutil.which("buildah"):
        pytest.skip("buildah, which builds the Containerfile without a daemon, is not installed")
    if os.geteuid() != 0:
        pytest.skip("buildah's chroot isolation needs root where user namespaces are not permitted")
    store = Path(tempfile.mkdtemp(prefix="injector-buildah-"))
    yield Buildah(store)
    shutil.rmtree(store)


def test_the_containerfile_gives_the_same_image_as_the_program(
    buildah: Buildah, base_archive: Path, tmp_path: Path
) -> None:
    buildah("pull", "--quiet", f"docker-archive:{base_archive}")
    authorities = os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile or os.devnull
    settings = tmp_path / "pip.conf"
    index = os.environ.get("PIP_INDEX_URL", "")
    settings.write_text("[global]\ncert = /run/secrets/ca\n" + (f"index-url = {index}\n" if index else ""))
    buildah(
        "bud", "--quiet", "--isolation", "chroot", "--network", "host", "--timestamp", "0",
        "--secret", f"id=pip,src={settings}", "--secret", f"id=ca,src={authorities}",
        "--build-arg", "BASE=localhost/base:1", "--build-arg", "REVISION=abc",
        "-f", "Containerfile", "-t", "localhost/injector:containerfile", ".",
    )  # fmt: skip
    buildah("push", "--quiet", "localhost/injector:containerfile", f"oci-archive:{tmp_path}/theirs.tar")
    ours = build(tmp_path / "ours.tar", "--base", str(base_archive), "--revision", "abc")

    program, containerfile = contents.read(ours), contents.read(tmp_path / "theirs.tar")
    assert containerfile.config["Labels"].pop("io.buildah.version"), "the one difference, and who builds makes it"
    assert list(contents.differences(program, containerfile)) == []
    assert len(program.files) > 3000
    assert not [path for path in containerfile.files if path.startswith(("run/secrets/", "tools", "src", "etc/pip"))]
    assert "pip" in {one["name"] for one in json.loads(program.data(layout.SBOM))["components"]}


def test_the_list_of_a_base_has_its_system_and_its_packages(tmp_path: Path) -> None:
    python = layout.Python("3.11", "/usr/bin/python3.11", "/usr/lib/python3.11")
    for path, text in {
        "etc/os-release": 'ID=debian\nVERSION_ID="12"\n',
        "usr/bin/python3.11": "ELF\0a 3.11\0Python-3.11.2\0",
        "var/lib/dpkg/status": (
            "Package: libc6\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2.36-9+deb12u14\n\n"
            "Package: gone\nStatus: deinstall ok config-files\nArchitecture: all\nVersion: 1\n\n"
            "Package: half\nStatus: install ok half-installed\nArchitecture: all\nVersion: 1\n"
        ),
        "var/lib/dpkg/status.d/tzdata": "Package: tzdata\nVersion: 2026a-0\nArchitecture: all\n",
        "var/lib/dpkg/status.d/tzdata.md5sums": "no paragraph",
        "usr/lib/python3/dist-packages/pip-24.0.dist-info/METADATA": "Name: pip\nVersion: 24.0\n",
    }.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    found = sbom.of_base(tmp_path, python)
    text = sbom.document([], found, python, version="1", created=CREATED).decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    assert {(one["name"], one.get("version"), one.get("purl")) for one in json.loads(text)["components"]} == {
        ("debian", "12", None),
        ("python", "3.11.2", "pkg:generic/python@3.11.2"),
        ("libc6", "2.36-9+deb12u14", "pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64"),
        ("tzdata", "2026a-0", "pkg:deb/debian/tzdata@2026a-0?arch=all"),
        ("pip", "24.0", "pkg:pypi/pip@24.0"),
    }
