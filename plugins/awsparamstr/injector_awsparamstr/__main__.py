"""Runs the plugin; a host starts it."""

from injector.sdk.serving import serve
from injector_awsparamstr.store import ParameterStore


def main() -> None:
    """Serves until the host ends it."""
    serve(ParameterStore(), name="awsparamstr", version=_version())


def _version() -> str:
    from injector import __version__

    return __version__


if __name__ == "__main__":
    main()
