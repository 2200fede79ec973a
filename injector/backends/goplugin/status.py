"""
From a failed call to an error of ours; pure, and without gRPC: a status code is its name here.

Protocol 1 knows no error types. Plugins made with our SDK say more in trailing metadata; plugins in Go mostly answer
UNKNOWN with their cloud library's text, in which the words below are looked for. The text itself never reaches a
message, since nobody knows what it quotes; a word that was found does. Sources of the words: error codes of AWS Systems
Manager and Secrets Manager, of Azure Key Vault, Google's google.rpc.Code, Vault's HTTP errors, Go's net and context.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from urllib.parse import unquote

from msgspec import Struct, field

from injector import errors
from injector.errors import InjectorError, ResolutionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from injector.model.references import Reference

ERROR_CODE_KEY = "injector-error-code"
ERROR_MESSAGE_KEY = "injector-error-message"
ERROR_HINT_KEY = "injector-error-hint"
RETRY_AFTER_KEY = "injector-retry-after"

_LONGEST_TEXT = 2000
_LONGEST_RETRY_AFTER = 86_400.0  # seconds: a day
_SEE_LOG = "run it again with -vv to see the plugin's own words"


class CallStatus(Struct, frozen=True):
    """
    How a call failed.

    `code` is the name of a grpc.StatusCode. `details` is the plugin's text: not for messages. `trailers` is the
    trailing metadata that is text.
    """

    code: str
    details: str = ""
    trailers: Mapping[str, str] = field(default_factory=dict)


_BY_CODE: dict[str, type[InjectorError]] = {
    "NOT_FOUND": errors.ValueNotFound,
    "PERMISSION_DENIED": errors.AccessDenied,
    "UNAUTHENTICATED": errors.CredentialsRefused,
    "RESOURCE_EXHAUSTED": errors.Throttled,
    "INVALID_ARGUMENT": errors.InvalidReference,
    "OUT_OF_RANGE": errors.InvalidReference,
    "FAILED_PRECONDITION": errors.InvalidReference,
    "DEADLINE_EXCEEDED": errors.CallTimeout,
    "UNIMPLEMENTED": errors.PluginError,
    "UNAVAILABLE": errors.BackendUnavailable,
    "ABORTED": errors.BackendUnavailable,
    "CANCELLED": errors.BackendUnavailable,
    "UNKNOWN": errors.BackendUnavailable,
    "INTERNAL": errors.BackendUnavailable,
    "DATA_LOSS": errors.PluginAnswerInvalid,
    # Nonsense for a read.
    "ALREADY_EXISTS": errors.PluginAnswerInvalid,
    "OK": errors.PluginAnswerInvalid,
}

# These say nothing by themselves: the text decides.
_VAGUE_CODES = frozenset({"UNKNOWN", "INTERNAL", "ABORTED"})

# In this order: credentials that could not be fetched because of throttling are throttled, and a role that may not be
# assumed ("failed to refresh cached credentials ... AccessDenied") is a matter of credentials.
_BY_WORD: tuple[tuple[type[InjectorError], tuple[str, ...]], ...] = (
    (errors.PluginAnswerInvalid, ("invalid UTF-8",)),
    (
        errors.Throttled,
        (
            *("ThrottlingException", "Throttling", "ThrottledException", "TooManyRequestsException"),
            *("TooManyRequests", "RequestLimitExceeded", "ProvisionedThroughputExceededException", "SlowDown"),
            *("code = ResourceExhausted", "Too Many Requests", "Rate exceeded", "rate limit exceeded"),
            *("StatusCode: 429", "Code: 429", "retry quota exceeded"),
        ),
    ),
    (
        errors.CredentialsRefused,
        (
            *("ExpiredTokenException", "ExpiredToken", "UnrecognizedClientException", "InvalidClientTokenId"),
            *("InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature", "InvalidAccessKeyId"),
            *("MissingAuthenticationTokenException", "MissingAuthenticationToken", "AuthFailure"),
            *("code = Unauthenticated", "NoCredentialProviders", "failed to refresh cached credentials"),
            *("no EC2 IMDS role found", "could not find default credentials", "invalid_client", "invalid_grant"),
            *("DefaultAzureCredential", "missing client token", "StatusCode: 401", "Code: 401"),
        ),
    ),
    (
        errors.AccessDenied,
        (
            *("AccessDeniedException", "AccessDenied", "UnauthorizedOperation", "AuthorizationFailed"),
            *("ForbiddenByRbac", "ForbiddenByPolicy", "ForbiddenByFirewall", "code = PermissionDenied"),
            *("is not authorized to perform", "permission denied", "StatusCode: 403", "Code: 403"),
        ),
    ),
    (
        errors.ValueNotFound,
        (
            *("ParameterNotFound", "ParameterVersionNotFound", "ResourceNotFoundException", "SecretNotFound"),
            *("KeyNotFound", "ResourceNotFound", "NoSuchKey", "NotFoundException", "code = NotFound"),
            *("secret not found", "StatusCode: 404", "Code: 404"),
        ),
    ),
    (
        errors.InvalidReference,
        ("ValidationException", "InvalidParameterException", "InvalidKeyId", "BadParameter", "code = InvalidArgument"),
    ),
    (
        errors.CallTimeout,
        ("context deadline exceeded", "code = DeadlineExceeded", "i/o timeout", "RequestTimeout", "Client.Timeout"),
    ),
    (
        errors.BackendUnavailable,
        (
            *("connection refused", "connection reset", "no such host", "ServiceUnavailable", "InternalServerError"),
            *("code = Unavailable", "network is unreachable", "TLS handshake timeout", "certificate signed by unknown"),
        ),
    ),
)


def _holds(text: str, word: str) -> bool:
    # As a whole word, and not as a part of a path: `/prod/AccessDenied/x` is no answer.
    start = text.find(word)
    while start >= 0:
        before, after = text[start - 1 : start], text[start + len(word) : start + len(word) + 1]
        if not (before.isalnum() or before in tuple("_/.-")) and not (after.isalnum() or after in tuple("_/-")):
            return True
        start = text.find(word, start + 1)
    return False


def _leaves(kind: type[ResolutionError]) -> Iterator[type[ResolutionError]]:
    for child in kind.__subclasses__():
        if not child.__subclasses__():
            yield child
        yield from _leaves(child)


_BY_ERROR_CODE = {leaf.code: leaf for leaf in _leaves(ResolutionError)}


def to_error(status: CallStatus, *, plugin: str, reference: Reference | str) -> InjectorError:
    """
    The error that stands for a failed call of *reference*.

    *plugin* is the backend's name as messages have it; a text for *reference* names several. Of what the plugin sent,
    only text that our SDK marked as safe and words that are known here reach the message.
    """
    told = _told_by_sdk(status, plugin)
    if told is not None:
        return told
    kind, cause = _kind_of(status)
    message = f"{plugin} {_phrase(kind, reference)}: {cause}"
    if issubclass(kind, ResolutionError):
        return kind(message, hint=hint_of(kind), retry_after=_retry_after(status))
    return kind(message, hint=_SEE_LOG)


def _told_by_sdk(status: CallStatus, plugin: str) -> InjectorError | None:
    kind = _BY_ERROR_CODE.get(status.trailers.get(ERROR_CODE_KEY, ""))
    message = _readable(status.trailers.get(ERROR_MESSAGE_KEY, ""))
    if kind is None or not message:
        return None
    hint = _readable(status.trailers.get(ERROR_HINT_KEY, "")) or hint_of(kind)
    return kind(f"{plugin}: {message}", hint=hint, retry_after=_retry_after(status))


def _readable(quoted: str) -> str:
    return shown(unquote(quoted, errors="replace"))


def shown(text: str) -> str:
    """A plugin's text for people, fit for a message: cut, on one line, without control characters."""
    return "".join(char if char.isprintable() else " " for char in text[:_LONGEST_TEXT]).strip()


