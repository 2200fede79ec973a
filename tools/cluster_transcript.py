"""
Records docs/kubernetes.md's transcripts: `E2E_COMMAND=".venv/bin/python -m tools.cluster_transcript" make e2e`.

Everything is run as it stands there, on the cluster of E2E_KUBECONFIG with our image E2E_IMAGE, and its output is put
between the page's marks. What a reader cannot run, such as changing a value in the test's store, is told in words.
"""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # its cluster and its store are those of the tests

from e2e import manifests  # noqa: E402
from e2e.cluster import Cluster, Refused, run, until  # noqa: E402
from e2e.conftest import Store  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = ROOT / "docs" / "kubernetes.md"
NAMESPACE = "shop"
POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: shop
  labels: {config-injector.io/inject: enabled}
  annotations:
    config-injector.io/templates: shop-templates
    config-injector.io/refresh: 1s
    config-injector.io/notify: signal:HUP:process=python3
    config-injector.io/share-process-namespace: "true"
    config-injector.io/pass-env: AWS_ENDPOINT_URL,AWS_REGION,AWS_ACCESS_KEY_ID,AWS_SECRET_ACCESS_KEY
spec:
  containers:
    - name: app
      image: IMAGE
      command: [python3, -u, -c, PROGRAM]
      env: ENVIRONMENT
