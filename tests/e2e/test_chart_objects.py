"""
The objects of charts/injector that are of other projects' kinds, as the API server judges them by those projects' own
definitions (tools/fetch_crds.py). Only the definitions are there, not the controllers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from charts.helm import WEBHOOK

from e2e.cluster import Cluster, Refused, condition, until
from tools import fetch_crds

FULL: dict[str, Any] = yaml.safe_load((WEBHOOK / "ci" / "full-values.yaml").read_text())
OPTIONAL = {"PodDisruptionBudget", "NetworkPolicy", "ServiceMonitor", "PrometheusRule", "ConfigMap"}
VALUES: dict[str, tuple[dict[str, Any], set[str]]] = {
    "self-signed": ({}, OPTIONAL | {"Secret", "Role", "ClusterRole"}),
    "cert-manager": ({"certs": {"mode": "cert-manager"}}, OPTIONAL | {"Certificate", "Issuer"}),
    "cert-manager, an issuer of one's own": (
        {
            "certs": {
                "mode": "cert-manager",
                "certManager": {
                    "issuerRef": {"name": "a", "kind": "ClusterIssuer", "group": "cert-manager.io"},
                    "duration": "24h",
                    "renewBefore": "8h",
                },
            }
        },
        OPTIONAL | {"Certificate"},
    ),
}


@pytest.fixture(scope="module")
def kinds(cluster: Cluster) -> Iterator[Cluster]:
    """The cluster with the other projects' kinds; those that it did not have are gone afterwards."""
    try:
        files = fetch_crds.fetch()
    except fetch_crds.FetchError as error:
        pytest.skip(f"the kinds of other projects are not to be had: {error}; python -m tools.fetch_crds")
    definitions = [yaml.safe_load(file.read_text()) for file in files]
    there = {each["metadata"]["name"] for each in cluster.items("customresourcedefinitions")}
    ours = [each for each in definitions if each["metadata"]["name"] not in there]
    for definition in ours:  # cert-manager's are templates of Helm in their labels
        definition["metadata"] = {"name": definition["metadata"]["name"]}
        cluster.kubectl("create", "-f", "-", stdin=json.dumps(definition))
    for definition in definitions:
        name = definition["metadata"]["name"]
        until(
            lambda name=name: condition(cluster.get("customresourcedefinition", name), "Established"),  # type: ignore[misc]
            what=f"{name} to be served",
        )
    yield cluster
    for definition in ours:
        cluster.kubectl("delete", "customresourcedefinition", definition["metadata"]["name"], "--wait=false")


def rendered(own: Cluster, folder: Path, webhook: dict[str, Any]) -> list[dict[str, Any]]:
    file = folder / "values.yaml"
    file.write_text(json.dumps({**FULL, "webhook": {**FULL["webhook"], **webhook}}))
    text = own.helm("template", "it", str(WEBHOOK), "-f", str(file))
    return [each for each in yaml.safe_load_all(text) if each]


def judged(own: Cluster, objects: list[dict[str, Any]]) -> str:
    """What the API server says to *objects* in the test's namespace; a field that it does not know is refused."""
    return own.kubectl(
        "apply", "--dry-run=server", "--validate=strict", "-f", "-", stdin="\n---\n".join(map(json.dumps, objects))
    )


@pytest.mark.parametrize("case", VALUES)
def test_every_object_is_accepted_with_everything_on(
    case: str, kinds: Cluster, namespace: Cluster, tmp_path: Path
) -> None:
    webhook, expected = VALUES[case]
    objects = rendered(namespace, tmp_path, webhook)
    assert expected <= {each["kind"] for each in objects}
    assert judged(namespace, objects).count("(server dry run)") == len(objects)


@pytest.mark.parametrize("kind", ["ServiceMonitor", "PrometheusRule", "Certificate", "Issuer"])
def test_a_field_that_is_misspelt_would_be_refused(
    kind: str, kinds: Cluster, namespace: Cluster, tmp_path: Path
) -> None:
    """So that the test above can fail at all."""
    (found,) = [each for each in rendered(namespace, tmp_path, VALUES["cert-manager"][0]) if each["kind"] == kind]
    field = next(iter(found["spec"]))
    found["spec"][f"{field}x"] = found["spec"][field]
    with pytest.raises(Refused, match=f"{field}x"):
        judged(namespace, [found])
