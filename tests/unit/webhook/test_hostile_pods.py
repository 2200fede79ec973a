"""Pods that are made to be dear: each is answered, at a cost that grows with its size and no faster."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from webhook_reviews import DEFAULTS, D, a_pod, a_review, annotated, ask, injected, patch_of, response_of

from injector.webhook.review import LARGEST, respond

MANY = 10_000
TOKEN_FILE = "AWS_WEB_IDENTITY_TOKEN_FILE"


def containers(make: Callable[[int], dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": f"c{number}", "image": "i", **make(number)} for number in range(MANY)]


def token(number: int, folder: str) -> dict[str, Any]:
    mount = {"name": "v", "mountPath": f"/{folder}/{number}"}
    return {"env": [{"name": TOKEN_FILE, "value": f"/t/{number}/x"}], "volumeMounts": [mount]}


def started(number: int) -> dict[str, Any]:
    mount = {"name": "v", "mountPath": f"/m/{number}"}
    return {"command": ["/x"], "env": [{"name": "A", "value": "AWSPARAMSTR:///x"}], "volumeMounts": [mount]}


HOSTILE: dict[str, Callable[[], dict[str, Any]]] = {
    "containers": lambda: a_pod(containers=containers(lambda _: {})),
    "init containers": lambda: a_pod(initContainers=containers(lambda _: {})),
    "files with tokens of identities": lambda: a_pod(containers=containers(lambda number: token(number, "m"))),
    "mounts with tokens of identities": lambda: a_pod(containers=containers(lambda number: token(number, "t"))),
    "variables with tokens": lambda: a_pod(containers=containers(started)),
    "arguments beside variables with tokens": lambda: a_pod(
        containers=[
            {
                "name": "app",
                "command": ["/x"],
                "args": ["$(B)$("] * MANY,
                "env": [{"name": f"A{number}", "value": "AWSPARAMSTR:///x"} for number in range(MANY)],
            }
        ]
    ),
    "an unclosed expansion": lambda: a_pod(
        containers=[
            {"name": "app", "command": ["/x"], "env": [{"name": "A", "value": "AWSPARAMSTR:///x" + "$(" * 10**6}]}
        ]
    ),
    "misspelt annotations": lambda: a_pod(annotated(templates="s") | {f"{D}refesh{n}": "" for n in range(MANY // 2)}),
    "templates": lambda: a_pod({f"{D}template-n{number}": "" for number in range(MANY // 2)}),
    "files in folders": lambda: a_pod(
        {f"{D}{kind}{n}": f"{n}/" + "a/" * 60 + "b" for n in range(900) for kind in ("template-n", "file-n")}
    ),
    "annotations of others": lambda: a_pod(annotated(templates="s") | {f"x.y/{number}": "" for number in range(MANY)}),
    "ConfigMaps": lambda: a_pod(annotated(templates=",".join(f"c{number}" for number in range(MANY)))),
    "a container that is not there": lambda: a_pod(
        annotated(templates="s", containers="z" * 63), containers=containers(lambda n: {"name": f"{n:063}"})
    ),
    "a path of one folder in another": lambda: a_pod(
        containers=[{"name": "app", "volumeMounts": [{"name": "v", "mountPath": "/a" * 10**6}]}]
    ),
}


@pytest.mark.fault(76, "a pod with 10,000 containers, mounts, variables or annotations costs no more than its size")
@pytest.mark.parametrize("kind", HOSTILE)
def test_ten_thousand_of_everything_are_answered(kind: str) -> None:
    """What compares each with each takes ten times as long as is allowed here, or hours; what does not, a tenth."""
    body = json.dumps(a_review(HOSTILE[kind]())).encode()
    assert len(body) <= LARGEST
    started = time.process_time()
    reply = respond(body, DEFAULTS)
    spent = time.process_time() - started
    assert reply.status == 200
    response_of(reply)
    assert spent < 3, f"{spent:.1f} s of processor for {len(body)} bytes"


def test_ten_thousand_containers_are_injected() -> None:
    pod = injected(a_pod(containers=containers(lambda _: {})))
    assert all(each["volumeMounts"] for each in pod["spec"]["containers"])


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_than_utf_8_are_no_json(encoding: str) -> None:
    body = json.dumps(a_review(a_pod(annotated(template_x="é \u2603"))), ensure_ascii=False).encode(encoding)
    reply = respond(body, DEFAULTS)
    assert reply.status == 400
    assert "not JSON" in reply.reason


@pytest.mark.parametrize(
    "text",
    [
        b"\xc3",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf8\x88\x80\x80\x80",
        b"\\ud800",
        b"\\udc00\\ud800",
        b"\\u00",
        b"\\x41",
        b"\n",
    ],
)
def test_text_that_is_none_is_refused_wherever_it_stands(text: bytes) -> None:
    plain = json.dumps(a_review(a_pod(annotated(templates="s", template_x="@@")))).encode()
    reply = respond(plain.replace(b"@@", text), DEFAULTS)
    assert reply.status == 400
    response_of(reply)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-0", "1e999", "1" * 5000, "01", "0x1"])
def test_numbers_beyond_reason_are_an_answer_and_no_crash(number: str) -> None:
    body = json.dumps(a_review(a_pod(securityContext={"runAsUser": "@"}))).replace('"@"', number).encode()
    reply = respond(body, DEFAULTS)
    assert reply.status == (200 if number == "-0" else 400)
    response_of(reply)


class TestKeysThatAreThereTwice:
    """The last counts, as for the API server (Go): nobody is shown one pod and checks another."""

    def test_of_the_request(self) -> None:
        plain = json.dumps(a_review(a_pod()))
        for extra, result in (('"operation":"DELETE"', "passed"), ('"namespace":"kube-system"', "ignored")):
            body = plain[: plain.rindex("}}")] + f", {extra}}}}}"
            assert respond(body.encode(), DEFAULTS).result == result

    def test_of_the_pod(self) -> None:
        pod = json.dumps(a_pod())
        twice = pod[:-1] + ', "spec": {"containers": [{"name": "second"}]}}'
        body = json.dumps(a_review("@")).replace('"@"', twice).encode()
        reply = respond(body, DEFAULTS)
        assert reply.result == "injected"
        pointers = {operation["path"] for operation in patch_of(reply)}
        assert "/spec/containers/0/volumeMounts" in pointers
        assert "/spec/containers/1/volumeMounts" not in pointers

    def test_of_annotations(self) -> None:
        pod = json.dumps(a_pod()).replace(f'"{D}templates": "shop"', f'"{D}templates": "shop", "{D}templates": "A B"')
        body = json.dumps(a_review("@")).replace('"@"', pod).encode()
        assert respond(body, DEFAULTS).result == "refused"


def test_a_huge_annotation_is_refused_before_it_is_read() -> None:
    reply = ask(a_pod({f"{D}template-x": "x" * 3_000_000}))
    assert "256 KiB" in response_of(reply)["status"]["message"]
