"""The host signs for a guest that holds no credential, and a Parameter Store that checks signatures answers."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from fixtures_processes import _url_of
from waiting import PATIENCE

from injector import errors

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROBE = Path(__file__).resolve().parent / "extismprobe"
pytestmark = [pytest.mark.go, pytest.mark.anyio]


class Guarded(NamedTuple):
    """A Parameter Store that wants signatures, and the access key that it knows."""

    url: str
    key_id: str
    secret: str


@pytest.fixture(scope="module")
def guarded_ssm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """A moto server of its own: after the four calls that set it up, it refuses what is not signed."""
    import botocore.session

    log = tmp_path_factory.mktemp("guarded-moto") / "log"
    command = [sys.executable, "-u", "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with log.open("wb") as output:
        environment = os.environ | {"INITIAL_NO_AUTH_ACTION_COUNT": "4"}
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment)
    try:
        url = _url_of(process, log)

        def client(service: str) -> Any:
            return botocore.session.Session().create_client(
                service,
                region_name="eu-west-1",
                endpoint_url=url,
                aws_access_key_id="setup",
                aws_secret_access_key="setup",
            )

        iam = client("iam")
        iam.create_user(UserName="u")
        rule = {"Effect": "Allow", "Action": "ssm:*", "Resource": "*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [rule]})
        iam.put_user_policy(UserName="u", PolicyName="p", PolicyDocument=document)
        key = iam.create_access_key(UserName="u")["AccessKey"]
        client("ssm").put_parameter(Name="/app/db", Value="from-ssm", Type="SecureString")
        yield Guarded(url, key["AccessKeyId"], key["SecretAccessKey"])
    finally:
        process.terminate()
        process.wait(PATIENCE)


def settings(store: Guarded, **more: Any) -> dict[str, Any]:
    grant = {"kind": "aws-sigv4", "hosts": [store.url], "service": "ssm", "region": "eu-west-1"}
    guest = {"target": "AmazonSSM.GetParameter", "body": '{"Name":"/app/db","WithDecryption":true}'}
    return {"injector": {"sign": [grant]}} | guest | more


@pytest.fixture
def ask(start_module, build_wasm: Callable[[Path], Path], wasm_cache: Path) -> Callable[..., Any]:
    """`await ask(settings, input)`: the probe's answer as text."""

    async def begin(given: dict[str, Any], text: str) -> str:
        backend = await start_module("probe", build_wasm(PROBE), settings=given, cache=wasm_cache)
        return (await backend.call("probe", text.encode(), timeout=60)).decode()

    return begin


async def test_a_value_is_read_by_a_guest_without_credentials(ask, guarded_ssm: Guarded) -> None:
    given = settings(guarded_ssm, aws_access_key_id=guarded_ssm.key_id, aws_secret_access_key=guarded_ssm.secret)
    answer = await ask(given, f"post:{guarded_ssm.url}/")
    assert answer.startswith("200 ")
    assert json.loads(answer[4:])["Parameter"]["Value"] == "from-ssm"
    for name in ("aws_access_key_id", "aws_secret_access_key", "aws_session_token"):
        assert await ask(given, f"config:{name}") == '"" false'


async def test_a_wrong_key_is_refused_by_the_store(ask, guarded_ssm: Guarded) -> None:
    given = settings(guarded_ssm, aws_access_key_id=guarded_ssm.key_id, aws_secret_access_key="wrong")
    assert (await ask(given, f"post:{guarded_ssm.url}/")).startswith("4")


async def test_an_unsigned_request_is_refused_by_the_store(ask, guarded_ssm: Guarded) -> None:
    given = settings(guarded_ssm)
    given["injector"] = {"http": {"hosts": [guarded_ssm.url]}}
    assert (await ask(given, f"post:{guarded_ssm.url}/"))[0] in "45"  # moto stumbles over a missing header


async def test_the_ambient_credentials_sign_when_the_connection_has_none(ask, guarded_ssm, monkeypatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", guarded_ssm.key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", guarded_ssm.secret)
    assert (await ask(settings(guarded_ssm), f"post:{guarded_ssm.url}/")).startswith("200 ")


async def test_no_credentials_at_all_are_said(ask, guarded_ssm, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(errors.CredentialsRefused, match="no AWS credentials to sign with"):
        await ask(settings(guarded_ssm), f"post:{guarded_ssm.url}/")


async def test_half_a_key_is_said(ask, guarded_ssm: Guarded) -> None:
    with pytest.raises(errors.InvalidConfiguration, match="one is missing"):
        await ask(settings(guarded_ssm, aws_access_key_id="AKIA"), "echo:x")


async def test_the_secret_key_is_in_no_form_anywhere_near_the_guest(ask, guarded_ssm: Guarded) -> None:
    given = settings(guarded_ssm, aws_access_key_id=guarded_ssm.key_id, aws_secret_access_key=guarded_ssm.secret)
    state = await ask(given, "state")
    for form in (guarded_ssm.secret, base64.b64encode(guarded_ssm.secret.encode()).decode()):
        assert form not in state
