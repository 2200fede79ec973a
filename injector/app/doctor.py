"""`injector doctor`: asks a cluster, or looks around in this pod, and says what is wrong and what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from injector.app.findings import LABEL, Finding, Verdict, is_injected, named, of_pod, sidecars, wants_injection
from injector.app.pod_settings import settings_of
from injector.app.subpaths import subpath_mounts
from injector.errors import ClusterError
from injector.kube.api import CREDENTIALS
from injector.settings.schema import DOMAIN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from injector.app.pod_settings import Seen
    from injector.kube.access import Api
    from injector.settings.schema import Settings

_NATIVE_SIDECARS: Final = (1, 29)
_PAGE: Final = 500
_MOST_PODS: Final = 20  # told one by one
_FORBIDDEN: Final = frozenset({401, 403})
_NOT_FOUND: Final = 404
_EVENTS: Final = (("create", "events.k8s.io", "events"), ("patch", "events.k8s.io", "events"))


def look_at_pod(api: Api, namespace: str, name: str) -> list[Finding]:
    """
    All about one pod: its document, the ConfigMaps that it names, the rights that its settings need.

    Raises ClusterError when the pod cannot be read.
    """
    try:
        pod = api.call("GET", f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(name, safe='')}")
    except ClusterError as error:
        if error.status != _NOT_FOUND:
            raise
        message = f"there is no pod {name} in namespace {namespace}"
        raise ClusterError(message, status=_NOT_FOUND, hint="correct --pod NAMESPACE/NAME") from None
    return [*of_pod(pod), *_config_maps(api, pod), *_rights_of(api, pod)]


def look_at_cluster(api: Api) -> list[Finding]:
    """The version, the webhook and whether it answers, and pods that asked for the sidecar in vain."""
    return [_version(api), *_webhooks(api), *_pods(api)]


def look_around(settings: Settings, inputs: Sequence[str], environment: Mapping[str, str]) -> list[Finding]:
    """What this container can see of itself: mounts, identity, and the rights that *settings* need."""
    found = [
        Finding(
            *("subpath", Verdict.WARNING, str(path), "is a subPath mount: it is never updated"),
            hint="mount the volume's directory, without subPath",
        )
        for path in subpath_mounts(inputs)
    ]
    if wanted := _needed(settings):
        found += _own_rights(wanted, environment)
    return found


def _config_maps(api: Api, pod: Mapping[str, Any]) -> Iterator[Finding]:
    namespace = pod["metadata"]["namespace"]
    for volume in pod.get("spec", {}).get("volumes", []):
        source = volume.get("configMap")
        if source is None or source.get("optional"):
            continue
        try:
            api.call("GET", f"/api/v1/namespaces/{namespace}/configmaps/{quote(source['name'], safe='')}")
        except ClusterError as error:
            if error.status == _NOT_FOUND:
                message = f"ConfigMap {source['name']} does not exist: the pod cannot start"
                yield Finding("configmap", Verdict.PROBLEM, named(pod), message, hint="create it, or correct its name")


def _rights_of(api: Api, pod: Mapping[str, Any]) -> Iterator[Finding]:
    namespace = pod["metadata"]["namespace"]
    account = pod["spec"].get("serviceAccountName", "default")
    wanted: dict[tuple[str, str, str], None] = {}
    for container in sidecars(pod):
        seen = settings_of(api, pod, container)
        yield from _of_settings(pod, container, seen)
        needed = _needed(seen.settings) if seen.settings is not None else []
        wanted |= dict.fromkeys(needed)
        mounted = {mount.get("mountPath") for mount in container.get("volumeMounts") or ()}
        if needed and str(CREDENTIALS) not in mounted:
            whose = f"{named(pod)}, container {container.get('name')}"
            message = "has no token of its service account, and its settings need rights"
            hint = f"leave automountServiceAccountToken away, or mount a token at {CREDENTIALS}"
            yield Finding("rights", Verdict.PROBLEM, whose, message, hint=hint)
    subject = f"service account {namespace}/{account}"
    for verb, group, resource in wanted:
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": f"system:serviceaccount:{namespace}:{account}",
                "resourceAttributes": _attributes(namespace, verb, group, resource),
            },
        }
        yield _right(api, "subjectaccessreviews", review, subject)


def _of_settings(pod: Mapping[str, Any], container: Mapping[str, Any], seen: Seen) -> Iterator[Finding]:
    name = container.get("name")
    subject = f"{named(pod)}, container {name}"
    for message in seen.problems:
        yield Finding("settings", Verdict.PROBLEM, subject, message, hint="correct it: injector check --config FILE")
    for place in seen.unseen:
        metadata = pod["metadata"]
        hint = f"ask it inside: kubectl -n {metadata['namespace']} exec {metadata['name']} -c {name} -- injector doctor"
        message = f"{place}: not seen from here, and what rights it needs is not known"
        yield Finding("settings", Verdict.WARNING, subject, message, hint=hint)


def _needed(settings: Settings) -> list[tuple[str, str, str]]:
    """Verb, API group and resource of each right that a sidecar with *settings* needs."""
    return [*(_EVENTS if settings.events else ()), *_rollouts(settings)]


def _own_rights(wanted: Sequence[tuple[str, str, str]], environment: Mapping[str, str]) -> Iterator[Finding]:
    from injector.kube.access import cluster_api  # late: start-up
    from injector.kube.identity import own_pod

    try:
        api = cluster_api(environment)
        namespace = own_pod(environment).namespace
    except ClusterError as error:
        yield Finding("rights", Verdict.PROBLEM, "this pod", error.message, hint=error.hint)
        return
    for verb, group, resource in wanted:
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": _attributes(namespace, verb, group, resource)},
        }
        yield _right(api, "selfsubjectaccessreviews", review, "this pod's service account")


def _attributes(namespace: str, verb: str, group: str, resource: str) -> dict[str, str]:
    return {"namespace": namespace, "verb": verb, "group": group, "resource": resource}


def _right(api: Api, reviews: str, review: Mapping[str, Any], subject: str) -> Finding:
    wanted = review["spec"]["resourceAttributes"]
    right = f"{wanted['verb']} {wanted['resource']}.{wanted['group']} in {wanted['namespace']}"
    try:
        answer = api.call("POST", f"/apis/authorization.k8s.io/v1/{reviews}", review)
    except ClusterError as error:
        return Finding("rights", Verdict.WARNING, subject, f"cannot be asked for {right}: {error.message}")
    if answer.get("status", {}).get("allowed"):
        return Finding("rights", Verdict.OK, subject, f"may {right}")
    return Finding("rights", Verdict.PROBLEM, subject, f"may not {right}", hint="give it a Role with that verb")


def _rollouts(settings: Settings) -> Iterator[tuple[str, str, str]]:
    from injector.settings.actions import RolloutAction  # late: start-up

    for action in settings.notify:
        if isinstance(action, RolloutAction):
            yield from ((verb, "apps", f"{action.workload}s") for verb in ("get", "patch"))


def _version(api: Api) -> Finding:
    found = api.call("GET", "/version")
    text = str(found.get("gitVersion", "?"))
    numbers = tuple(int("".join(filter(str.isdigit, str(found.get(part, "")))) or 0) for part in ("major", "minor"))
    if numbers >= _NATIVE_SIDECARS:
        return Finding("version", Verdict.OK, "Kubernetes", f"{text} has native sidecars")
    hint = "use --mode sidecar (agent.mode in the chart)"
    return Finding("version", Verdict.PROBLEM, "Kubernetes", f"{text} has no native sidecars", hint=hint)


def _webhooks(api: Api) -> Iterator[Finding]:
    path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations"
    found = [
        (configuration["metadata"]["name"], webhook)
        for configuration in api.call("GET", path).get("items", [])
        for webhook in configuration.get("webhooks", [])
        if webhook["name"].endswith(f".{DOMAIN}")
    ]
    if not found:
        hint = "install charts/injector, or add the sidecar by injector-library"
        yield Finding("webhook", Verdict.WARNING, "cluster", "no webhook of injector is registered", hint=hint)
        return
    for configuration, webhook in found:
        yield from _webhook(api, f"webhook {configuration}/{webhook['name']}", webhook)
    yield _reachable(api)


def _webhook(api: Api, subject: str, webhook: Mapping[str, Any]) -> Iterator[Finding]:
    client = webhook.get("clientConfig", {})
    if not client.get("caBundle"):
        hint = "with self-signed certificates it is the webhook that writes it: see its log"
        yield Finding("webhook", Verdict.PROBLEM, subject, "has no caBundle: the API server cannot trust it", hint=hint)
    if webhook.get("failurePolicy") != "Fail":
        message = "has failurePolicy Ignore: pods start without their files when it is down"
        yield Finding("webhook", Verdict.WARNING, subject, message, hint="set webhook.failurePolicy to Fail")
    service = client.get("service")
    if service is not None:
        yield _endpoints(api, subject, service)


def _endpoints(api: Api, subject: str, service: Mapping[str, Any]) -> Finding:
    selector = quote(f"kubernetes.io/service-name={service['name']}", safe="")
    path = f"/apis/discovery.k8s.io/v1/namespaces/{service['namespace']}/endpointslices?labelSelector={selector}"
    slices = api.call("GET", path).get("items", [])
    ready = sum(
        1
        for one in slices
        for endpoint in one.get("endpoints") or []
        if endpoint.get("conditions", {}).get("ready") is not False
    )
    name = f"{service['namespace']}/{service['name']}"
    if ready:
        return Finding("webhook", Verdict.OK, subject, f"service {name} has {ready} ready endpoints")
    hint = f"see the pods behind it: kubectl -n {service['namespace']} get pods"
    return Finding("webhook", Verdict.PROBLEM, subject, f"service {name} has no ready endpoint", hint=hint)


def _reachable(api: Api) -> Finding:
    """The API server asks the webhook about a pod that is never made."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": "injector-doctor-",
            "labels": {LABEL: "enabled"},
            "annotations": {f"{DOMAIN}/template-doctor.txt": "nothing"},
        },
        "spec": {"containers": [{"name": "none", "image": "none"}]},
    }
    try:
        answer = api.call("POST", "/api/v1/namespaces/default/pods?dryRun=All", pod)
    except ClusterError as error:
        if error.status in _FORBIDDEN:
            message = "could not be tried: this needs the right to create pods in namespace default"
            return Finding("webhook", Verdict.WARNING, "dry run of a pod", message)
        hint = "the API server does not reach it: NetworkPolicy, firewall to the nodes, certificate"
        message = f"the webhook did not answer ({error.message})"
        return Finding("webhook", Verdict.PROBLEM, "dry run of a pod", message, hint=hint)
    if is_injected(answer):
        return Finding("webhook", Verdict.OK, "dry run of a pod", "the webhook answers, and adds the sidecar")
    hint = "look at the webhook's namespaceSelector and objectSelector"
    return Finding("webhook", Verdict.PROBLEM, "dry run of a pod", "the webhook was not asked", hint=hint)


def _pods(api: Api) -> Iterator[Finding]:
    injected = 0
    left_out: list[Mapping[str, Any]] = []
    for pod in _all_pods(api):
        if is_injected(pod):
            injected += 1
        elif wants_injection(pod):
            left_out.append(pod)
    yield Finding("injection", Verdict.OK, "cluster", f"{injected} pods have the sidecar")
    for pod in left_out[:_MOST_PODS]:
        yield next(of_pod(pod))
    if len(left_out) > _MOST_PODS:
        message = f"{len(left_out) - _MOST_PODS} more pods ask for the sidecar and do not have it"
        yield Finding("injection", Verdict.PROBLEM, "cluster", message)


def _all_pods(api: Api) -> Iterator[Mapping[str, Any]]:
    after = ""
    while True:
        page = api.call("GET", f"/api/v1/pods?limit={_PAGE}" + (f"&continue={quote(after, safe='')}" if after else ""))
        yield from page.get("items", [])
        after = page.get("metadata", {}).get("continue", "")
        if not after:
            return
