"""charts/injector as helm renders it. What a cluster makes of it is in tests/e2e/test_chart.py."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from charts.helm import WEBHOOK, Refused, Renderer, helm
from injector.cli.lazy import LazyGroup
from injector.cli.main import cli

SNAPSHOTS = Path(__file__).parent / "snapshots"
DEFAULTS: dict[str, Any] = yaml.safe_load((WEBHOOK / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((WEBHOOK / "values.schema.json").read_text())
CI = {path.name.removesuffix("-values.yaml"): yaml.safe_load(path.read_text()) for path in (WEBHOOK / "ci").iterdir()}
RESTRICTED = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}

# A value that differs from the default, where none can be made from its type; (value, other values that it needs).
OTHERWISE: dict[str, Any] = {
    "image.digest": "sha256:" + "0" * 64,
    "imagePullSecrets": [{"name": "a"}],
    "serviceAccount.name": "other",
    "podDisruptionBudget.minAvailable": (2, {"podDisruptionBudget.enabled": True}),
    "networkPolicy.from": ([{"podSelector": {}}], {"networkPolicy.enabled": True}),
    "networkPolicy.apiServerPorts": ([8443], {"networkPolicy.enabled": True}),
    "serviceMonitor.labels": ({"a": "b"}, {"serviceMonitor.enabled": True}),
    "serviceMonitor.interval": ("7s", {"serviceMonitor.enabled": True}),
    "serviceMonitor.scrapeTimeout": ("7s", {"serviceMonitor.enabled": True}),
    "prometheusRule.labels": ({"a": "b"}, {"prometheusRule.enabled": True}),
    "grafanaDashboard.labels": ({"a": "b"}, {"grafanaDashboard.enabled": True}),
    "webhook.namespaceSelector": {"matchLabels": {"a": "b"}},
    "webhook.objectSelector": {"matchLabels": {"a": "b"}},
    "webhook.matchConditions": [{"name": "a", "expression": "true"}],
    "webhook.ignoreNamespaces": ["other"],
    "webhook.certs.mode": "cert-manager",
    "webhook.certs.caBundle": (
        "Yg==",
        {"webhook.certs.mode": "given", "webhook.certs.secretName": "a", "webhook.certs.caBundle": "YQ=="},
    ),
    "webhook.certs.lifetime": "24h",
    "webhook.certs.checkInterval": "7s",
    "webhook.certs.certManager.issuerRef": (
        {"name": "a", "kind": "ClusterIssuer"},
        {"webhook.certs.mode": "cert-manager"},
    ),
    "webhook.certs.certManager.duration": ("24h", {"webhook.certs.mode": "cert-manager"}),
    "webhook.certs.certManager.renewBefore": ("8h", {"webhook.certs.mode": "cert-manager"}),
    "agent.mountPath": "/elsewhere",
    "agent.volumeSize": "1Mi",
    "agent.resources": {"limits": {"cpu": "1"}},
    "livenessProbe": {"periodSeconds": 77},
    "readinessProbe": {"periodSeconds": 77},
    "startupProbe": {"periodSeconds": 77},
    "podSecurityContext": {"runAsUser": 77},
    "securityContext": {"privileged": True},
    "resources": {"limits": {"cpu": "7"}},
    "affinity": {"podAffinity": {}},
    "dnsPolicy": "Default",
    "dnsConfig": {"nameservers": ["10.0.0.1"]},
    "tolerations": [{"operator": "Exists"}],
    "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule"}],
    "extraEnv": [{"name": "A", "value": "b"}],
    "extraArgs": ["--shutdown-delay=1s"],
    "extraVolumes": [{"name": "a", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "a", "mountPath": "/a"}],
    "extraContainers": [{"name": "a", "image": "a"}],
    "extraObjects": [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}],
}


# Values that the schema knows and values.yaml does not mention, below those that it does.
BELOW: dict[str, Any] = {
    "agent.resources.requests.cpu": "77m",
    "agent.resources.requests.memory": "77Mi",
    "agent.resources.limits.cpu": "77m",
    "agent.resources.limits.memory": "77Mi",
    "webhook.namespaceSelector.matchLabels": {"a77": "b77"},
    "webhook.namespaceSelector.matchExpressions": [{"key": "a77", "operator": "Exists"}],
    "webhook.objectSelector.matchLabels": {"a77": "b77"},
    "webhook.objectSelector.matchExpressions": [{"key": "a77", "operator": "Exists"}],
    "webhook.certs.certManager.issuerRef.name": "a77",
    "webhook.certs.certManager.issuerRef.kind": "a77",
    "webhook.certs.certManager.issuerRef.group": "a77",
    **{
        f"{probe}.{number}": 77
        for probe in ("livenessProbe", "readinessProbe", "startupProbe")
        for number in (
            *("initialDelaySeconds", "periodSeconds", "timeoutSeconds", "failureThreshold", "successThreshold"),
            "terminationGracePeriodSeconds",
        )
    },
}


def leaves(values: dict[str, Any], above: str = "") -> Iterator[str]:
    """The paths of the values that are documented, each of which means something of its own."""
    for name, value in values.items():
        path = f"{above}{name}"
        if isinstance(value, dict) and "additionalProperties" in schema_of(path) and "properties" in schema_of(path):
            if path in OTHERWISE:
                yield path
            else:
                yield from leaves(value, f"{path}.")
        else:
            yield path


def schema_leaves(schema: dict[str, Any], above: str = "") -> Iterator[str]:
    """The paths of all values that the schema allows, the deepest that have a rule of their own."""
    for name, rule in schema["properties"].items():
        if "properties" in rule:
            yield from schema_leaves(rule, f"{above}{name}.")
        else:
            yield f"{above}{name}"


def schema_of(path: str) -> dict[str, Any]:
    found = SCHEMA
    for name in path.split("."):
        found = found["properties"][name]
    return found


def otherwise(path: str) -> tuple[Any, dict[str, Any]]:
    """A valid value that is not the default of *path*, and what else has to be set for it to matter."""
    if path in OTHERWISE:
        given = OTHERWISE[path]
        return given if isinstance(given, tuple) else (given, {})
    default, schema = at(DEFAULTS, path), schema_of(path)
    if "enum" in schema:
        return next(each for each in schema["enum"] if each not in (default, "")), {}
    if isinstance(default, bool):
        return not default, {}
    if isinstance(default, int):
        return default + 1, {}
    if isinstance(default, dict):
        return {"example.com/changed": "yes"}, {}
    return "changed", {}


def at(values: dict[str, Any], path: str) -> Any:
    for name in path.split("."):
        values = values[name]
    return values


def with_values(settings: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path, value in settings.items():
        *above, last = path.split(".")
        place = found
        for name in above:
            place = place.setdefault(name, {})
        place[last] = copy.deepcopy(value)
    return found


@pytest.mark.parametrize("values", CI)
def test_lint_has_nothing_to_say(values: str, render: Renderer, home: Path) -> None:
    helm("lint", "--strict", WEBHOOK, "-f", WEBHOOK / "ci" / f"{values}-values.yaml", home=home)


@pytest.mark.parametrize("values", CI)
def test_what_is_installed_is_what_was_looked_at(values: str, render: Renderer) -> None:
    """A change of the rendered objects shows in the review: UPDATE_SNAPSHOTS=1 writes them anew."""
    text = yaml.safe_dump_all(render.objects(WEBHOOK, CI[values]), width=120)
    path = SNAPSHOTS / f"{values}.yaml"
    if os.environ.get("UPDATE_SNAPSHOTS"):
        path.write_text(text)
    assert text == path.read_text(), "UPDATE_SNAPSHOTS=1 pytest tests/charts, then look at the difference"


@pytest.mark.parametrize("path", list(leaves(DEFAULTS)))
def test_each_value_changes_what_is_installed(path: str, render: Renderer) -> None:
    value, needed = otherwise(path)
    assert render.text(WEBHOOK, with_values({**needed, path: value})) != render.text(WEBHOOK, with_values(needed))


def test_no_value_of_the_schema_is_without_a_test() -> None:
    """`global` is what Helm gives to every chart, and ours does not read it."""
    assert set(schema_leaves(SCHEMA)) - set(leaves(DEFAULTS)) == {*BELOW, "global"}


@pytest.mark.parametrize("path", BELOW)
def test_each_value_below_others_is_in_what_is_installed(path: str, render: Renderer) -> None:
    needed = {"webhook.certs.mode": "cert-manager"} if "issuerRef" in path else {}
    value, last = BELOW[path], path.rpartition(".")[2]
    before, after = (
        render.text(WEBHOOK, with_values(needed)),
        render.text(WEBHOOK, with_values({**needed, path: value})),
    )
    told = str(value) if isinstance(value, str | int) else "a77"
    assert told in after
    assert told not in before
    if "probe" in path.lower() or "issuerRef" in path:
        assert f"{last}: {told}" in after


def test_the_values_that_need_others_are_those_of_the_chart() -> None:
    assert set(OTHERWISE) <= set(leaves(DEFAULTS))


def test_the_defaults_are_allowed_and_each_has_a_rule() -> None:
    jsonschema.validate(DEFAULTS, SCHEMA)
    for path in leaves(DEFAULTS):
        assert schema_of(path), path


@pytest.mark.parametrize("path", list(leaves(DEFAULTS)))
def test_a_misspelt_value_is_refused(path: str) -> None:
    values = with_values({f"{path}x": at(DEFAULTS, path)})
    with pytest.raises(jsonschema.ValidationError, match=f"'{path.rpartition('.')[2]}x' was unexpected"):
        jsonschema.validate(values, SCHEMA)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("replicaCount", -1),
        ("image.tag", "a b"),
        ("image.digest", "sha256:short"),
        ("agent.volumeSize", "16 MB"),
        ("agent.runAsUser", 0),
        ("agent.mountPath", "config"),
        ("webhook.timeoutSeconds", 31),
        ("webhook.failurePolicy", "fail"),
        ("webhook.port", 443),
        ("webhook.ignoreNamespaces", []),
        ("webhook.certs.mode", "given"),
        ("webhook.certs.lifetime", "30d"),
        ("agent.resources", {"limits": {"disk": "1"}}),
        ("extraArgs", "--a"),
    ],
)
def test_an_impossible_value_is_refused_by_helm(path: str, value: Any, render: Renderer) -> None:
    with pytest.raises(Refused, match="don't meet the specifications of the schema"):
        render.text(WEBHOOK, with_values({path: value}))


def test_an_old_cluster_is_refused(render: Renderer) -> None:
    with pytest.raises(Refused, match=r"requires kubeVersion: >=1\.29"):
        render.text(WEBHOOK, {}, "--kube-version", "1.28.0")


def test_each_argument_of_the_deployment_is_a_flag_of_the_command(render: Renderer) -> None:
    assert isinstance(cli, LazyGroup)
    command = cli.get_command(cli.make_context("injector", ["version"], resilient_parsing=True), "webhook")
    assert command is not None
    flags = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    for values in CI.values():
        (container, *_) = render.one("Deployment", WEBHOOK, values)["spec"]["template"]["spec"]["containers"]
        assert container["args"][0] == "webhook"
        assert {argument.partition("=")[0] for argument in container["args"][1:]} <= flags


def test_the_pods_are_restricted_and_optional_objects_are_off(render: Renderer) -> None:
    objects = render.objects(WEBHOOK)
    (deployment,) = [each for each in objects if each["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
    assert all(container["securityContext"] == RESTRICTED for container in pod["containers"])
    kinds = {each["kind"] for each in objects}
    assert not kinds & {"PodDisruptionBudget", "NetworkPolicy", "ServiceMonitor", "PrometheusRule", "Certificate"}


def test_without_self_signed_certificates_no_right_and_no_token_is_given(render: Renderer) -> None:
    objects = render.objects(WEBHOOK, CI["cert-manager"])
    assert not [each for each in objects if "Role" in each["kind"]]
    (deployment,) = [each for each in objects if each["kind"] == "Deployment"]
    assert deployment["spec"]["template"]["spec"]["automountServiceAccountToken"] is False


def test_rights_are_held_to_names(render: Renderer) -> None:
    rules = [rule for kind in ("Role", "ClusterRole") for rule in render.one(kind, WEBHOOK)["rules"]]
    assert [rule["verbs"] for rule in rules] == [["get", "update", "patch", "create"], ["get", "patch"]]
    assert all(len(rule["resourceNames"]) == 1 for rule in rules)


@pytest.mark.parametrize(("version", "flag"), [("1.34.0", "--no-env-file-key-ref"), ("1.35.0", "--env-file-key-ref")])
def test_variables_from_files_are_used_where_the_cluster_has_them(version: str, flag: str, render: Renderer) -> None:
    deployment = render.one("Deployment", WEBHOOK, {}, "--kube-version", version)
    assert flag in deployment["spec"]["template"]["spec"]["containers"][0]["args"]


def test_an_upgrade_does_not_touch_what_the_webhook_writes(render: Renderer) -> None:
    assert "data" not in render.one("Secret", WEBHOOK)
    configuration = render.one("MutatingWebhookConfiguration", WEBHOOK)
    assert all("caBundle" not in each["clientConfig"] for each in configuration["webhooks"])