"""
PROGRAM = (
    "import signal, time; show = lambda *_: print(open('/config/app.json').read());"
    " signal.signal(signal.SIGHUP, show); show()\nwhile True: time.sleep(1)"
)
TEMPLATE = '{"password": "AWSPARAMSTR:///shop/db"}'
CHANGED = '{"password": "AWSPARAMSTR:///shop/db", "pool": 5}'
STATUS = "kubectl exec shop -c injector -- injector status --control /tmp/injector.sock"
READ = "kubectl logs shop -c app --tail=1"


class Transcript:
    """Blocks of what was typed and what came."""

    def __init__(self, cluster: Cluster, directory: str) -> None:
        self._environment = {"KUBECONFIG": cluster.kubeconfig}
        self.directory = directory
        self.blocks: dict[str, list[str]] = {}
        self._lines: list[str] = []

    def block(self, name: str) -> None:
        """What follows is the block *name* of the page."""
        self._lines = self.blocks.setdefault(name, [])

    def say(self, text: str) -> None:
        self._lines.append(f"# {text}")

    def show(self, command: str, *, as_typed: str = "", keep: str = "") -> str:
        """Runs *command*; *keep* is a pattern of the lines that are shown, all without it."""
        typed = command.replace("kubectl ", f"kubectl -n {NAMESPACE} ", 1)
        try:
            text = run("bash", "-c", f"cd {self.directory} && {typed} 2>&1", seconds=300, **self._environment)
        except Refused as error:
            text = str(error).partition(": ")[2].partition(": ")[2] + "\n"
        self._lines += [f"$ {as_typed or command}", *(line for line in text.splitlines() if re.search(keep, line))]
        return text


def elapsed(look: Callable[[], object], what: str) -> str:
    began = time.monotonic()
    until(look, what=what)
    return f"{time.monotonic() - began:.0f} s later"


def record(cluster: Cluster, image: str, transcript: Transcript) -> None:
    own = cluster.within(NAMESPACE)
    own.apply(*manifests.store(image))
    own.kubectl("rollout", "status", "deployment/store", "--timeout=90s")
    store = Store(own)
    name, _, tag = image.rpartition(":")

    transcript.block("injection")
    chart = (
        f"helm upgrade --install injector {ROOT / 'charts' / 'injector'} -n injector-system --create-namespace --wait"
    )
    values = f"--set image.repository={name} --set image.tag={tag}"
    transcript.show(f"{chart} {values}", as_typed=f"{chart.replace(str(ROOT) + '/', '')} {values}", keep="^STATUS")
    transcript.show("kubectl create configmap shop-templates --from-file=app.json")
    until(lambda: own.kubectl("apply", "--dry-run=server", "-f", f"{transcript.directory}/shop.yaml"), what="admission")
    transcript.show("kubectl apply -f shop.yaml")
    transcript.show("kubectl wait pod/shop --for=condition=Ready --timeout=90s")
    transcript.show("kubectl get pod shop")
    transcript.show(
        "kubectl get pod shop -o 'jsonpath={.spec.initContainers[*].name} {.spec.initContainers[*].restartPolicy}'"
    )
    transcript.say("the first thing that it does is to print the file")
    transcript.show("kubectl logs shop -c app")

    transcript.block("rotation")
    store.put(shop__db="rotated")
    later = elapsed(lambda: "rotated" in own.logs("shop", "app"), "the new value")
    transcript.say(f"/shop/db is set to `rotated` in the store; {later} the application has been told, and printed:")
    transcript.show(READ)
    transcript.say("the same for a template with another text and the same values")
    apply = "kubectl create configmap shop-templates --from-file=app.json=pool.json --dry-run=client -o yaml"
    transcript.show(
        f"{apply} | kubectl -n {NAMESPACE} apply -f -", as_typed=f"{apply} | kubectl apply -f -", keep="^configmap"
    )
    later = elapsed(lambda: "pool" in own.logs("shop", "app"), "the new template")
    transcript.say(later)
    transcript.show(READ)

    transcript.block("store")
    transcript.show("kubectl scale deployment/store --replicas=0")
    elapsed(lambda: "stale" in own.sh("shop", "injector", *STATUS.split(" -- ")[1].split()), "staleness")
    transcript.show(STATUS)
    transcript.show("kubectl get pod shop")
    transcript.show("kubectl scale deployment/store --replicas=1")
    own.kubectl("rollout", "status", "deployment/store", "--timeout=90s")
    later = elapsed(lambda: "stale" not in own.sh("shop", "injector", *STATUS.split(" -- ")[1].split()), "recovery")
    transcript.say(f"{later}, counted from its readiness")
    transcript.show(STATUS)

    transcript.block("sidecar")
    kill = "import os, pathlib; [os.kill(int(p.parent.name), 9) for p in pathlib.Path('/proc').glob('[0-9]*/comm')"
    kill += " if p.read_text() == 'injector\\n']"
    own.sh("shop", "app", "python3", "-c", kill)
    until(
        lambda: (
            "1" in own.kubectl("get", "pod", "shop", "-o", "jsonpath={.status.initContainerStatuses[0].restartCount}")
        )
    )
    own.ready("shop")
    transcript.say("the sidecar's process is killed (SIGKILL) from the other container")
    transcript.show(
        "kubectl get pod shop -o 'jsonpath={.status.initContainerStatuses[0].restartCount} {.status.containerStatuses[0].restartCount}'"
    )
    transcript.show(READ)

    transcript.block("webhook")
    transcript.show("kubectl -n injector-system scale deployment/injector --replicas=0")
    until(lambda: not cluster.within("injector-system").items("pods"), what="the webhook's end")
    transcript.show("kubectl delete pod shop --grace-period=1")
    transcript.show("kubectl apply -f shop.yaml")
    transcript.show("kubectl -n injector-system scale deployment/injector --replicas=2")
    cluster.within("injector-system").kubectl("rollout", "status", "deployment/injector", "--timeout=120s")
    until(
        lambda: own.kubectl("apply", "--dry-run=server", "-f", f"{transcript.directory}/shop.yaml"), what="its return"
    )
    transcript.show("kubectl apply -f shop.yaml")
    transcript.show("kubectl wait pod/shop --for=condition=Ready --timeout=90s")


def put(page: str, blocks: dict[str, list[str]]) -> str:
    """*page* with each block between its marks."""
    for name, lines in blocks.items():
        mark = f"<!-- transcript: {name} -->"
        if mark not in page:
            raise SystemExit(f"{PAGE} has no {mark}")
        text = "\n".join(lines)
        pattern = re.escape(mark) + r"\n```console\n.*?```"
        page = re.sub(
            pattern, lambda _, text=text, mark=mark: f"{mark}\n```console\n{text}\n```", page, flags=re.DOTALL
        )
    return page


def main() -> int:
    """Writes the page."""
    cluster, image = Cluster(os.environ["E2E_KUBECONFIG"]), os.environ["E2E_IMAGE"]
    cluster.kubectl("create", "namespace", NAMESPACE)
    own = cluster.within(NAMESPACE)
    until(lambda: own.get("serviceaccount", "default"), what="the namespace's service account")
    environment = (
        "["
        + ", ".join(f"{{name: {one['name']}, value: '{one['value']}'}}" for one in manifests.STORE_ENVIRONMENT)
        + "]"
    )
    pod = POD.replace("IMAGE", image).replace("PROGRAM", json.dumps(PROGRAM)).replace("ENVIRONMENT", environment)
    with tempfile.TemporaryDirectory() as directory:
        transcript = Transcript(cluster, directory)
        for name, text in (("shop.yaml", pod), ("app.json", TEMPLATE), ("pool.json", CHANGED)):
            Path(directory, name).write_text(text)
        try:
            record(cluster, image, transcript)
        finally:
            for name, lines in transcript.blocks.items():
                print(f"== {name}", *lines, sep="\n")
            cluster.kubectl("delete", "namespace", NAMESPACE, "--wait=false")
    PAGE.write_text(put(PAGE.read_text(), transcript.blocks))
    return 0


if __name__ == "__main__":
    sys.exit(main())
