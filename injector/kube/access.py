"""The API server for a command that ends soon: as a pod has it, or else as KUBECONFIG says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Protocol

from injector.errors import ClusterError
from injector.kube.api import ClusterApi

if TYPE_CHECKING:
    from collections.abc import Mapping


_PATIENCE: Final = (5.0, 30.0)  # seconds to connect, and to answer
_FIRST_FAILURE: Final = 400


class Api(Protocol):
    """What `ClusterApi` does: one call, its document, or ClusterError."""

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The answer's document; *body* is sent as JSON."""


def cluster_api(environment: Mapping[str, str]) -> Api:
    """
    In a pod by its service account; elsewhere by the package `kubernetes`, which knows every way to log in.

    Raises ClusterError when there is no way to a cluster.
    """
    if environment.get("KUBERNETES_SERVICE_HOST"):
        return ClusterApi.of_pod(environment)
    return _KubeconfigApi()


class _KubeconfigApi:
    def __init__(self) -> None:
        try:
            import kubernetes  # late: 65 MB, and gone with the command
        except ImportError:
            hint = "install kube-config-injector[kube], or run it in a pod"
            raise ClusterError("outside of a pod this needs the Python package kubernetes", hint=hint) from None
        configuration = kubernetes.client.Configuration()
        try:
            config: Any = kubernetes.config
            config.load_kube_config(client_configuration=configuration)
        except (kubernetes.config.ConfigException, OSError, ValueError, KeyError, TypeError):
            raise ClusterError("there is no way to a cluster", hint="set KUBECONFIG") from None
        configuration.retries = False
        self._refused = kubernetes.client.ApiException
        self._client: Any = kubernetes.client.ApiClient(configuration)

    def call(self, method: str, path: str, body: object = None) -> Any:
        import urllib3  # late: comes with kubernetes

        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        try:
            request = self._client.param_serialize(
                method, path, header_params=headers, body=body, auth_settings=["BearerToken"]
            )
            response = self._client.call_api(*request, _request_timeout=_PATIENCE)
            content = response.read()
            if response.status >= _FIRST_FAILURE:
                raise ClusterError(f"{method} {path}: status {response.status}", status=response.status)
            return json.loads(content)
        except self._refused as error:
            raise ClusterError(f"{method} {path}: status {error.status}", status=error.status) from None
        except (urllib3.exceptions.HTTPError, OSError):
            raise ClusterError(f"{method} {path}: no answer", hint="does KUBECONFIG name the right cluster?") from None
        except ValueError:
            raise ClusterError(f"{method} {path}: the answer is not JSON") from None
