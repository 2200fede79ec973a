"""The host's signatures, held against botocore's own."""

from __future__ import annotations

import datetime as dt
from unittest import mock

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import pytest
from hypothesis import given
from hypothesis import strategies as st

from injector.backends.wasm.http_client import HttpRequest
from injector.backends.wasm.http_policy import parse_rule, parse_url
from injector.backends.wasm.signing import AwsCredentials, AwsSigV4, Bearer, Grant, Signers, VaultToken
from injector.errors import PluginHttpRefused

NOW = dt.datetime(2026, 3, 4, 5, 6, 7, tzinfo=dt.UTC)
KEY = AwsCredentials("AKIATEST", "secret/key+1")


def by_botocore(request: HttpRequest, service: str, credentials: AwsCredentials) -> str:
    signer_type = botocore.auth.S3SigV4Auth if service == "s3" else botocore.auth.SigV4Auth
    signer = signer_type(
        botocore.credentials.Credentials(credentials.key_id, credentials.secret, credentials.session_token or None),
        service,
        "eu-west-1",
    )
    aws = botocore.awsrequest.AWSRequest(
        request.method, parse_url(request.url).url, dict(request.headers), request.body
    )
    # The clock is the one thing that is replaced: its signer has no parameter for it.
    with (
        mock.patch("botocore.auth.get_current_datetime", return_value=NOW.replace(tzinfo=None)),
        mock.patch.object(botocore.auth.S3SigV4Auth, "_should_sha256_sign_payload", return_value=True),
    ):
        signer.add_auth(aws)
    return str(aws.headers["Authorization"])


def by_us(request: HttpRequest, service: str, credentials: AwsCredentials) -> str:
    signer = AwsSigV4(service, "eu-west-1", lambda: credentials, now=lambda: NOW)
    return dict(signer.headers(request, parse_url(request.url)))["authorization"]


@pytest.mark.parametrize("service", ["ssm", "secretsmanager", "s3", "execute-api"])
@pytest.mark.parametrize("session", ["", "token//with+signs="])
@pytest.mark.parametrize(
    "url",
    [
        "https://host.example.com/",
        "https://host.example.com:8443",
        "http://127.0.0.1:8080/a/b%20c/%C3%A4",
        "https://host.example.com/x?b=2&a=1&a=0&empty=&flag",
        "https://host.example.com/x?path=%2Fapp%2Fdb&q=a%20b%2Bc&%C3%A4=~-_.",
    ],
)
def test_the_aws_signature_is_that_of_botocore(service: str, session: str, url: str) -> None:
    request = HttpRequest(
        "POST",
        url,
        (("content-type", "application/x-amz-json-1.1"), ("x-amz-target", "AmazonSSM.GetParameter")),
        b'{"Name":"/app/db"}',
    )
    credentials = AwsCredentials(KEY.key_id, KEY.secret, session)
    assert by_us(request, service, credentials) == by_botocore(request, service, credentials)


@given(
    path=st.lists(st.sampled_from(["a", "b%20c", ".", "..", "", "~x", "%C3%A4", "d-e_f.g"]), max_size=6),
    value=st.text("abc xyz", min_size=1, max_size=9),
)
def test_dots_blanks_and_doubled_slashes_are_signed_as_botocore_does(path: list[str], value: str) -> None:
    request = HttpRequest("GET", "https://h.example.com/" + "/".join(path), (("x-amz-meta-a", f" {value} "),))
    assert by_us(request, "ssm", KEY) == by_botocore(request, "ssm", KEY)


def test_what_a_guest_says_about_the_signature_is_replaced() -> None:
    request = HttpRequest(
        "GET", "https://h.example.com/", (("authorization", "mine"), ("x-amz-date", "x"), ("x-amz-security-token", "y"))
    )
    headers = AwsSigV4("ssm", "eu-west-1", lambda: KEY, now=lambda: NOW).headers(request, parse_url(request.url))
    assert [name for name, _ in headers] == ["x-amz-date", "authorization"]


def signers(*grants: Grant) -> Signers:
    return Signers(grants)


def test_only_the_granted_host_gets_the_token() -> None:
    grants = signers(Grant((parse_rule("api.example.com"),), Bearer("t0ken")))
    for url, expected in (("https://api.example.com/", "Bearer t0ken"), ("https://other.example.com/", None)):
        signed = grants.sign(HttpRequest("GET", url), parse_url(url))
        assert dict(signed.headers).get("authorization") == expected


def test_vault_gets_its_token_and_namespace_in_place_of_the_guests() -> None:
    grants = signers(Grant((parse_rule("vault.example.com"),), VaultToken("hvs.x", "team")))
    request = HttpRequest("GET", "https://vault.example.com/v1/x", (("x-vault-token", "guest"), ("accept", "*/*")))
    assert dict(grants.sign(request, parse_url(request.url)).headers) == {
        "accept": "*/*",
        "x-vault-token": "hvs.x",
        "x-vault-request": "true",
        "x-vault-namespace": "team",
    }


@pytest.mark.parametrize(
    "wanted",
    [
        {"kind": "vault"},
        {"kind": "aws-sigv4", "service": "sts", "region": "eu-west-1"},
        {"kind": "aws-sigv4", "service": "ssm", "region": "us-east-1"},
        {"kind": "aws-sigv4", "service": "ssm", "region": "eu-west-1", "more": "x"},
    ],
)
def test_a_signature_that_was_not_granted_is_refused(wanted: dict[str, str]) -> None:
    grants = signers(Grant((parse_rule("h.example.com"),), AwsSigV4("ssm", "eu-west-1", lambda: KEY)))
    request = HttpRequest("GET", "https://h.example.com/", signature=wanted)
    with pytest.raises(PluginHttpRefused, match="not granted"):
        grants.sign(request, parse_url(request.url))
