"""`injector webhook`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from injector.cli import options
from injector.errors import ExitCode, UsageError
from injector.process.termination import only_noted

if TYPE_CHECKING:
    from collections.abc import Callable

    from injector.settings.kinds import Kind
    from injector.telemetry.logs import Log
    from injector.webhook.defaults import Defaults
    from injector.webhook.sources import CertificateSource

_PREFIX = "INJECTOR_WEBHOOK_"


def _option(name: str, metavar: str | None = None, text: str = "", **more: Any) -> Callable[[Any], Any]:
    variable = _PREFIX + name.removeprefix("--").partition("/")[0].replace("-", "_").upper()
    return click.option(name, metavar=metavar, help=text, envvar=variable, show_envvar=False, **more)


def _path(name: str, metavar: str, text: str, **more: Any) -> Callable[[Any], Any]:
    return _option(name, metavar, text, type=click.Path(path_type=Path), **more)


_OPTIONS = (
    _option("--listen", "HOST:PORT", "Serve there, with TLS.", default=":8443", show_default=True),
    _option("--image", "IMAGE", "Of the sidecar; injector is its entry point, and in its PATH.", required=True),
    _path("--cert-file", "FILE", "The server's certificate (PEM); read again when it changes."),
    _path("--key-file", "FILE", "Its key (PEM)."),
    _option("--self-signed", text="Make and renew a certificate, kept in --secret.", is_flag=True),
    _option("--secret", "NAMESPACE/NAME", "The Secret of --self-signed; made when it is missing."),
    _option("--webhook-configuration", "NAME", "The MutatingWebhookConfiguration whose caBundle is kept right."),
    _option("--dns-name", "NAME", "In the certificate: SERVICE.NAMESPACE.svc. Repeatable.", multiple=True),
    _option("--certificate-lifetime", "DURATION", "Renewed at 2/3 of it.", default="720h", show_default=True),
    _option("--check-interval", "DURATION", "Look at files or Secret this often.", default="30s", show_default=True),
    _path("--api-credentials", "DIR", "With token and ca.crt. [the pod's service account]"),
    _option("--mode", text="Of pods that do not say.", default="native-sidecar", show_default=True),
    _option("--probes", text="Of pods that do not say: exec or http.", default="exec", show_default=True),
    _option("--port", "PORT", "Of the sidecar's health and metrics.", default="9464", show_default=True),
    _option(
        "--env-file-key-ref/--no-env-file-key-ref",
        text="The cluster sets variables from files (Kubernetes 1.35). [no]",
        default=False,
    ),
    _option("--image-pull-policy", "POLICY", "Of the sidecar: Always, IfNotPresent or Never."),
    _option("--mount-path", "PATH", "Of rendered files.", default="/config", show_default=True),
    _option("--volume-size", "SIZE", "Of the memory volume for them.", default="16Mi", show_default=True),
    _option("--requests-cpu", "AMOUNT", "Of the sidecar, or none.", default="10m", show_default=True),
    _option("--requests-memory", "AMOUNT", "Of the sidecar, or none.", default="64Mi", show_default=True),
    _option("--limits-cpu", "AMOUNT", "Of the sidecar, or none.", default="none", show_default=True),
    _option("--limits-memory", "AMOUNT", "Of the sidecar, or none.", default="128Mi", show_default=True),
    _option("--run-as-user", "NUMBER", "Of the sidecar.", default="65532", show_default=True),
    _option("--run-as-group", "NUMBER", "Of the sidecar.", default="65532", show_default=True),
    _option(
        "--ignore-namespace",
        "NAME",
        "Its pods are left alone, as those of the webhook's own. Repeatable.",
        multiple=True,
        default=("kube-system",),
        show_default=True,
    ),
    _option(
        "--shutdown-delay",
        "DURATION",
        "Serve on for so long after SIGTERM, while others hear of it; off: end at once.",
        default="3s",
        show_default=True,
    ),
    _option("--log-level", "LEVEL", "trace, debug, info, warning, error or off.", default="info", show_default=True),
    _option("--log-format", "FORMAT", "text or json.", default="text", show_default=True),
)


@click.command(
    epilog="""\b
Examples:
  injector webhook --image REGISTRY/injector:1.0 --cert-file tls.crt --key-file tls.key
  injector webhook --image REGISTRY/injector:1.0 --self-signed --secret injector/webhook-tls \\
      --webhook-configuration injector --dns-name injector-webhook.injector.svc
