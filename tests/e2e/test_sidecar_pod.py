"""`injector run` and `injector init` in pods written by hand, on a real node: no chart, no webhook."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Callable
from typing import Any

import pytest

from e2e import manifests
from e2e.cluster import Cluster, Refused, container_status, until
from e2e.conftest import Store

# The first thing that the application does is to read the file; then it tells of each change.
FIRST_READ = """
first = open("/config/app.json").read()
print("first:", first, flush=True)
import time
while True:
    time.sleep(0.5)
"""
TEMPLATE = '{"password": "AWSPARAMSTR:///shop/db"}'


def deploy(
    namespace: Cluster, image: str, *arguments: str, template: str = TEMPLATE, program: str = FIRST_READ, **extra: Any
) -> None:
    spec = manifests.pod(
        "templates",
        [manifests.app(image, program)],
        init=[manifests.sidecar(image, "--refresh", "1s", *arguments)],
        **extra,
    )
    namespace.apply(manifests.config_map("templates", app__json=template), manifests.workload("shop", spec))


def password(text: str) -> str:
    return json.loads(text)["password"]


def test_the_application_reads_the_secret_at_its_first_instruction(
    namespace: Cluster, store: Store, image: str
) -> None:
    store.put(shop__db='s3cret "quoted"')
    deploy(namespace, image)
    pod = namespace.pod_of(app="shop")
    namespace.ready(pod)
    first = namespace.logs(pod, "app").partition("first: ")[2]
    assert password(first) == 's3cret "quoted"'


def test_a_changed_template_and_a_changed_value_reach_the_application(
    namespace: Cluster, store: Store, image: str, reads: Callable[[str, str], str]
) -> None:
    store.put(shop__db="one")
    deploy(namespace, image)
    pod = namespace.pod_of(app="shop")
    namespace.ready(pod)
    store.put(shop__db="two")
    until(lambda: password(reads(pod, "/config/app.json")) == "two", what="the new value")
    namespace.apply(
        manifests.config_map("templates", app__json='{"password": "AWSPARAMSTR:///shop/db", "debug": true}')
    )
    until(lambda: json.loads(reads(pod, "/config/app.json")).get("debug"), what="the new template")
    assert namespace.get("pod", pod)["status"]["containerStatuses"][0]["restartCount"] == 0


def test_the_application_is_told_by_a_signal(namespace: Cluster, store: Store, image: str) -> None:
    program = """
import signal, time
signal.signal(signal.SIGHUP, lambda *_: print("told:", open("/config/app.json").read(), flush=True))
print("ready", flush=True)
while True:
    time.sleep(0.2)
"""
    store.put(shop__db="one")
    deploy(namespace, image, "--notify", "signal:HUP:process=python3", program=program, shareProcessNamespace=True)
    pod = namespace.pod_of(app="shop")
    namespace.ready(pod)
    until(lambda: "ready" in namespace.logs(pod, "app"), what="the handler")
    assert "told" not in namespace.logs(pod, "app")
    store.put(shop__db="two")
    told = until(lambda: namespace.logs(pod, "app").partition("told: ")[2], what="the signal")
    assert password(told.splitlines()[0]) == "two"


def test_the_application_is_told_of_changed_bytes_and_of_nothing_else(
    namespace: Cluster, store: Store, image: str, reads: Callable[[str, str], str]
) -> None:
    """`kubectl apply` of a template with another text: both actions are carried out, though no value has changed."""
    program = """
import signal, time
signal.signal(signal.SIGHUP, lambda *_: print("told:", open("/config/app.json").read(), flush=True))
print("ready", flush=True)
while True:
    time.sleep(0.2)
