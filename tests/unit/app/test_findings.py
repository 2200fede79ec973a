"""What the doctor reads in the document of a pod."""

from __future__ import annotations

from typing import Any

import pytest

from injector.app.findings import Verdict, is_injected, of_pod, wants_injection

DOMAIN = "config-injector.io"


def pod(**spec: Any) -> dict[str, Any]:
    sidecar = {
        "name": "injector",
        "args": ["run", "/templates", "--output-dir", "/config"],
        "env": [{"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": "/t"}],
        "volumeMounts": [{"name": "out", "mountPath": "/config"}],
    }
    app = {"name": "app", "image": "a", "volumeMounts": [{"name": "out", "mountPath": "/config", "readOnly": True}]}
    return {
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "initContainers": [sidecar],
            "containers": [app],
            "volumes": [{"name": "out", "emptyDir": {"medium": "Memory"}}],
            **spec,
        },
    }


def wrong(document: dict[str, Any]) -> list[str]:
    return [finding.check for finding in of_pod(document) if finding.verdict is not Verdict.OK]


def test_a_pod_as_the_page_shows_it_has_nothing_wrong() -> None:
    assert wrong(pod()) == []


@pytest.mark.parametrize(
    ("metadata", "wants"),
    [
        ({"labels": {f"{DOMAIN}/inject": "enabled"}}, True),
        ({"labels": {f"{DOMAIN}/inject": "disabled"}, "annotations": {f"{DOMAIN}/refresh": "1m"}}, False),
        ({"annotations": {f"{DOMAIN}/templates": "a"}}, True),
        ({"annotations": {f"{DOMAIN}/status": "injected"}}, False),
        ({"annotations": {"other.io/templates": "a"}}, False),
        ({}, False),
    ],
)
def test_who_asks_for_the_sidecar(metadata: dict[str, Any], wants: bool) -> None:
    bare = {"metadata": {"name": "web", **metadata}, "spec": {"containers": [{"name": "app", "args": ["run"]}]}}
    assert wants_injection(bare) is wants
    if wants:
        assert not is_injected(bare)
        assert wrong(bare) == ["injection"]


def test_files_that_nobody_gets_or_that_lie_on_disk() -> None:
    assert wrong(pod(containers=[{"name": "app"}])) == ["output"]
    assert wrong(pod(volumes=[{"name": "out", "emptyDir": {}}])) == ["output"]


def test_no_identity_and_a_subpath_mount() -> None:
    document = pod()
    document["spec"]["initContainers"][0]["env"] = []
    assert wrong(document) == ["identity"]
    document = pod(
        volumes=[{"name": "out", "emptyDir": {"medium": "Memory"}}, {"name": "t", "configMap": {"name": "t"}}]
    )
    document["spec"]["initContainers"][0]["volumeMounts"].append({"name": "t", "mountPath": "/t/a", "subPath": "a"})
    assert wrong(document) == ["subpath"]


@pytest.mark.parametrize(
    ("status", "hint"),
    [
        (
            {"lastState": {"terminated": {"exitCode": 6}}, "state": {"waiting": {"reason": "CrashLoopBackOff"}}},
            "identity",
        ),
        ({"lastState": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}, "state": {}}, "limits-memory"),
        ({"state": {"running": {}}, "ready": False}, "--ready"),
    ],
)
def test_how_the_sidecar_ended_says_what_to_do(status: dict[str, Any], hint: str) -> None:
    document = pod() | {"status": {"initContainerStatuses": [{"name": "injector", **status}]}}
    hints = " ".join(finding.hint or "" for finding in of_pod(document) if finding.verdict is Verdict.PROBLEM)
    assert hint in hints
