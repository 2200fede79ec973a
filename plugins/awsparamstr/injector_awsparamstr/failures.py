"""What SSM, STS and the AWS SDK say when they fail, in the words of `injector.sdk.errors`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from injector.sdk.errors import (
    AccessDenied,
    CredentialsRefused,
    InvalidReference,
    NotFound,
    ResolutionError,
    Throttled,
    TimedOut,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from botocore.exceptions import ClientError

NO_CREDENTIALS_HINT = (
    "give the pod a role (IRSA or EKS Pod Identity), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY or AWS_PROFILE"
)
_DECRYPT_HINT = (
    "the identity needs ssm:GetParameter on the parameter, and kms:Decrypt on its key when it is a SecureString"
)
_KEY_HINT = "the KMS key of this SecureString is disabled, deleted, or in another region"

_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "RequestExpired"}
_UNKNOWN_KEY = {"UnrecognizedClientException", "UnrecognizedClient", "InvalidClientTokenId", "InvalidAccessKeyId"}
_BAD_SIGNATURE = {"InvalidSignatureException", "InvalidSignature", "SignatureDoesNotMatch", "IncompleteSignature"}
_UNSIGNED = {"MissingAuthenticationToken", "MissingAuthenticationTokenException"}
_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "KMSAccessDeniedException"}
_KEY_UNUSABLE = {
    "InvalidKeyId",
    "DisabledException",
    "KMSInvalidStateException",
    "KMSDisabledException",
    "NotFoundException",
}
_MISSING = {"ParameterNotFound", "ParameterVersionNotFound", "ParameterVersionLabelNotFound"}
_THROTTLED = {
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "TooManyRequestsException",
    "TooManyUpdates",
    "RequestLimitExceeded",
    "RequestThrottled",
    "RequestThrottledException",
    "SlowDown",
    "LimitExceededException",
}
_TOO_MANY_REQUESTS = 429
_FIRST_SERVER_ERROR = 500

# The identity in AWS's text is what one needs to correct a policy, and the only part of it that is repeated.
_IDENTITY = re.compile(r"User: (arn:aws[a-z-]*:(?:sts|iam)::\d{12}:[\w+=,.@/-]{1,200}) is not authorized")
_ERROR_CODE = re.compile(r"[A-Za-z0-9._-]{1,80}")


def translated(error: Exception, *, name: str, endpoint: str) -> Exception:
    """
    The SDK's exception as one for the host, or itself when it is not one that a store expects.

    *name* is what was asked for, *endpoint* where; nothing of an answer's text is repeated. Raise the result
    `from None`: the original holds the service's answer.
    """
    from botocore import exceptions as aws  # late: start-up
    from botocore.parsers import ResponseParserError  # late: start-up

    if isinstance(error, aws.ClientError):
        return _of_answer(error, name, endpoint)
    if isinstance(error, aws.ConnectTimeoutError | aws.ReadTimeoutError):
        return TimedOut(f"{_host_of(error, endpoint)} did not answer in time")
    if isinstance(error, aws.SSLError):
        return Unavailable(
            f"{_host_of(error, endpoint)}: no TLS connection",
            hint="a private certificate authority goes into AWS_CA_BUNDLE",
        )
    if isinstance(error, aws.ProxyConnectionError):
        return Unavailable("the HTTP proxy cannot be reached", hint="check HTTPS_PROXY and NO_PROXY")
    if isinstance(error, aws.HTTPClientError | aws.ConnectionError):
        return Unavailable(
            f"{_host_of(error, endpoint)} cannot be reached",
            hint="check AWS_REGION, AWS_ENDPOINT_URL and the network policy",
        )
    if isinstance(error, ResponseParserError):
        return Unavailable(f"{endpoint} answered something that SSM does not say", hint="is a proxy in between?")
    if isinstance(error, aws.ParamValidationError):
        return InvalidReference(f"SSM takes no parameter name such as {name!r}")
    return _of_credentials(error)


def _of_credentials(error: Exception) -> Exception:
    from botocore import exceptions as aws  # late: start-up

    if isinstance(error, aws.NoCredentialsError):
        return CredentialsRefused("no AWS credentials were found", hint=NO_CREDENTIALS_HINT)
    if isinstance(error, aws.PartialCredentialsError):
        return CredentialsRefused(
            "the AWS credentials are incomplete", hint="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY go together"
        )
    if isinstance(error, aws.CredentialRetrievalError | aws.MetadataRetrievalError):
        return CredentialsRefused(
            "the provider of the AWS credentials gave none",
            hint="check the role, the pod identity agent or the profile",
        )
    if isinstance(error, aws.ProfileNotFound | aws.ConfigNotFound | aws.ConfigParseError | aws.InvalidConfigError):
        return CredentialsRefused("the AWS profile cannot be used", hint="check AWS_PROFILE and AWS_CONFIG_FILE")
    if isinstance(error, aws.TokenRetrievalError | aws.SSOError | aws.RefreshWithMFAUnsupportedError):
        return CredentialsRefused("the AWS login has ended", hint="log in again, or give the pod a role")
    if isinstance(error, OSError):
        return CredentialsRefused(
            "a file with AWS credentials cannot be read",
            hint="check AWS_WEB_IDENTITY_TOKEN_FILE and AWS_SHARED_CREDENTIALS_FILE",
        )
    return error


def _of_answer(error: ClientError, name: str, endpoint: str) -> ResolutionError:
    details: Mapping[str, Any] = error.response.get("Error", {})
    answer: Mapping[str, Any] = error.response.get("ResponseMetadata", {})
    code = str(details.get("Code", "")).rpartition("#")[2]
    http = int(answer.get("HTTPStatusCode", 0))
    if code in _THROTTLED or http == _TOO_MANY_REQUESTS:
        return Throttled(
            f"AWS throttles {error.operation_name}: too many calls in this account and region",
            retry_after=_delay(answer.get("HTTPHeaders", {})),
        )
    if http >= _FIRST_SERVER_ERROR:
        return Unavailable(f"{endpoint} answered {error.operation_name} with HTTP {http}")
    if error.operation_name not in {"GetParameter", "GetParameters"}:
        return CredentialsRefused(
            f"AWS refused {error.operation_name}, by which the credentials are got ({_printable(code)})",
            hint="check AWS_ROLE_ARN, the role's trust policy, and that the web identity token is current",
        )
    return _of_refusal(code, http, str(details.get("Message", "")), name)


def _of_refusal(code: str, http: int, text: str, name: str) -> ResolutionError:
    if code in _MISSING:
        return NotFound(_missing_text(code, name), hint="check the name, the region and the account")
    if code in _DENIED:
        identity = _IDENTITY.search(text)
        return AccessDenied(
            f"AWS denies reading parameter {name!r}" + (f" to {identity[1]}" if identity else ""), hint=_DECRYPT_HINT
        )
    if code in _EXPIRED:
        return CredentialsRefused("the AWS credentials have expired", hint="renew them")
    if code in _UNKNOWN_KEY:
        return CredentialsRefused(
            "AWS does not know the access key",
            hint="check AWS_ACCESS_KEY_ID, and AWS_SESSION_TOKEN if it is a temporary one",
        )
    if code in _BAD_SIGNATURE:
        return CredentialsRefused(
            "AWS refuses the request's signature", hint="check AWS_SECRET_ACCESS_KEY and this machine's clock"
        )
    if code in _UNSIGNED:
        return CredentialsRefused("the request had no AWS credentials", hint=NO_CREDENTIALS_HINT)
    if code in _KEY_UNUSABLE:
        return InvalidReference(f"parameter {name!r} cannot be decrypted", hint=_KEY_HINT)
    if code == "ValidationException":
        return InvalidReference(
            f"SSM takes no parameter name such as {name!r}", hint="letters, digits and . - _ / ; or the whole ARN"
        )
    return InvalidReference(f"SSM refused to read parameter {name!r} (HTTP {http}, {_printable(code)})")


def _missing_text(code: str, name: str) -> str:
    if code == "ParameterNotFound":
        return f"SSM has no parameter {name!r}"
    return f"SSM has no such version or label of parameter: {name!r}"


def _printable(code: str) -> str:
    return code if _ERROR_CODE.fullmatch(code) else "no known code"


def _delay(headers: Mapping[str, str]) -> float | None:
    text = headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else None


def _host_of(error: Exception, endpoint: str) -> str:
    from urllib.parse import urlsplit  # late: start-up

    # The call that failed may have been one to STS or to the pod's identity agent.
    url = getattr(error, "kwargs", {}).get("endpoint_url")
    parts = urlsplit(url) if isinstance(url, str) else None
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts and parts.netloc else endpoint