def _retry_after(status: CallStatus) -> float | None:
    try:
        seconds = float(status.trailers[RETRY_AFTER_KEY])
    except (KeyError, ValueError):
        return None
    return min(seconds, _LONGEST_RETRY_AFTER) if math.isfinite(seconds) and seconds >= 0 else None


def _kind_of(status: CallStatus) -> tuple[type[InjectorError], str]:
    by_code = _BY_ERROR_CODE.get(status.trailers.get(ERROR_CODE_KEY, ""))
    if by_code is not None:
        return by_code, by_code.code
    if status.code == "RESOURCE_EXHAUSTED" and "larger than max" in status.details:
        # gRPC's own words. CLIENT is us, who refuse an answer; else the plugin refuses the request, which is never
        # compressed.
        if "CLIENT:" in status.details or "Decompressed" in status.details:
            return errors.PluginAnswerInvalid, "its answer is larger than the host takes"
        return errors.InvalidReference, "the request is larger than the plugin takes"
    if status.code in _VAGUE_CODES:
        text = status.details.lower()
        for kind, words in _BY_WORD:
            for word in words:
                if _holds(text, word.lower()):
                    return kind, word
    return _BY_CODE.get(status.code, errors.BackendUnavailable), status.code


def _phrase(kind: type[InjectorError], reference: Reference | str) -> str:
    phrases: tuple[tuple[type[InjectorError], str], ...] = (
        (errors.MissingError, f"has no value for {reference}"),
        (errors.AccessDenied, f"was denied access to {reference}"),
        (errors.CredentialsRefused, f"has no valid credentials for {reference}"),
        (errors.Throttled, f"was throttled at {reference}"),
        (errors.InvalidReference, f"can make no sense of {reference}"),
        (errors.CallTimeout, f"did not answer in time for {reference}"),
        (errors.PluginAnswerInvalid, f"has no usable answer for {reference}"),
        (errors.PluginError, f"does not serve what {reference} needs"),
    )
    return next((text for known, text in phrases if issubclass(kind, known)), f"could not fetch {reference}")


def hint_of(kind: type[InjectorError]) -> str:
    """What to do about an error of *kind* when the plugin itself does not say."""
    if issubclass(kind, errors.MissingError):
        return "check the path; a token may be given a default or be made optional"
    if issubclass(kind, errors.CredentialsRefused):
        return "check the credentials that the plugin finds in its environment"
    if issubclass(kind, errors.AccessDenied):
        return "check what the plugin's identity is allowed to read; `injector explain` shows what the token needs"
    if issubclass(kind, errors.Throttled):
        return "ask less often; `injector plan` shows how many calls a render makes"
    if issubclass(kind, errors.InvalidReference):
        return "correct the token's path or metadata, as the plugin's documentation says"
    if issubclass(kind, errors.InvalidConfiguration):
        return "correct the plugin's part of the setting plugins.configuration"
    if issubclass(kind, errors.CallTimeout):
        return "a slow store needs a longer plugins.callTimeout; run it again with -vv to see the plugin's own words"
    return _SEE_LOG
