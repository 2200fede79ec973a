"""charts/injector-library, through the example that uses it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from charts.helm import LIBRARY, ROOT, Refused, Renderer, helm
from injector.settings.load import load
from tools.chart_readme import library_values

EXAMPLE = ROOT / "examples" / "charts" / "app"
# A value that differs from the default; (value, other values that it needs).
OTHERWISE: dict[str, Any] = {
    "image": "other:1",
    "imagePullPolicy": "Always",
    "templates": ["other"],
    "templatesPath": "/templates",
    "settings": {"timeout": "9s"},
    "mountPath": "/etc/app",
    "volumeSize": "1Mi",
    "volumeName": "files",
    "refresh": "9s",
    "onMissing": "empty",
    "onError": "fail",
    "maxStale": "9m",
    "timeout": "9s",
    "mode": "0640",
    "notify": ["http:http://127.0.0.1/"],
    "fileRoot": "/elsewhere",
    "extraArgs": ["--prune"],
    "handover": True,
    "probes": "http",
    "port": 9999,
    "runAsUser": 1000,
    "runAsGroup": 1000,
    "logLevel": "debug",
    "logFormat": "json",
    "scrape": (True, {"probes": "http"}),
    "env": [{"name": "A", "value": "b"}],
    "envFrom": [{"secretRef": {"name": "a"}}],
    "extraVolumeMounts": [],
    "resources": {},
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, render: Renderer) -> Path:
    """The example with the library in its charts/, as `helm dependency build` puts it there."""
    folder = tmp_path_factory.mktemp("app") / "app"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("charts", "Chart.lock"))
    chart = yaml.safe_load((folder / "Chart.yaml").read_text())
    chart["dependencies"][0]["repository"] = f"file://{LIBRARY}"
    (folder / "Chart.yaml").write_text(yaml.safe_dump(chart))
    helm("dependency", "update", folder, home=render.home)
    return folder


def pod(render: Renderer, app: Path, **values: Any) -> dict[str, Any]:
    return render.one("Deployment", app, {"injector": values})["spec"]["template"]


def test_lint_has_nothing_to_say(app: Path, render: Renderer) -> None:
    helm("lint", "--strict", app, home=render.home)
    helm("lint", "--strict", LIBRARY, home=render.home)


def test_the_library_that_the_example_names_is_there() -> None:
    chart = yaml.safe_load((EXAMPLE / "Chart.yaml").read_text())
    (dependency,) = chart["dependencies"]
    found = yaml.safe_load((EXAMPLE / dependency["repository"].removeprefix("file://") / "Chart.yaml").read_text())
    assert (found["name"], found["version"]) == (dependency["name"], dependency["version"])


def test_the_application_waits_for_the_sidecar_and_reads_only(app: Path, render: Renderer) -> None:
    spec = pod(render, app)["spec"]
    (sidecar,) = spec["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["startupProbe"]["exec"]["command"] == ["injector", "health", "--startup"]
    assert {"name": "injector-output", "mountPath": "/config", "readOnly": True} in spec["containers"][0][
        "volumeMounts"
    ]
    (output,) = [volume for volume in spec["volumes"] if volume["name"] == "injector-output"]
    assert output["emptyDir"]["medium"] == "Memory"


def test_every_mount_has_its_volume(app: Path, render: Renderer) -> None:
    spec = pod(render, app, settings={"timeout": "9s"})["spec"]
    volumes = {volume["name"] for volume in spec["volumes"]}
    for container in (*spec["initContainers"], *spec["containers"]):
        assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def test_the_table_of_values_is_complete() -> None:
    assert set(OTHERWISE) == {value.path for value in library_values()}


@pytest.mark.parametrize("name", OTHERWISE)
def test_each_value_changes_the_pod(name: str, app: Path, render: Renderer) -> None:
    given = OTHERWISE[name]
    value, needed = given if isinstance(given, tuple) else (given, {})
    assert pod(render, app, **{**needed, name: value}) != pod(render, app, **needed)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"refrehs": "1m"}, 'has no "refrehs"'),
        ({"image": ""}, "image is needed"),
        ({"templates": []}, "names no templates"),
        ({"mode": 420}, "mode is a text"),
        ({"probes": "tcp"}, "not exec or http"),
        ({"scrape": True}, "needs probes: http"),
        ({"settings": {"kind": "Injector"}}, "without apiVersion and kind"),
    ],
)
def test_a_wrong_value_is_refused_with_its_name(
    values: dict[str, Any], message: str, app: Path, render: Renderer
) -> None:
    with pytest.raises(Refused, match=message):
        pod(render, app, **values)


def test_the_settings_are_a_settings_file(app: Path, render: Renderer, tmp_path: Path) -> None:
    template = pod(render, app, settings={"timeout": "9s", "files": [{"match": "*.env", "mode": "0640"}]})
    file = tmp_path / "injector.yaml"
    file.write_text(template["metadata"]["annotations"]["config-injector.io/generated-settings"])
    settings = load(path=file, environ={}, flags={})
    assert settings.timeout == 9
    assert settings.files[0].mode == 0o640


def test_a_variable_of_the_kubelet_in_a_notification_stays_text(app: Path, render: Renderer) -> None:
    (sidecar,) = pod(render, app, notify=["exec:echo $(HOME)"])["spec"]["initContainers"]
    assert "--notify=exec:echo $$(HOME)" in sidecar["args"]


def test_an_init_container_renders_once(app: Path, render: Renderer, tmp_path: Path) -> None:
    folder = tmp_path / "app"
    shutil.copytree(app, folder)
    file = folder / "templates" / "app.yaml"
    file.write_text(file.read_text().replace("injector.nativeSidecar", "injector.initContainer"))
    (container,) = pod(render, folder, refresh="")["spec"]["initContainers"]
    assert container["args"][0] == "init"
    assert "restartPolicy" not in container
    with pytest.raises(Refused, match="an init container has none"):
        pod(render, folder, refresh="1m")


def test_older_clusters_get_an_init_container_that_hands_over_to_a_sidecar(
    app: Path, render: Renderer, tmp_path: Path
) -> None:
    folder = tmp_path / "app"
    shutil.copytree(app, folder)
    file = folder / "templates" / "app.yaml"
    text = file.read_text().replace("injector.nativeSidecar", "injector.initContainer")
    beside = '      containers:\n        {{- include "injector.sidecar" . | nindent 8 }}\n'
    file.write_text(text.replace("      containers:\n", beside))
    with pytest.raises(Refused, match="handover: true"):
        pod(render, folder)
    spec = pod(render, folder, handover=True, refresh="1m", timeout="9s")["spec"]
    (init,) = spec["initContainers"]
    sidecar, application = spec["containers"]
    assert (init["args"][0], sidecar["args"][0]) == ("init", "run")
    assert set(init["args"][1:]) | {"--refresh=1m"} == set(sidecar["args"][1:])
    assert "restartPolicy" not in sidecar
    assert sidecar["startupProbe"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    assert volumes["injector-handover"]["emptyDir"]["medium"] == "Memory"
    for container in (init, sidecar):
        assert {"name": "INJECTOR_HANDOVER", "value": "/injector/handover"} in container["env"]
        assert {"name": "injector-handover", "mountPath": "/injector/handover"} in container["volumeMounts"]
        assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes)
    assert "injector-handover" not in {mount["name"] for mount in application["volumeMounts"]}
