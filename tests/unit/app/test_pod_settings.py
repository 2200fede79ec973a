"""
What the doctor can tell of a sidecar's settings from outside of its pod.

The API server is a stand-in here that has ConfigMaps; tests/e2e/test_doctor.py asks a real one.
"""

from __future__ import annotations

from typing import Any

import pytest

from injector.app.pod_settings import Seen, settings_of
from injector.errors import ClusterError

HEAD = "apiVersion: config-injector.io/v1alpha1\nkind: Injector\n"
FILE = HEAD + "events: true\nnotify:\n  - rollout: deployment/shop\n"


class ConfigMaps:
    def __init__(self, **maps: dict[str, str]) -> None:
        self._maps = maps
        self.calls = 0

    def call(self, method: str, path: str, body: object = None) -> Any:
        self.calls += 1
        head, _, name = path.rpartition("/")
        assert (method, head, body) == ("GET", "/api/v1/namespaces/shop/configmaps", None)
        if name not in self._maps:
            raise ClusterError("status 404", status=404)
        return {"data": self._maps[name]}


def seen(
    api: ConfigMaps | None = None, *, annotations: dict[str, str] | None = None, **container: Any
) -> tuple[Seen, list[str]]:
    """What is seen of a sidecar, and which rights it needs: `events`, and targets of rollouts."""
    volumes = container.pop("volumes", [])
    given = {"name": "injector", "args": ["run", "/templates"], **container}
    pod = {"metadata": {"name": "web", "namespace": "shop", "annotations": annotations}, "spec": {"volumes": volumes}}
    found = settings_of(api or ConfigMaps(), pod, given)
    if found.settings is None:
        return found, []
    rollouts = [f"{action.workload}/{action.resource}" for action in found.settings.notify if action.kind == "rollout"]
    return found, [*(["events"] if found.settings.events else []), *rollouts]


def mounted(volume: dict[str, Any], path: str = "/injector/settings", **mount: Any) -> dict[str, Any]:
    return {
        "env": [{"name": "INJECTOR_CONFIG", "value": "/injector/settings/injector.yaml"}],
        "volumeMounts": [{"name": "settings", "mountPath": path, **mount}],
        "volumes": [{"name": "settings", **volume}],
    }


@pytest.mark.parametrize(
    ("args", "needed"),
    [
        ([], []),
        (["--events"], ["events"]),
        (["--events", "--no-events"], []),
        (["--notify", "rollout:deployment/shop"], ["deployment/shop"]),
        (["--notify=rollout:statefulset/$$db", "--notify=http:http://x/"], ["statefulset/$db"]),
    ],
)
def test_arguments(args: list[str], needed: list[str]) -> None:
    found, rights = seen(args=["run", "/t", *args])
    if needed == ["statefulset/$db"]:  # no name of a workload: it is told
        assert found.problems
    else:
        assert rights == needed
        assert not found.unseen


def test_a_container_that_ends_needs_no_rights() -> None:
    assert seen(args=["init", "/t", "--events"]) == (Seen(), [])


def test_variables_of_every_kind() -> None:
    api = ConfigMaps(one={"INJECTOR_EVENTS": "true", "OTHER": "x"}, two={"action": "rollout:daemonset/logs"})
    found, rights = seen(
        api,
        envFrom=[{"configMapRef": {"name": "one"}}, {"secretRef": {"name": "hidden"}}],
        env=[
            {"name": "INJECTOR_NOTIFY", "valueFrom": {"configMapKeyRef": {"name": "two", "key": "action"}}},
            {"name": "INJECTOR_LISTEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "OTHER", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ],
    )
    assert rights == ["events", "daemonset/logs"]
    assert found.unseen == [
        "the variables of Secret hidden",
        "the variable INJECTOR_LISTEN, which comes from secretKeyRef",
    ]
    assert seen(api, env=[{"name": "INJECTOR_EVENTS", "value": "true"}], args=["run", "--no-events"])[1] == []


@pytest.mark.parametrize(
    ("volume", "mount"),
    [
        ({"configMap": {"name": "own"}}, {}),
        ({"configMap": {"name": "own", "items": [{"key": "injector.yaml", "path": "injector.yaml"}]}}, {}),
        ({"configMap": {"name": "odd", "items": [{"key": "other", "path": "injector.yaml"}]}}, {}),
        ({"configMap": {"name": "odd"}}, {"path": "/injector/settings/injector.yaml", "subPath": "other"}),
        ({"projected": {"sources": [{"secret": {"name": "s"}}, {"configMap": {"name": "own"}}]}}, {}),
        (
            {
                "downwardAPI": {
                    "items": [{"path": "injector.yaml", "fieldRef": {"fieldPath": "metadata.annotations['x']"}}]
                }
            },
            {},
        ),
    ],
)
def test_the_settings_file_is_read_where_it_is_mounted_from(volume: dict[str, Any], mount: dict[str, Any]) -> None:
    api = ConfigMaps(own={"injector.yaml": FILE}, odd={"other": FILE})
    found, rights = seen(api, annotations={"x": FILE}, **mounted(volume, **mount))
    assert rights == ["events", "deployment/shop"]
    assert not found.unseen
    assert not found.problems


@pytest.mark.parametrize(
    ("volume", "why"),
    [
        ({"secret": {"secretName": "s"}}, "(secret)"),
        ({"emptyDir": {}}, "(emptyDir)"),
        ({"csi": {"driver": "d"}}, "(csi)"),
        ({"configMap": {"name": "own"}}, "(configMap)"),
    ],
)
def test_what_cannot_be_seen_is_said(volume: dict[str, Any], why: str) -> None:
    found, rights = seen(ConfigMaps(own={"another.yaml": FILE}), **mounted(volume))
    assert not rights
    (place,) = found.unseen
    assert "/injector/settings/injector.yaml" in place
    assert why in place


def test_a_file_of_the_image_and_a_map_that_may_not_be_read() -> None:
    found, _ = seen(args=["run", "--config", "/etc/injector.yaml"])
    assert found.unseen == ["the settings file /etc/injector.yaml, which lies in the image"]
    found, _ = seen(**mounted({"configMap": {"name": "away"}}))
    assert found.unseen[0] == "ConfigMap away (status 404)"


def test_a_wrong_settings_file_is_told_with_its_line_and_without_its_content() -> None:
    api = ConfigMaps(own={"injector.yaml": HEAD + "evnts: hunter2\nrefresh: hunter2\n"})
    found, _ = seen(api, **mounted({"configMap": {"name": "own"}}))
    assert found.settings is None
    assert [problem.partition(": ")[0] for problem in found.problems] == [
        "/injector/settings/injector.yaml, line 3",
        "/injector/settings/injector.yaml, line 4",
    ]
    assert "hunter2" not in "".join(found.problems)


def test_each_map_is_asked_for_once() -> None:
    api = ConfigMaps(one={})
    seen(api, envFrom=[{"configMapRef": {"name": "one"}}] * 3)
    assert api.calls == 1