"""
)
@options.options_of(*_OPTIONS)
def command(**flags: Any) -> int:
    """
    Serve the admission webhook that adds the sidecar to pods.

    Pods ask for it by the label config-injector.io/inject and by annotations (docs/annotations.md). Every flag has a
    variable INJECTOR_WEBHOOK_NAME. SIGTERM ends it with exit code 0, when the reviews that are here are answered.
    """
    import asyncio  # late: `injector --help` needs no event loop

    from injector.settings import kinds  # late: start-up

    host, _, port = _parse(kinds.ADDRESS, "--listen", flags["listen"]).rpartition(":")
    defaults, log = _defaults(flags), _log(flags)
    source = _source(flags)
    interval = options.duration_of(flags["check_interval"], "--check-interval")
    delay = _parse(kinds.DURATION_OR_OFF, "--shutdown-delay", flags["shutdown_delay"]) or 0.0
    try:
        from injector.webhook.serving import serve  # late: the extra `webhook`
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("starlette", "uvicorn", "h11"):
            raise
        raise UsageError(
            "the webhook needs the Python packages starlette and uvicorn",
            hint="install kube-config-injector[webhook]",
        ) from None
    with only_noted():
        serving = serve(source, defaults, log, host=host.strip("[]"), port=int(port), interval=interval, delay=delay)
        asyncio.run(serving)
    return int(ExitCode.DONE)


def _parse(kind: Kind, flag: str, text: str | None) -> Any:
    try:
        return kind.parse(text or "")
    except ValueError:
        raise UsageError(f"{flag}: expected {kind.expects}") from None


def _defaults(flags: dict[str, Any]) -> Defaults:
    from injector.settings import kinds as settings_kinds  # late: start-up
    from injector.webhook import kinds
    from injector.webhook.defaults import Defaults, Resources

    def parsed(name: str, kind: Kind) -> Any:
        return _parse(kind, f"--{name}", flags[name.replace("-", "_")])

    parsed("volume-size", settings_kinds.SIZE)
    ignored = {*flags["ignore_namespace"], os.environ.get("POD_NAMESPACE", "")} - {""}
    return Defaults(
        image=parsed("image", kinds.IMAGE),
        image_pull_policy=parsed("image-pull-policy", kinds.PULL_POLICY) if flags["image_pull_policy"] else None,
        mode=parsed("mode", kinds.MODE),
        probes=parsed("probes", kinds.PROBES),
        port=parsed("port", kinds.LISTEN_PORT),
        mount_path=parsed("mount-path", kinds.ABSOLUTE_PATH),
        volume_size=flags["volume_size"],
        resources=Resources(
            requests_cpu=parsed("requests-cpu", kinds.QUANTITY),
            requests_memory=parsed("requests-memory", kinds.QUANTITY),
            limits_cpu=parsed("limits-cpu", kinds.QUANTITY),
            limits_memory=parsed("limits-memory", kinds.QUANTITY),
        ),
        user=parsed("run-as-user", kinds.IDENTITY),
        group=parsed("run-as-group", kinds.IDENTITY),
        env_files=flags["env_file_key_ref"],
        ignored_namespaces=frozenset(ignored),
    )


def _log(flags: dict[str, Any]) -> Log:
    from injector.settings import kinds  # late: start-up
    from injector.telemetry.logs import Level, Log

    level = _parse(kinds.LOG_LEVEL, "--log-level", flags["log_level"])
    form = _parse(kinds.LOG_FORMAT, "--log-format", flags["log_format"])
    return Log(Level[level.upper()], as_json=form == "json")


def _source(flags: dict[str, Any]) -> CertificateSource:
    """Where the certificate comes from. Raises UsageError unless exactly one way is told in full."""
    from injector.webhook.sources import FilePair  # late: start-up

    files = (flags["cert_file"], flags["key_file"])
    if flags["self_signed"]:
        if any(files):
            raise UsageError("--self-signed and --cert-file exclude each other")
        return _self_signed(flags)
    if not all(files):
        raise UsageError("there is no certificate", hint="give --cert-file and --key-file, or --self-signed")
    return FilePair(*files)


def _self_signed(flags: dict[str, Any]) -> CertificateSource:
    import time

    from injector.kube.api import CREDENTIALS, ClusterApi  # late: start-up
    from injector.webhook.keeper import SelfSignedKeeper
    from injector.webhook.sources import KeptPair

    namespace, _, secret = (flags["secret"] or "").partition("/")
    if not namespace or not secret:
        raise UsageError("--self-signed needs --secret NAMESPACE/NAME")
    if not flags["webhook_configuration"] or not flags["dns_name"]:
        raise UsageError("--self-signed needs --webhook-configuration and --dns-name")
    keeper = SelfSignedKeeper(
        ClusterApi.of_pod(os.environ, flags["api_credentials"] or CREDENTIALS),
        namespace=namespace,
        secret=secret,
        configuration=flags["webhook_configuration"],
        names=flags["dns_name"],
        lifetime=options.duration_of(flags["certificate_lifetime"], "--certificate-lifetime"),
        clock=time.time,
    )
    return KeptPair(keeper)
