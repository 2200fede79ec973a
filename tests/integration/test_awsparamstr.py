"""The AWSPARAMSTR plugin as a process: against moto, and against a server that fails on purpose."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from waiting import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Code = grpc.StatusCode
KEYS = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
SECRET = "hunter2-from-the-answer"


@pytest.fixture
def start_aws(start_plugin: Callable[..., Any]) -> Callable[..., Any]:
    """Starts the plugin against an endpoint, with keys and a region unless they are replaced."""

    def start(endpoint: str, **environment: str) -> Any:
        defaults = KEYS | {"AWS_REGION": "eu-west-1", "AWS_ENDPOINT_URL_SSM": endpoint}
        return start_plugin(sys.executable, "-m", "injector_awsparamstr", **(defaults | environment))

    return start


@dataclass
class Answers:
    """What the failing server says, and what it was asked."""

    url: str
    status: int = 400
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    hangs: bool = False
    released: threading.Event = field(default_factory=threading.Event)
    requests: list[str] = field(default_factory=list)

    def fail(self, status: int, code: str, message: str = SECRET, **headers: str) -> None:
        self.status, self.headers = status, headers
        self.body = json.dumps({"__type": f"com.amazonaws.ssm#{code}", "message": message}).encode()


@pytest.fixture
def failing() -> Iterator[Answers]:
    """A server in place of AWS; set its attributes before the call."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            self.rfile.read(length)
            answers.requests.append(self.headers.get("X-Amz-Target", self.path))
            if answers.hangs:
                answers.released.wait(100)
                return
            self.send_response(answers.status)
            for name, value in answers.headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Type", "application/x-amz-json-1.1")
            self.send_header("Content-Length", str(len(answers.body)))
            self.end_headers()
            self.wfile.write(answers.body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    answers = Answers(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield answers
    answers.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


# ------------------------------------------------------------------------------------------------ against moto


def test_reads_a_parameter_with_and_without_a_leading_slash(ssm, moto_server, start_aws):
    ssm.put_parameter(Name="/app/db", Value='{"password":"größe"}', Type="String")
    ssm.put_parameter(Name="plain", Value="p", Type="String")
    plugin = start_aws(moto_server)
    assert plugin.value("/app/db") == '{"password":"größe"}'
    assert plugin.value("plain") == "p"


def test_decrypts_a_secure_string_and_joins_a_list(ssm, moto_server, start_aws):
    ssm.put_parameter(Name="/s", Value="secret", Type="SecureString")
    ssm.put_parameter(Name="/l", Value="a,b", Type="StringList")
    plugin = start_aws(moto_server)
    assert plugin.value("/s") == "secret"
    assert plugin.value("/l") == "a,b"


def test_reads_a_version_and_a_label(ssm, moto_server, start_aws):
    for value in ("one", "two", "three"):
        ssm.put_parameter(Name="/app/v", Value=value, Type="String", Overwrite=True)
    ssm.label_parameter_version(Name="/app/v", ParameterVersion=2, Labels=["live"])
    plugin = start_aws(moto_server)
    assert plugin.value("/app/v") == "three"
    assert plugin.value("/app/v", "version=1") == "one"
    assert plugin.value("/app/v", "label=live") == "two"


def test_a_missing_parameter_and_a_missing_version_are_not_found(ssm, moto_server, start_aws):
    ssm.put_parameter(Name="/app/v", Value="one", Type="String")
    plugin = start_aws(moto_server)
    code, details, trailers = plugin.refusal("/app/none")
    assert (code, trailers["injector-error-code"]) == (Code.NOT_FOUND, "value-not-found")
    assert "'/app/none'" in details
    code, details, _ = plugin.refusal("/app/v", "version=99")
    assert code is Code.NOT_FOUND
    assert "version" in details


def test_an_old_style_region_variable_and_a_general_endpoint_do_as_well(ssm, moto_server, start_plugin):
    ssm.put_parameter(Name="/a", Value="x", Type="String")
    environment = KEYS | {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_ENDPOINT_URL": moto_server}
    plugin = start_plugin(sys.executable, "-m", "injector_awsparamstr", **environment)
    assert plugin.value("/a") == "x"


def test_a_web_identity_token_is_exchanged_for_credentials(ssm, moto_server, start_plugin, tmp_path):
    ssm.put_parameter(Name="/a", Value="irsa", Type="String")
    token = tmp_path / "token"
    token.write_text("a.b.c")
    plugin = start_plugin(
        sys.executable,
        "-m",
        "injector_awsparamstr",
        AWS_REGION="eu-west-1",
        AWS_ENDPOINT_URL=moto_server,
        AWS_ROLE_ARN="arn:aws:iam::123456789012:role/app",
        AWS_WEB_IDENTITY_TOKEN_FILE=str(token),
        AWS_EC2_METADATA_DISABLED="true",
    )
    assert plugin.value("/a") == "irsa"


@pytest.mark.fault(60, "credentials are looked for again")
def test_credentials_that_come_after_the_start_are_found(ssm, moto_server, start_plugin, tmp_path):
    ssm.put_parameter(Name="/a", Value="late", Type="String")
    file = tmp_path / "credentials"
    plugin = start_plugin(
        sys.executable,
        "-m",
        "injector_awsparamstr",
        AWS_REGION="eu-west-1",
        AWS_ENDPOINT_URL=moto_server,
        AWS_SHARED_CREDENTIALS_FILE=str(file),
        AWS_EC2_METADATA_DISABLED="true",
    )
    code, details, _ = plugin.refusal("/a")
    assert (code, details) == (Code.UNAUTHENTICATED, "no AWS credentials were found")
    file.write_text("[default]\naws_access_key_id = AKIATEST\naws_secret_access_key = test\n")
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            assert plugin.value("/a") == "late"
            break
        except grpc.RpcError:
            assert time.monotonic() < deadline, "the credentials were never looked for again"
            time.sleep(0.2)


# ---------------------------------------------------------------------------------------- references that are wrong


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ("version=1,label=x", "both"),
        ("version=", "no version"),
        ("version=0", "no version"),
        ("version=latest", "no version"),
        ("label=", "no label"),
        ("label=3", "no label"),
        ("label=a:b", "no label"),
        ("stage=x", "unknown metadata 'stage'"),
        ("nonsense", "not name=value"),
        ("version=1,version=2", "twice"),
    ],
)
def test_metadata_that_makes_no_sense_is_refused_without_a_call(failing, start_aws, metadata, said):
    code, details, trailers = start_aws(failing.url).refusal("/a", metadata)
    assert (code, trailers["injector-error-code"]) == (Code.INVALID_ARGUMENT, "reference-invalid")
    assert said in details
    assert failing.requests == []


# ------------------------------------------------------------------------------------------------ services that fail


@pytest.mark.parametrize(
    ("status", "error", "code", "said"),
    [
        (400, "ThrottlingException", Code.RESOURCE_EXHAUSTED, "throttles"),
        (400, "TooManyUpdates", Code.RESOURCE_EXHAUSTED, "throttles"),
        (400, "RequestLimitExceeded", Code.RESOURCE_EXHAUSTED, "throttles"),
        (429, "Whatever", Code.RESOURCE_EXHAUSTED, "throttles"),
        (400, "ExpiredTokenException", Code.UNAUTHENTICATED, "have expired"),
        (400, "UnrecognizedClientException", Code.UNAUTHENTICATED, "does not know the access key"),
        (403, "InvalidClientTokenId", Code.UNAUTHENTICATED, "does not know the access key"),
        (403, "InvalidSignatureException", Code.UNAUTHENTICATED, "signature"),
        (403, "MissingAuthenticationToken", Code.UNAUTHENTICATED, "no AWS credentials"),
        (400, "AccessDeniedException", Code.PERMISSION_DENIED, "denies reading parameter '/app/db'"),
        (400, "ParameterNotFound", Code.NOT_FOUND, "'/app/db'"),
        (400, "ParameterVersionNotFound", Code.NOT_FOUND, "'/app/db'"),
        (400, "InvalidKeyId", Code.INVALID_ARGUMENT, "cannot be decrypted"),
        (400, "ValidationException", Code.INVALID_ARGUMENT, "takes no parameter name"),
        (400, "SomethingNewException", Code.INVALID_ARGUMENT, "HTTP 400, SomethingNewException"),
        (500, "InternalServerError", Code.UNAVAILABLE, "HTTP 500"),
        (503, "ServiceUnavailable", Code.UNAVAILABLE, "HTTP 503"),
    ],
)
def test_a_failure_is_told_apart_asked_once_and_its_text_not_repeated(failing, start_aws, status, error, code, said):
    failing.fail(status, error)
    plugin = start_aws(failing.url)
    got, details, trailers = plugin.refusal("/app/db")
    assert (got, failing.requests) == (code, ["AmazonSSM.GetParameter"])
    assert said in details
    assert SECRET not in details + str(trailers) + plugin.stderr.read_text()


def test_a_denial_names_the_identity_that_aws_saw(failing, start_aws):
    arn = "arn:aws:sts::123456789012:assumed-role/app/pod-7"
    failing.fail(
        400, "AccessDeniedException", f"User: {arn} is not authorized to perform: ssm:GetParameter on {SECRET}"
    )
    _, details, trailers = start_aws(failing.url).refusal("/app/db")
    assert details == f"AWS denies reading parameter '/app/db' to {arn}"
    assert "kms%3ADecrypt" in trailers["injector-error-hint"]


@pytest.mark.fault(56, "the pause that the backend asks for")
def test_a_delay_that_aws_asks_for_is_passed_on(failing, start_aws):
    failing.fail(400, "ThrottlingException", Retry_After="7")
    assert start_aws(failing.url).refusal("/a")[2]["injector-retry-after"] == "7.000"


@pytest.mark.fault(61, "an error that names the endpoint, and quotes nothing")
def test_an_answer_that_is_not_ssms_is_unavailable(failing, start_aws):
    failing.status, failing.body = 200, b"<html>log in here</html>"
    code, details, _ = start_aws(failing.url).refusal("/a")
    assert (code, len(failing.requests)) == (Code.UNAVAILABLE, 1)
    assert failing.url in details


@pytest.mark.fault(61, "a time-out that names the endpoint")
def test_a_hanging_service_is_a_timeout_that_names_the_endpoint(failing, start_aws):
    failing.hangs = True
    plugin = start_aws(failing.url)
    code, details, trailers = plugin.refusal("/a")
    assert (code, trailers["injector-error-code"]) == (Code.DEADLINE_EXCEEDED, "backend-timeout")
    assert failing.url in details
    assert len(failing.requests) == 1


@pytest.mark.fault(58, "an error that names the endpoint")
def test_an_endpoint_where_nobody_listens_is_unavailable(start_aws):
    with socket.socket() as taken:  # bound and not listening: nobody else gets the port
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        code, details, trailers = start_aws(url).refusal("/a")
    assert (code, trailers["injector-error-code"]) == (Code.UNAVAILABLE, "backend-unavailable")
    assert url in details


@pytest.mark.fault(60, "one call, and an error that names it")
def test_a_refused_role_is_a_credentials_error_of_one_call(failing, start_plugin, tmp_path):
    token = tmp_path / "token"
    token.write_text("a.b.c")
    failing.status = 403
    failing.body = b"<ErrorResponse><Error><Code>AccessDenied</Code><Message>m</Message></Error></ErrorResponse>"
    plugin = start_plugin(
        sys.executable,
        "-m",
        "injector_awsparamstr",
        AWS_REGION="eu-west-1",
        AWS_ENDPOINT_URL=failing.url,
        AWS_ROLE_ARN="arn:aws:iam::123456789012:role/app",
        AWS_WEB_IDENTITY_TOKEN_FILE=str(token),
        AWS_EC2_METADATA_DISABLED="true",
    )
    code, details, _ = plugin.refusal("/a")
    assert code is Code.UNAUTHENTICATED
    assert "AssumeRoleWithWebIdentity" in details
    assert len(failing.requests) == 1


def test_a_web_identity_token_that_cannot_be_read_is_a_credentials_error(failing, start_plugin, tmp_path):
    plugin = start_plugin(
        sys.executable,
        "-m",
        "injector_awsparamstr",
        AWS_REGION="eu-west-1",
        AWS_ENDPOINT_URL=failing.url,
        AWS_ROLE_ARN="arn:aws:iam::123456789012:role/app",
        AWS_WEB_IDENTITY_TOKEN_FILE=str(tmp_path / "none"),
        AWS_EC2_METADATA_DISABLED="true",
    )
    code, details, _ = plugin.refusal("/a")
    assert (code, details) == (Code.UNAUTHENTICATED, "a file with AWS credentials cannot be read")


def test_no_credentials_say_what_to_set(failing, start_aws):
    code, details, trailers = start_aws(failing.url, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="").refusal("/a")
    assert (code, details) == (Code.UNAUTHENTICATED, "no AWS credentials were found")
    assert "AWS_ACCESS_KEY_ID" in trailers["injector-error-hint"]
    assert failing.requests == []


def test_no_region_says_what_to_set(failing, start_aws):
    code, details, trailers = start_aws(failing.url, AWS_REGION="").refusal("/a")
    assert (code, details) == (Code.INVALID_ARGUMENT, "no AWS region is set")
    assert "AWS_REGION" in trailers["injector-error-hint"]


def test_an_endpoint_that_is_no_url_says_what_to_check(start_aws):
    code, details, trailers = start_aws("not an url").refusal("/a")
    assert (code, details) == (Code.INVALID_ARGUMENT, "the AWS region or endpoint is not usable")
    assert "AWS_ENDPOINT_URL" in trailers["injector-error-hint"]


def test_an_unknown_profile_is_a_credentials_error(failing, start_aws):
    code, details, _ = start_aws(failing.url, AWS_PROFILE="nobody").refusal("/a")
    assert (code, details) == (Code.UNAUTHENTICATED, "the AWS profile cannot be used")


def test_many_calls_at_once_share_one_client(ssm, moto_server, start_aws):
    from concurrent.futures import ThreadPoolExecutor

    for i in range(10):
        ssm.put_parameter(Name=f"/many/{i}", Value=f"v{i}", Type="String")
    plugin = start_aws(moto_server)
    with ThreadPoolExecutor(40) as pool:
        values = list(pool.map(lambda i: plugin.value(f"/many/{i % 10}"), range(80)))
    assert values == [f"v{i % 10}" for i in range(80)]
