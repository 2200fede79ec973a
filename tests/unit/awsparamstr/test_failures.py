"""The AWS SDK's exceptions in the host's words."""

from __future__ import annotations

import pytest
from botocore import exceptions as aws
from injector_awsparamstr.failures import translated

from injector.sdk import errors

URL = "https://user:pass@ssm.eu-west-1.amazonaws.com/x?y"
SHOWN = "https://ssm.eu-west-1.amazonaws.com"


def of(error: Exception) -> Exception:
    return translated(error, name="/app/db", endpoint="https://endpoint")


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (aws.EndpointConnectionError(endpoint_url=URL, error="hunter2"), errors.Unavailable, SHOWN),
        (aws.ConnectionClosedError(endpoint_url=URL), errors.Unavailable, SHOWN),
        (aws.ConnectTimeoutError(endpoint_url=URL), errors.TimedOut, SHOWN),
        (aws.ReadTimeoutError(endpoint_url=URL), errors.TimedOut, SHOWN),
        (aws.SSLError(endpoint_url=URL, error="hunter2"), errors.Unavailable, "TLS"),
        (aws.ProxyConnectionError(proxy_url="http://u:hunter2@p"), errors.Unavailable, "proxy"),
        (aws.HTTPClientError(error="hunter2"), errors.Unavailable, "https://endpoint"),
        (aws.NoCredentialsError(), errors.CredentialsRefused, "no AWS credentials"),
        (aws.PartialCredentialsError(provider="env", cred_var="x"), errors.CredentialsRefused, "incomplete"),
        (aws.CredentialRetrievalError(provider="x", error_msg="hunter2"), errors.CredentialsRefused, "provider"),
        (aws.MetadataRetrievalError(error_msg="hunter2"), errors.CredentialsRefused, "provider"),
        (aws.ProfileNotFound(profile="x"), errors.CredentialsRefused, "profile"),
        (aws.UnauthorizedSSOTokenError(), errors.CredentialsRefused, "login"),
        (aws.ParamValidationError(report="hunter2"), errors.InvalidReference, "'/app/db'"),
        (PermissionError(13, "hunter2"), errors.CredentialsRefused, "file with AWS credentials"),
    ],
)
def test_each_has_its_error_and_no_foreign_text(error, kind, said):
    got = of(error)
    assert type(got) is kind
    assert said in str(got)
    assert "hunter2" not in f"{got} {got.hint}"
    assert "pass@" not in str(got)


def test_what_no_store_expects_stays_what_it_is():
    error = RuntimeError("a bug")
    assert of(error) is error


@pytest.mark.parametrize("code", ["hunter2 \n", "", "x" * 200])
def test_a_code_that_is_none_is_not_repeated(code):
    error = aws.ClientError(
        {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": 418}},
        "GetParameter",
    )
    got = of(error)
    assert type(got) is errors.InvalidReference
    assert "no known code" in str(got)
