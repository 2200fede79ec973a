"""From a gRPC status to an error of ours."""

from __future__ import annotations

import grpc
import pytest

from injector import errors
from injector.backends.goplugin.status import CallStatus, to_error
from injector.errors import InjectorError
from injector.model.references import Reference

PLUGIN = "plugin demo (/p/demo-linux-amd64)"
REFERENCE = Reference("DEMO", "/a/b")
SECRET = "hunter2-the-secret"

BY_CODE = {
    "OK": errors.PluginAnswerInvalid,
    "CANCELLED": errors.BackendUnavailable,
    "UNKNOWN": errors.BackendUnavailable,
    "INVALID_ARGUMENT": errors.InvalidReference,
    "DEADLINE_EXCEEDED": errors.CallTimeout,
    "NOT_FOUND": errors.ValueNotFound,
    "ALREADY_EXISTS": errors.PluginAnswerInvalid,
    "PERMISSION_DENIED": errors.AccessDenied,
    "UNAUTHENTICATED": errors.CredentialsRefused,
    "RESOURCE_EXHAUSTED": errors.Throttled,
    "FAILED_PRECONDITION": errors.InvalidReference,
    "ABORTED": errors.BackendUnavailable,
    "UNIMPLEMENTED": errors.PluginError,
    "INTERNAL": errors.BackendUnavailable,
    "UNAVAILABLE": errors.BackendUnavailable,
    "DATA_LOSS": errors.PluginAnswerInvalid,
    "OUT_OF_RANGE": errors.InvalidReference,
}


def _error(code: str, details: str = "", **trailers: str) -> InjectorError:
    named = {name.replace("_", "-"): value for name, value in trailers.items()}
    return to_error(CallStatus(code, details, named), plugin=PLUGIN, reference=REFERENCE)


@pytest.mark.parametrize("code", [code.name for code in grpc.StatusCode])
def test_every_status_has_its_error_and_names_plugin_path_and_cause_but_no_details(code: str) -> None:
    error = _error(code, f"it went wrong: {SECRET}")
    assert type(error) is BY_CODE[code]
    assert PLUGIN in error.message
    assert "DEMO /a/b" in error.message
    assert code in error.message
    assert SECRET not in f"{error.message} {error.hint}"


@pytest.mark.parametrize(
    ("details", "kind", "word"),
    [
        (
            "operation error SSM: GetParameter, https response error StatusCode: 400, ParameterNotFound: ",
            errors.ValueNotFound,
            "ParameterNotFound",
        ),
        ("ResourceNotFoundException: Secrets Manager can't find", errors.ValueNotFound, "ResourceNotFoundException"),
        ("rpc error: code = NotFound desc = Secret [x] not found", errors.ValueNotFound, "code = NotFound"),
        ("GET https://v.azure.net RESPONSE 404 ERROR CODE: SecretNotFound", errors.ValueNotFound, "SecretNotFound"),
        (
            "AccessDeniedException: User: arn:x is not authorized to perform: ssm:GetParameter",
            errors.AccessDenied,
            "AccessDeniedException",
        ),
        ("Error making API request. Code: 403. Errors: * permission denied", errors.AccessDenied, "permission denied"),
        ("rpc error: code = PermissionDenied desc = x", errors.AccessDenied, "code = PermissionDenied"),
        ("ExpiredTokenException: The security token is expired", errors.CredentialsRefused, "ExpiredTokenException"),
        ("UnrecognizedClientException: x", errors.CredentialsRefused, "UnrecognizedClientException"),
        (
            "failed to refresh cached credentials, operation error STS: AssumeRole, AccessDenied: x",
            errors.CredentialsRefused,
            "failed to refresh cached credentials",
        ),
        ("ThrottlingException: Rate exceeded", errors.Throttled, "ThrottlingException"),
        ("too many requests", errors.Throttled, "Too Many Requests"),
        ("ValidationException: bad name", errors.InvalidReference, "ValidationException"),
        ('Get "https://x": context deadline exceeded', errors.CallTimeout, "context deadline exceeded"),
        ("dial tcp 10.0.0.1:443: connect: connection refused", errors.BackendUnavailable, "connection refused"),
        ("simulated error", errors.BackendUnavailable, "UNKNOWN"),
        ("no luck with /prod/AccessDenied/key", errors.BackendUnavailable, "UNKNOWN"),
        ("no luck with MyAccessDenied", errors.BackendUnavailable, "UNKNOWN"),
    ],
)
def test_known_words_of_cloud_libraries_are_understood(details: str, kind: type[InjectorError], word: str) -> None:
    error = _error("UNKNOWN", details)
    assert type(error) is kind
    assert error.message.endswith(f": {word}")


def test_words_do_not_overrule_a_status_that_says_something() -> None:
    assert type(_error("UNAVAILABLE", "ParameterNotFound")) is errors.BackendUnavailable


@pytest.mark.parametrize(
    ("details", "kind"),
    [
        ("Stream removed (CLIENT: Received message larger than max (9 vs. 5))", errors.PluginAnswerInvalid),
        ("grpc: received message larger than max (9 vs. 5)", errors.InvalidReference),
        ("SERVER: Received message larger than max (9 vs. 5)", errors.InvalidReference),
    ],
)
def test_a_message_too_large_is_no_throttling(details: str, kind: type[InjectorError]) -> None:
    assert type(_error("RESOURCE_EXHAUSTED", details)) is kind


def test_what_our_sdk_says_replaces_the_general_message() -> None:
    error = _error(
        "UNKNOWN",
        SECRET,
        injector_error_code="credentials-refused",
        injector_error_message="the token of%20caf%C3%A9%0Ahas expired",
        injector_error_hint="log in%20again",
    )
    assert type(error) is errors.CredentialsRefused
    assert error.message == f"{PLUGIN}: the token of café has expired"
    assert error.hint == "log in again"


def test_a_code_without_a_message_still_decides() -> None:
    assert type(_error("UNKNOWN", injector_error_code="backend-throttled")) is errors.Throttled


@pytest.mark.parametrize("code", ["plugin-crashed", "resolution-failed", "nonsense", ""])
def test_a_code_that_is_no_resolution_error_is_ignored(code: str) -> None:
    error = _error("NOT_FOUND", injector_error_code=code, injector_error_message="x")
    assert type(error) is errors.ValueNotFound
    assert error.message == f"{PLUGIN} has no value for DEMO /a/b: NOT_FOUND"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3", 3.0), ("0.25", 0.25), ("1e9", 86_400.0), ("-1", None), ("nan", None), ("inf", None), ("soon", None)],
)
def test_a_retry_delay_is_taken_when_it_is_one(text: str, seconds: float | None) -> None:
    error = _error("RESOURCE_EXHAUSTED", injector_retry_after=text)
    assert isinstance(error, errors.Throttled)
    assert error.retry_after == seconds