"""
    store.put(shop__db="one")
    note = "open('/run/injector/told', 'a').write('done')"
    actions = ("--notify", "signal:HUP:process=python3", "--notify", f"exec:python3 -c {shlex.quote(note)}")
    deploy(namespace, image, *actions, program=program, shareProcessNamespace=True)
    pod = namespace.pod_of(app="shop")
    namespace.ready(pod)
    until(lambda: "ready" in namespace.logs(pod, "app"), what="the handler")

    def told() -> list[str]:
        return [line for line in namespace.logs(pod, "app").splitlines() if line.startswith("told: ")]

    def commands() -> int:
        with contextlib.suppress(Refused):  # before the first
            return namespace.sh(pod, "injector", "python3", "-c", "print(open('/run/injector/told').read())").count(
                "done"
            )
        return 0

    texts = ['{"password": "AWSPARAMSTR:///shop/db", "debug": true}', '{"password": "one", "debug": true}']
    namespace.apply(manifests.config_map("templates", app__json=texts[0]))
    until(lambda: told() and commands(), what="both actions")
    # Another template, of which the same bytes come: there is nothing to tell.
    namespace.apply(manifests.config_map("templates", app__json=texts[1]))
    mounted = "print(open('/templates/app.json').read(), end='')"
    until(lambda: namespace.sh(pod, "injector", "python3", "-c", mounted) == texts[1], what="the kubelet's update")
    namespace.apply(manifests.config_map("templates", app__json="{}"))
    until(lambda: len(told()) == 2 and commands() == 2, what="both actions, for the last")
    assert [line.removeprefix("told: ") for line in told()] == [texts[1], "{}"]


def test_a_job_with_a_native_sidecar_completes(namespace: Cluster, store: Store, image: str) -> None:
    store.put(shop__db="one")
    job = manifests.app(image, 'assert "one" in open("/config/app.json").read()')
    spec = manifests.pod("templates", [job], init=[manifests.sidecar(image)], restartPolicy="Never")
    spec["terminationGracePeriodSeconds"] = 30  # an end by itself, under load too
    namespace.apply(
        manifests.config_map("templates", app__json=TEMPLATE),
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "job"},
            "spec": {"backoffLimit": 0, "template": {"metadata": {"labels": {"app": "job"}}, "spec": spec}},
        },
    )
    namespace.kubectl("wait", "--for=condition=Complete", "job/job", "--timeout=90s")
    pod = namespace.get("pod", namespace.items("pods", "-l", "app=job")[0]["metadata"]["name"])
    assert container_status(pod, "injector")["state"]["terminated"]["exitCode"] == 0


def test_a_pod_whose_store_is_down_waits_and_says_why(namespace: Cluster, store: Store, image: str) -> None:
    store.stop()
    deploy(namespace, image)
    pod = namespace.pod_of(app="shop")

    def told() -> bool:
        said = [event["message"] for event in namespace.events(pod) if event["reason"] == "Unhealthy"]
        return any("app.json" in message and "http://store:8000 cannot be reached" in message for message in said)

    until(told, what="the kubelet's Event")
    waiting = namespace.get("pod", pod)
    assert container_status(waiting, "app")["state"]["waiting"]["reason"] == "PodInitializing"
    assert container_status(waiting, "injector")["restartCount"] == 0
    store.start()
    store.put(shop__db="late")
    namespace.ready(pod)
    assert "first:" in namespace.logs(pod, "app")


def test_a_store_that_goes_away_leaves_the_last_good_file_marked_stale(
    namespace: Cluster, store: Store, image: str, reads: Callable[[str, str], str]
) -> None:
    store.put(shop__db="good")
    deploy(namespace, image)
    pod = namespace.pod_of(app="shop")
    namespace.ready(pod)
    store.stop()

    def state() -> str:
        program = (
            "import json, urllib.request;"
            "print(json.load(urllib.request.urlopen('http://127.0.0.1:9464/status'))['files'][0]['state'])"
        )
        return namespace.sh(pod, "app", "python3", "-c", program).strip()

    until(lambda: state() == "stale", what="the file to be stale")
    assert password(reads(pod, "/config/app.json")) == "good"
    assert container_status(namespace.get("pod", pod), "injector")["ready"]
    store.start()
    store.put(shop__db="better")
    until(lambda: state() == "ready" and password(reads(pod, "/config/app.json")) == "better", what="recovery")


# SIGKILL from inside is not for process 1; the kernel's own, when memory runs out, ends whatever takes most.
@pytest.mark.parametrize(
    ("program", "restarts"),
    [("import os, signal; os.kill(1, signal.SIGTERM)", 1), ("x = b'x' * 400_000_000", 0)],
    ids=["the sidecar is ended", "a neighbour of the sidecar takes all the memory"],
)
def test_the_files_are_kept_fresh_whatever_ends(
    namespace: Cluster,
    store: Store,
    image: str,
    reads: Callable[[str, str], str],
    program: str,
    restarts: int,
) -> None:
    store.put(shop__db="one")
    deploy(namespace, image)
    pod = namespace.pod_of(app="shop")
    namespace.ready(pod)
    with contextlib.suppress(Refused):  # the command may go down with what it kills
        namespace.sh(pod, "injector", "python3", "-c", program)
    store.put(shop__db="two")
    until(lambda: password(reads(pod, "/config/app.json")) == "two", what="the sidecar's return")
    found = namespace.get("pod", pod)
    assert container_status(found, "injector")["restartCount"] == restarts
    assert container_status(found, "app")["restartCount"] == 0


def test_init_container_and_sidecar_of_before_native_sidecars(namespace: Cluster, store: Store, image: str) -> None:
    store.put(shop__db="one")
    init = manifests.sidecar(image)
    for name in ("restartPolicy", "startupProbe", "readinessProbe"):
        init.pop(name)
    init |= {"name": "init", "args": ["init", "/templates", "--output-dir", "/config"]}
    beside = manifests.sidecar(image, "--refresh", "1s")
    beside.pop("restartPolicy")
    spec = manifests.pod("templates", [manifests.app(image, FIRST_READ), beside], init=[init])
    namespace.apply(manifests.config_map("templates", app__json=TEMPLATE), manifests.workload("shop", spec))
    pod = namespace.pod_of(app="shop")
    namespace.ready(pod)
    assert password(namespace.logs(pod, "app").partition("first: ")[2]) == "one"
    store.put(shop__db="two")
    until(
        lambda: "two" in namespace.sh(pod, "app", "python3", "-c", "print(open('/config/app.json').read())"),
        what="the sidecar's refresh",
    )


def test_a_restricted_namespace_takes_the_pod(namespace: Cluster, store: Store, image: str) -> None:
    namespace.kubectl(
        "label", "namespace", namespace.namespace, "pod-security.kubernetes.io/enforce=restricted", "--overwrite"
    )
    store.put(shop__db="one")
    deploy(namespace, image)
    namespace.ready(namespace.pod_of(app="shop"))
