"""The SSM client of a connection, built when it is first needed."""

from __future__ import annotations

import copy
import functools
import os
import threading
import time
from typing import TYPE_CHECKING

from injector.sdk.errors import CredentialsRefused, InvalidReference, ResolutionError
from injector.sdk.serving import WORKERS
from injector_awsparamstr.configuration import ConnectionSettings
from injector_awsparamstr.failures import NO_CREDENTIALS_HINT, translated

if TYPE_CHECKING:
    from typing import Any

    from botocore.session import Session

CONNECT_TIMEOUT = 3  # seconds; the SDK's own is 60
READ_TIMEOUT = 5  # seconds; the SDK's own is 60

_FAILURE_KEPT = 5.0  # seconds: looking for credentials where there are none takes one or two, for every token


class LazyClient:
    """
    Builds a client once, whichever thread comes first. Safe for threads.

    Args:
        settings: of the connection; the environment says what they do not.
    """

    def __init__(self, settings: ConnectionSettings = ConnectionSettings()) -> None:  # noqa: B008 - frozen
        self._settings = settings
        self._lock = threading.Lock()
        self._client: Any = None
        self._failure: ResolutionError | None = None
        self._failed_at = 0.0

    @property
    def endpoint(self) -> str:
        """Scheme, host and port that calls go to, for messages; `SSM` before there is a client."""
        if self._client is None:
            return "SSM"
        from urllib.parse import urlsplit  # late: start-up

        parts = urlsplit(self._client.meta.endpoint_url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    def get(self) -> Any:
        """
        The client. InvalidReference when the region or the endpoint is not usable, CredentialsRefused when there are
        no credentials; a failure is remembered for some seconds and then tried again.
        """
        with self._lock:
            if self._client is not None:
                return self._client
            if self._failure is not None and time.monotonic() - self._failed_at < _FAILURE_KEPT:
                raise copy.copy(self._failure)
            try:
                self._client = _build(self._settings)
            except ResolutionError as failure:
                self._failure, self._failed_at = failure, time.monotonic()
                raise
            return self._client

    def explain(self, error: Exception, used: Any, *, name: str) -> Exception:
        """
        What came of a call with the client *used* (None: there was none) for *name*, as `failures.translated` has it.

        A client whose credentials are refused is given up: a file of them may have been replaced since it was read.
        The refusal stands for some seconds, so that a thousand tokens do not ask for it a thousand times.
        """
        failure = translated(error, name=name, endpoint=self.endpoint)
        if isinstance(failure, CredentialsRefused) and used is not None:
            with self._lock:
                if self._client is used:
                    self._client = None
                    self._failure, self._failed_at = failure, time.monotonic()
        return failure


def _build(settings: ConnectionSettings) -> Any:
    import botocore.session  # late: start-up, 200 ms

    try:
        session = botocore.session.Session(profile=settings.profile)
        region = settings.region or _region(session)
        session.set_default_client_config(_config())  # for STS too, which the credentials may need
        _require_credentials(session)
        if settings.role_arn:
            _assume(session, settings.role_arn, region)
        return session.create_client("ssm", region_name=region, endpoint_url=settings.endpoint)
    except ResolutionError:
        raise
    except ValueError:
        raise InvalidReference(
            "the AWS region or endpoint is not usable",
            hint="check AWS_REGION, AWS_ENDPOINT_URL and AWS_ENDPOINT_URL_SSM",
        ) from None
    except Exception as error:  # noqa: BLE001 - as in the store: four trees and the standard library
        raise translated(error, name="", endpoint="SSM") from None


def _require_credentials(session: Session) -> None:
    # A client without them never looks again: the next call is to find those that have come by then.
    if session.get_credentials() is None:
        raise CredentialsRefused("no AWS credentials were found", hint=NO_CREDENTIALS_HINT)


def _assume(session: Session, role_arn: str, region: str) -> None:
    from botocore.credentials import AssumeRoleCredentialFetcher, DeferredRefreshableCredentials  # late: start-up

    fetcher = AssumeRoleCredentialFetcher(
        client_creator=functools.partial(session.create_client, region_name=region),
        source_credentials=session.get_credentials(),
        role_arn=role_arn,
        extra_args={"RoleSessionName": "injector"},
    )
    # The session has no public way to be given credentials that renew themselves.
    setattr(session, "_credentials", DeferredRefreshableCredentials(fetcher.fetch_credentials, "assume-role"))  # noqa: B010


def _region(session: Session) -> str:
    # AWS_REGION is what the other AWS SDKs and the platforms set; botocore by itself reads AWS_DEFAULT_REGION.
    region = os.environ.get("AWS_REGION") or session.get_config_variable("region")
    if not region:
        raise InvalidReference(
            "no AWS region is set", hint="set AWS_REGION (or AWS_DEFAULT_REGION), or a region in the AWS profile"
        )
    return str(region)


def _config() -> Any:
    from botocore.config import Config  # late: start-up

    return Config(
        connect_timeout=CONNECT_TIMEOUT,
        read_timeout=READ_TIMEOUT,
        max_pool_connections=WORKERS,
        # Retries are the host's: it knows the deadline, and two policies multiply.
        retries={"total_max_attempts": 1, "mode": "standard"},
        user_agent_extra="injector-awsparamstr",
    )
