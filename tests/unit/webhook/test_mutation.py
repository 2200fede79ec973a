"""What a pod gets."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from webhook_reviews import (
    DEFAULTS,
    ENABLED,
    WITH_ENV_FILES,
    D,
    a_pod,
    annotated,
    ask,
    container,
    injected,
    patch_of,
    refusal,
    response_of,
    variables,
)

from injector.settings.document import read_document
from injector.webhook.defaults import Defaults

IRSA = [
    {"name": "AWS_ROLE_ARN", "value": "arn:aws:iam::1:role/shop"},
    {"name": "AWS_WEB_IDENTITY_TOKEN_FILE", "value": "/var/run/secrets/eks.amazonaws.com/serviceaccount/token"},
    {"name": "AWS_REGION", "value": "eu-west-1"},
]
TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"


def with_app(pod: dict[str, Any], **fields: Any) -> dict[str, Any]:
    pod["spec"]["containers"][0].update(fields)
    return pod


def test_the_native_sidecar_is_the_default() -> None:
    pod = injected(a_pod())
    assert [each["name"] for each in pod["spec"]["initContainers"]] == ["injector"]
    ours = pod["spec"]["initContainers"][0]
    assert ours["restartPolicy"] == "Always"
    assert ours["args"][:3] == ["run", "/injector/templates", "--output-dir=/config"]
    assert ours["startupProbe"]["exec"]["command"] == ["injector", "health", "--startup"]
    assert variables(ours)["INJECTOR_LISTEN"] == "127.0.0.1:9464"
    assert pod["metadata"]["annotations"][f"{D}status"] == "injected"
    output = next(volume for volume in pod["spec"]["volumes"] if volume["name"] == "injector-output")
    assert output["emptyDir"] == {"medium": "Memory", "sizeLimit": "16Mi"}
    assert pod["spec"]["containers"][0]["volumeMounts"] == [
        {"name": "injector-output", "mountPath": "/config", "readOnly": True}
    ]


def test_sidecar_is_an_init_container_and_a_container() -> None:
    pod = injected(a_pod(annotated(templates="shop", mode="sidecar", refresh="1m")))
    init, ours = container(pod, "injector-init"), container(pod, "injector")
    assert init["args"][0] == "init"
    assert "--refresh=1m" not in init["args"]
    assert "livenessProbe" not in init
    assert ours["args"][0] == "run"
    assert "--refresh=1m" in ours["args"]
    assert "restartPolicy" not in ours
    assert ours in pod["spec"]["containers"]


def test_the_init_container_hands_over_to_the_sidecar_and_to_nobody_else() -> None:
    pod = injected(a_pod(annotated(templates="shop", mode="sidecar", volume_size="3Mi")))
    mount = {"name": "injector-handover", "mountPath": "/injector/handover"}
    for name in ("injector-init", "injector"):
        assert mount in container(pod, name)["volumeMounts"]
        assert variables(container(pod, name))["INJECTOR_HANDOVER"] == "/injector/handover"
    assert "injector-handover" not in {each["name"] for each in container(pod, "app")["volumeMounts"]}
    (volume,) = [each for each in pod["spec"]["volumes"] if each["name"] == "injector-handover"]
    assert volume["emptyDir"] == {"medium": "Memory", "sizeLimit": "3Mi"}
    assert container(pod, "injector-init")["securityContext"] == container(pod, "injector")["securityContext"]


@pytest.mark.parametrize("mode", ["native-sidecar", "init"])
def test_nothing_is_handed_over_where_there_is_one_container(mode: str) -> None:
    assert "handover" not in json.dumps(injected(a_pod(annotated(templates="shop", mode=mode)))).lower()


def test_init_is_an_init_container_that_ends() -> None:
    pod = injected(a_pod(annotated(templates="shop", mode="init", timeout="30s")))
    assert [each["name"] for each in pod["spec"]["initContainers"]] == ["injector-init"]
    assert len(pod["spec"]["containers"]) == 1
    ours = container(pod, "injector-init")
    assert "--timeout=30s" in ours["args"]
    assert not {"startupProbe", "livenessProbe", "readinessProbe"} & set(ours)
    assert "INJECTOR_LISTEN" not in variables(ours)


@pytest.mark.parametrize("mode", ["native-sidecar", "sidecar", "init"])
def test_each_container_of_ours_says_all_that_restricted_namespaces_and_quotas_ask_for(mode: str) -> None:
    pod = injected(a_pod(annotated(templates="shop", mode=mode)))
    ours = [each for each in _all(pod) if each["name"].startswith("injector")]
    assert ours
    for each in ours:
        security = each["securityContext"]
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        assert security["readOnlyRootFilesystem"] is True
        assert each["resources"]["requests"].keys() == {"cpu", "memory"}
        assert each["resources"]["limits"] == {"memory": "128Mi"}


def _all(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def test_templates_come_from_config_maps_and_annotations_in_one_directory() -> None:
    wishes = {"templates": "shop,more", "template-app.env": "A=1", "template-x": "y", "file-x": "conf/x.yaml"}
    pod = injected(a_pod({D + name: text for name, text in wishes.items()}))
    volume = next(volume for volume in pod["spec"]["volumes"] if volume["name"] == "injector-templates")
    *maps, downward = volume["projected"]["sources"]
    assert maps == [{"configMap": {"name": "shop"}}, {"configMap": {"name": "more"}}]
    items = {item["path"]: item["fieldRef"]["fieldPath"] for item in downward["downwardAPI"]["items"]}
    assert items == {
        "app.env": f"metadata.annotations['{D}template-app.env']",
        "conf/x.yaml": f"metadata.annotations['{D}template-x']",
    }


def test_templates_of_the_image_need_no_volume() -> None:
    pod = injected(a_pod(annotated(template_path="/templates,/more")))
    assert container(pod, "injector")["args"][1:3] == ["/templates", "/more"]
    assert "injector-templates" not in {volume["name"] for volume in pod["spec"]["volumes"]}


@pytest.mark.fault(78, "annotations with quotes, line breaks and $(NAME) reach the sidecar as they are, or are refused")
def test_dollar_signs_of_annotations_are_no_variables() -> None:
    text = "a\"'`\n$(HOME) $$ \u2603 --prune"
    wishes = annotated(templates="shop", on_missing="default", default_value=text)
    (argument,) = [each for each in container(injected(a_pod(wishes)), "injector")["args"] if "default-value" in each]
    assert argument == "--default-value=" + text.replace("$", "$$")


def test_wishes_of_single_templates_become_a_settings_file_that_is_understood(tmp_path: Any) -> None:
    wishes = annotated(
        templates="shop",
        perms_app__yaml="0640",
        on_missing_app__yaml="empty",
        notify_app__yaml="signal:HUP:process=nginx\nexec:/bin/reload 'a b'\nsignal:USR1:/run/x.pid\nsignal:USR2:pid=7",
        notify="http:PUT http://127.0.0.1/x\nrollout:deployment/shop",
    )
    pod = injected(a_pod(wishes))
    file = tmp_path / "injector.yaml"
    file.write_text(pod["metadata"]["annotations"][f"{D}generated-settings"])
    document = read_document(file)
    assert not document.problems
    (override,) = document.files
    assert (override.match, override.mode, override.on_missing) == ("app.yaml", 0o640, "empty")
    actions = {(action.kind, action.match) for action in document.values["notify"]}
    assert actions == {
        ("signal", "app.yaml"),
        ("exec", "app.yaml"),
        ("http", ""),
        ("rollout", ""),
    }
    ours = container(pod, "injector")
    assert variables(ours)["INJECTOR_CONFIG"] == "/injector/settings/injector.yaml"
    assert not [argument for argument in ours["args"] if argument.startswith("--notify")]


def test_notifications_alone_are_flags() -> None:
    pod = injected(a_pod(annotated(templates="shop", notify="http:http://127.0.0.1/x\n\nsignal:HUP:pid=1\n")))
    args = container(pod, "injector")["args"]
    assert [each for each in args if each.startswith("--notify")] == [
        "--notify=http:http://127.0.0.1/x",
        "--notify=signal:HUP:pid=1",
    ]


def test_init_first_goes_before_the_others() -> None:
    other = {"name": "migrate", "image": "app:1"}
    pod = injected(a_pod(annotated(templates="shop", init_first="true"), initContainers=[other]))
    assert [each["name"] for each in pod["spec"]["initContainers"]] == ["injector", "migrate"]
    pod = injected(a_pod(initContainers=[other]))
    assert [each["name"] for each in pod["spec"]["initContainers"]] == ["migrate", "injector"]


def test_a_named_init_container_gets_the_files_when_it_starts_after_ours() -> None:
    other = {"name": "migrate", "image": "app:1"}
    wishes = annotated(templates="shop", init_first="true", containers="migrate")
    pod = injected(a_pod(wishes, initContainers=[other]))
    assert container(pod, "migrate")["volumeMounts"][0]["mountPath"] == "/config"
    assert "volumeMounts" not in pod["spec"]["containers"][0]
    wishes.pop(f"{D}init-first")
    assert "starts before" in refusal(a_pod(wishes, initContainers=[other]))


class TestAccount:
    def ours(self, pod: dict[str, Any]) -> tuple[int, int, str]:
        own = container(injected(pod), "injector")
        (mode,) = [each.removeprefix("--mode=") for each in own["args"] if each.startswith("--mode=")]
        return own["securityContext"]["runAsUser"], own["securityContext"]["runAsGroup"], mode

    def test_unknown_users_can_read_the_files(self) -> None:
        assert self.ours(a_pod()) == (65532, 65532, "0644")

    def test_the_containers_own_user_writes_for_itself_alone(self) -> None:
        assert self.ours(a_pod(securityContext={"runAsUser": 1000, "runAsGroup": 1001})) == (1000, 1001, "0600")
        assert self.ours(with_app(a_pod(), securityContext={"runAsUser": 7})) == (7, 65532, "0600")

    def test_an_fs_group_reads(self) -> None:
        assert self.ours(a_pod(securityContext={"fsGroup": 2000})) == (65532, 65532, "0640")

    def test_root_and_different_users_are_not_followed(self) -> None:
        assert self.ours(a_pod(securityContext={"runAsUser": 0})) == (65532, 65532, "0644")
        two = [
            {"name": "app", "image": "a", "securityContext": {"runAsUser": 1}},
            {"name": "b", "image": "a", "securityContext": {"runAsUser": 2}},
        ]
        assert self.ours(a_pod(containers=two)) == (65532, 65532, "0644")

    def test_annotations_go_before(self) -> None:
        wishes = annotated(templates="shop", run_as_user="5", run_as_group="6", perms="0400")
        assert self.ours(a_pod(wishes, securityContext={"runAsUser": 1000})) == (5, 6, "0400")


class TestIdentity:
    def test_irsa_is_carried_over(self) -> None:
        mount = {"name": "aws-iam-token", "mountPath": "/var/run/secrets/eks.amazonaws.com/serviceaccount"}
        pod = with_app(a_pod(volumes=[{"name": "aws-iam-token"}]), env=IRSA, volumeMounts=[mount])
        ours = container(injected(pod), "injector")
        assert {entry["name"]: entry["value"] for entry in IRSA}.items() <= variables(ours).items()
        assert {**mount, "readOnly": True} in ours["volumeMounts"]

    def test_eks_pod_identity_and_azure_and_google_are_carried_over(self) -> None:
        env = [
            {"name": "AWS_CONTAINER_CREDENTIALS_FULL_URI", "value": "http://169.254.170.23/v1/credentials"},
            {"name": "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "value": "/var/run/secrets/pods.eks/sa/token"},
            {"name": "AZURE_CLIENT_ID", "value": "x"},
            {"name": "AZURE_FEDERATED_TOKEN_FILE", "value": "/var/run/secrets/azure/tokens/azure-identity-token"},
            {"name": "GOOGLE_APPLICATION_CREDENTIALS", "value": "/gcp/config.json"},
            {"name": "UNRELATED", "value": "1"},
        ]
        mounts = [
            {"name": "eks", "mountPath": "/var/run/secrets/pods.eks/sa"},
            {"name": "azure", "mountPath": "/var/run/secrets/azure/tokens"},
            {"name": "gcp", "mountPath": "/gcp", "subPath": "a"},
            {"name": "data", "mountPath": "/data"},
        ]
        ours = container(injected(with_app(a_pod(), env=env, volumeMounts=mounts)), "injector")
        assert {"eks", "azure", "gcp"} <= {mount["name"] for mount in ours["volumeMounts"]}
        assert "data" not in {mount["name"] for mount in ours["volumeMounts"]}
        assert "UNRELATED" not in variables(ours)
        assert next(mount for mount in ours["volumeMounts"] if mount["name"] == "gcp")["subPath"] == "a"

    def test_the_service_accounts_token_is_carried_over(self) -> None:
        mount = {"name": "kube-api-access-x", "mountPath": TOKEN_PATH, "readOnly": True}
        ours = container(injected(with_app(a_pod(), volumeMounts=[mount])), "injector")
        assert mount in ours["volumeMounts"]

    def test_a_projected_token_by_the_name_of_its_volume(self) -> None:
        mount = {"name": "vault-token", "mountPath": "/var/run/secrets/vault", "readOnly": True}
        wishes = annotated(templates="shop", service_account_token_volume_name="vault-token")
        ours = container(injected(with_app(a_pod(wishes), volumeMounts=[mount])), "injector")
        assert mount in ours["volumeMounts"]
        assert "service-account-token-volume-name" in refusal(a_pod(wishes))

    def test_variables_are_passed_by_name(self) -> None:
        source = {"secretKeyRef": {"name": "vault", "key": "address"}}
        env = [{"name": "VAULT_ADDR", "valueFrom": source}, {"name": "X", "value": "1"}]
        wishes = annotated(templates="shop", pass_env="VAULT_ADDR")
        ours = container(injected(with_app(a_pod(wishes), env=env)), "injector")
        assert variables(ours)["VAULT_ADDR"] == source
        assert "pass-env: container app has no variable VAULT_ADDR" in refusal(a_pod(wishes))

    def test_no_two_mounts_share_a_path(self) -> None:
        env = [{"name": "GOOGLE_APPLICATION_CREDENTIALS", "value": "/tmp/key.json"}]
        mounts = [{"name": "gcp", "mountPath": "/tmp"}]
        ours = container(injected(with_app(a_pod(), env=env, volumeMounts=mounts)), "injector")
        paths = [mount["mountPath"] for mount in ours["volumeMounts"]]
        assert len(set(paths)) == len(paths)


class TestVariablesWithTokens:
    ENV = [
        {"name": "HOME", "value": "/"},
        {"name": "DSN", "value": "postgres://AWSPARAMSTR:///db|user@host"},
        {"name": "URL", "value": "https://example.com"},
    ]

    def test_they_come_from_rendered_files(self) -> None:
        before = with_app(a_pod(), env=copy.deepcopy(self.ENV))
        pod = injected(before, WITH_ENV_FILES)
        env = pod["spec"]["containers"][0]["env"]
        assert [env[0], env[2]] == [self.ENV[0], self.ENV[2]]
        selector = {"volumeName": "injector-output", "path": "injector-env/app/DSN", "key": "DSN"}
        assert env[1] == {"name": "DSN", "valueFrom": {"fileKeyRef": selector}}
        assert pod["metadata"]["annotations"][f"{D}generated-env-0"] == f"DSN='{self.ENV[1]['value']}'\n"

    def test_they_are_enough_to_ask_for(self) -> None:
        pod = injected(with_app(a_pod({}), env=copy.deepcopy(self.ENV)), WITH_ENV_FILES)
        assert container(pod, "injector")["args"][1] == "/injector/templates"

    def test_without_file_keys_a_container_without_a_command_is_refused_and_told_what_to_do(self) -> None:
        reason = refusal(with_app(a_pod(), env=self.ENV, args=["--port=1"]))
        assert "variable DSN of container app" in reason
        assert "names no command" in reason
        for way in ("(command)", "template-NAME", "`injector exec`", "env: off", "--env-file-key-ref"):
            assert way in reason

    def test_without_file_keys_the_command_is_started_with_them(self) -> None:
        before = with_app(a_pod(), env=copy.deepcopy(self.ENV), command=["/app", "$(HOME)"], args=["--port=1"])
        before["spec"]["containers"].append({"name": "other", "image": "other:1"})
        pod = injected(before)
        app, delivery, other = container(pod, "app"), container(pod, "injector-exec"), container(pod, "other")
        assert [each["name"] for each in pod["spec"]["initContainers"]] == ["injector-exec", "injector"]
        exec_ = "/injector/exec"
        assert app["command"] == [
            *(f"{exec_}/loader", "--library-path", f"{exec_}/lib", f"{exec_}/python3", "-I", "-S", "-B", "-X", "utf8"),
            *(f"{exec_}/run.py", "/config/injector-env/app", "DSN", "--", "/app", "$(HOME)"),
        ]
        assert (app["args"], app["env"]) == (["--port=1"], self.ENV)
        assert {"name": "injector-exec", "mountPath": exec_, "readOnly": True} in app["volumeMounts"]
        assert pod["metadata"]["annotations"][f"{D}generated-env-0"] == self.ENV[1]["value"], "the value alone"
        assert "command" not in other
        assert "injector-exec" not in {mount["name"] for mount in other["volumeMounts"]}
        # It asks no store: it has no credentials, and none of the volumes but its own.
        assert delivery["args"] == ["deliver", exec_]
        assert {mount["name"] for mount in delivery["volumeMounts"]} == {"injector-exec", "injector-scratch"}
        (volume,) = [each for each in pod["spec"]["volumes"] if each["name"] == "injector-exec"]
        assert volume["emptyDir"] == {"sizeLimit": "128Mi"}
        assert not patch_of(ask(pod)), "asked again, nothing is added"

    def test_the_delivery_has_no_identity(self) -> None:
        env = [*IRSA, {"name": "A", "value": "AWSPARAMSTR:///x"}]
        pod = injected(with_app(a_pod(), env=env, command=["/app"]))
        assert "AWS_ROLE_ARN" in variables(container(pod, "injector"))
        assert "AWS_ROLE_ARN" not in variables(container(pod, "injector-exec"))

    def test_a_quote_is_no_matter_for_a_command_that_is_started(self) -> None:
        env = [{"name": "A", "value": "it's AWSPARAMSTR:///x"}]
        pod = injected(with_app(a_pod(), env=env, command=["/app"]))
        assert pod["metadata"]["annotations"][f"{D}generated-env-0"] == "it's AWSPARAMSTR:///x"

    def test_init_first_keeps_the_program_before_who_needs_it(self) -> None:
        migrate = {
            "name": "migrate",
            "image": "m",
            "command": ["/m"],
            "env": [{"name": "A", "value": "AWSPARAMSTR:///x"}],
        }
        wishes = annotated(templates="shop", init_first="true", containers="migrate,app")
        pod = injected(a_pod(wishes, initContainers=[migrate]))
        assert [each["name"] for each in pod["spec"]["initContainers"]] == ["injector-exec", "injector", "migrate"]
        assert container(pod, "migrate")["command"][-1] == "/m"

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"command": ["/app", "$(A)"]}, "$(A) would be the text of its token"),
            ({"command": ["/app"], "args": ["--a=$(A)"]}, "$(A) would be the text of its token"),
            ({"command": ["/app"], "env": [{"name": "B", "value": "x$(A)"}]}, "$(A) would be the text of its token"),
            ({"command": ["/app"], "env": [{"name": "LD_PRELOAD", "value": "/x.so"}]}, "LD_PRELOAD would be loaded"),
            (
                {"command": ["/app"], "volumeMounts": [{"name": "x", "mountPath": "/injector/exec/lib"}]},
                "something mounted at /injector/exec",
            ),
        ],
    )
    def test_what_would_not_work_is_refused(self, fields: dict[str, Any], reason: str) -> None:
        env = [{"name": "A", "value": "AWSPARAMSTR:///x"}, *fields.pop("env", [])]
        assert reason in refusal(with_app(a_pod(), env=env, **fields))

    def test_that_probes_see_the_tokens_text_is_a_warning(self) -> None:
        reply = ask(with_app(a_pod(), env=copy.deepcopy(self.ENV), command=["/app"]))
        assert any("probes and exec" in warning for warning in response_of(reply)["warnings"])

    def test_off_leaves_them_alone(self) -> None:
        wishes = annotated(templates="shop", env="off")
        pod = injected(with_app(a_pod(wishes), env=copy.deepcopy(self.ENV)))
        assert pod["spec"]["containers"][0]["env"] == self.ENV

    @pytest.mark.parametrize(
        ("variable", "reason"),
        [
            ({"name": "A", "value": "it's AWSPARAMSTR:///x"}, "single quote"),
            ({"name": "A", "value": "$(HOME)AWSPARAMSTR:///x"}, "$(…)"),
            ({"name": "A.b", "value": "AWSPARAMSTR:///x"}, "a name that no env file can hold"),
        ],
    )
    def test_what_no_env_file_can_hold_is_refused(self, variable: dict[str, str], reason: str) -> None:
        assert reason in refusal(with_app(a_pod(), env=[variable]), WITH_ENV_FILES)

    def test_the_annotated_separator_counts(self) -> None:
        env = [{"name": "A", "value": "AWSPARAMSTR#/x"}]
        wishes = annotated(templates="shop", token_separator="#")
        assert "variable A" in refusal(with_app(a_pod(wishes), env=env))
        assert "spec" in injected(with_app(a_pod(), env=env))


class TestLeftAlone:
    def result(self, pod: dict[str, Any], **request: Any) -> str:
        reply = ask(pod, **request)
        assert not patch_of(reply)
        return reply.result

    def test_disabled(self) -> None:
        pod = a_pod()
        pod["metadata"]["labels"] = {f"{D}inject": "disabled"}
        assert self.result(pod) == "disabled"
        assert self.result(a_pod(annotated(templates="shop", inject="false"))) == "disabled"

    def test_unasked_in_a_labelled_namespace(self) -> None:
        assert self.result({"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "a"}]}}) == "unasked"
        assert self.result({"spec": {"containers": [{"name": "a"}]}}) == "unasked"

    def test_annotations_are_enough_in_a_labelled_namespace(self) -> None:
        pod = a_pod()
        del pod["metadata"]["labels"]
        assert injected(pod)["spec"]["initContainers"]

    def test_ephemeral_containers_updates_and_other_operations(self) -> None:
        assert self.result(a_pod(), subResource="ephemeralcontainers", operation="UPDATE") == "passed"
        assert self.result(a_pod(), operation="UPDATE") == "passed"
        assert self.result(None, operation="DELETE") == "passed"

    def test_kube_system(self) -> None:
        assert self.result(a_pod(), namespace="kube-system") == "ignored"

    @pytest.mark.fault(
        77, "pods that cannot have the sidecar are let in with a warning; injected twice is injected once"
    )
    def test_windows_with_a_warning(self) -> None:
        for spec in ({"os": {"name": "windows"}}, {"nodeSelector": {"kubernetes.io/os": "windows"}}):
            reply = ask(a_pod(**spec))
            assert self.result(a_pod(**spec)) == "unsupported"
            assert "Windows" in response_of(reply)["warnings"][0]

    def test_injected_before(self) -> None:
        assert self.result(injected(a_pod())) == "injected-before"


class TestWarnings:
    def warnings(self, pod: dict[str, Any]) -> str:
        return "\n".join(response_of(ask(pod)).get("warnings", []))

    def test_misspelt_annotations(self) -> None:
        assert "did you mean config-injector.io/refresh?" in self.warnings(a_pod(annotated(templates="s", refesh="1m")))
        wishes = {D + "templates": "s", D + "tempalte-app.env": "x"}
        assert "did you mean config-injector.io/template-app.env?" in self.warnings(a_pod(wishes))
        assert "is unknown" in self.warnings(a_pod({D + "templates": "s", D + "qqqqqq": "x"}))

    def test_annotations_of_ours_and_of_others_are_none(self) -> None:
        wishes = {D + "templates": "s", D + "content-hash": "x", "example.com/config-injector.io": "x"}
        assert not self.warnings(a_pod(wishes))

    def test_a_value_is_never_repeated(self) -> None:
        reply = ask(a_pod(annotated(templates="s", refesh="hunter2-canary", port="hunter2-canary")))
        assert b"hunter2-canary" not in reply.body

    def test_host_network(self) -> None:
        assert "port 9464 of the node" in self.warnings(a_pod(hostNetwork=True))
        assert not self.warnings(a_pod(annotated(templates="s", mode="init"), hostNetwork=True))

    def test_signals_that_reach_nobody(self) -> None:
        wishes = annotated(templates="s", notify="signal:HUP:process=nginx")
        assert "share-process-namespace" in self.warnings(a_pod(wishes))
        assert not self.warnings(a_pod(wishes, shareProcessNamespace=True))
        assert not self.warnings(a_pod(wishes, hostPID=True))
        assert not self.warnings(a_pod({**wishes, f"{D}share-process-namespace": "true"}))

    def test_a_job_that_would_not_end(self) -> None:
        pod = a_pod(annotated(templates="s", mode="sidecar"))
        pod["metadata"]["ownerReferences"] = [{"kind": "Job", "name": "x", "uid": "y", "apiVersion": "batch/v1"}]
        assert "keeps the Job from ending" in self.warnings(pod)
        pod["metadata"]["annotations"] = annotated(templates="s")
        assert not self.warnings(pod)

    def test_no_warning_is_longer_than_kubernetes_shows(self) -> None:
        wishes = {D + "templates": "s"} | {D + "x" * length: "" for length in range(50, 60)}
        warnings = response_of(ask(a_pod(wishes)))["warnings"]
        assert all(len(warning) <= 256 and "\n" not in warning for warning in warnings)


@pytest.mark.parametrize(
    ("wishes", "reason"),
    [
        ({}, "says of no template"),
        ({"templates": "Shop"}, "templates: expected names of ConfigMaps"),
        ({"templates": "a,a"}, "templates: expected"),
        ({"templates": ""}, "templates: expected"),
        ({"templates": "s", "mode": "daemon"}, "mode: expected one of native-sidecar, sidecar, init"),
        ({"templates": "s", "refresh": "1 minute"}, "refresh: expected a duration"),
        ({"templates": "s", "refresh": "1m\n--prune"}, "refresh: expected a duration"),
        ({"templates": "s", "mode": "init", "refresh": "1m"}, "refresh: nothing is there to do it later in mode init"),
        ({"templates": "s", "mode": "init", "notify": "signal:HUP:pid=1"}, "notify: nothing is there"),
        ({"templates": "s", "mode": "init", "notify-x": "signal:HUP:pid=1"}, "notify-x: nothing is there"),
        ({"templates": "s", "mode": "init", "port": "9000"}, "port: nothing is there"),
        ({"templates": "s", "notify": "signal:KILL:pid=1"}, "notify: expected"),
        ({"templates": "s", "notify": "exec:'"}, "notify: expected"),
        ({"templates": "s", "config": "c", "settings": "x"}, "settings: there is config-injector.io/config, too"),
        ({"config": "c", "perms-x": "0600"}, "config: there are annotations for single templates"),
        ({"settings": "x", "notify-x": "signal:HUP:pid=1"}, "settings: there are annotations for single templates"),
        ({"file-x": "a"}, "file-x: there is no such template"),
        ({"template-x": "a", "file-x": "../a"}, "file-x: expected a relative path"),
        ({"template-x": "a", "file-x": "/a"}, "file-x: expected a relative path"),
        ({"template-x": "a", "file-x": "..data"}, "file-x: expected a relative path"),
        ({"template-x": "a", "file-x": "a*"}, "file-x: expected a relative path"),
        ({"template-x": "a", "template-y": "a", "file-y": "x"}, "in the way of another template's"),
        ({"template-x": "a", "template-y": "a", "file-y": "x/y"}, "in the way of another template's"),
        ({"template-x'y": "a"}, "expected letters, digits"),
        ({"templates": "s", "perms": "0888"}, "perms: expected octal"),
        ({"templates": "s", "perms-x": "rw"}, "perms-x: expected octal"),
        ({"templates": "s", "mount-path": "config"}, "mount-path: expected an absolute path"),
        ({"templates": "s", "mount-path": "/"}, "mount-path: expected an absolute path"),
        ({"templates": "s", "mount-path": "/a/../b"}, "mount-path: expected an absolute path"),
        ({"templates": "s", "mount-path": "/a:b"}, "mount-path: expected an absolute path"),
        ({"templates": "s", "mount-path": "/tmp/x"}, "mount-path: injector's own container needs /tmp"),
        ({"templates": "s", "mount-path": "/injector"}, "mount-path: injector's own container needs"),
        ({"templates": "s", "containers": "ap"}, "there is no container ap (did you mean app?)"),
        ({"templates": "s", "volume-size": "huge"}, "volume-size: expected a size"),
        ({"templates": "s", "requests-cpu": "-1"}, "requests-cpu: expected an amount"),
        ({"templates": "s", "image": "a b"}, "image: expected an image"),
        ({"templates": "s", "run-as-user": "0"}, "run-as-user: expected a number from 1"),
        ({"templates": "s", "run-as-same-user": "true"}, "run-as-same-user: the containers have no runAsUser"),
        ({"templates": "s", "run-as-same-user": "true", "run-as-user": "5"}, "run-as-user: there is"),
        ({"templates": "s", "port": "80"}, "port: expected a port number from 1024"),
        ({"templates": "s", "default-value": "x"}, "default-value: it needs config-injector.io/on-missing: default"),
        ({"templates": "s", "on-missing": "default", "default-value": "a\0b"}, "default-value: it holds a NUL"),
        (
            {"templates": "s", "token-separator": "a"},
            "token-separator: it or the key-separator cannot stand in a token",
        ),
    ],
)
def test_impossible_wishes_are_refused_by_the_name_of_the_annotation(wishes: dict[str, str], reason: str) -> None:
    assert reason in refusal(a_pod({D + name: text for name, text in wishes.items()}))


def test_what_is_in_the_way_is_refused() -> None:
    taken = [{"name": "data", "mountPath": "/config/"}]
    assert "container app has something mounted there" in refusal(with_app(a_pod(), volumeMounts=taken))
    below = [{"name": "data", "mountPath": "/config/x"}]
    assert "mount-path" in refusal(with_app(a_pod(), volumeMounts=below))
    assert "container injector, which is a name of injector's own" in refusal(
        a_pod(containers=[{"name": "app"}, {"name": "injector"}])
    )
    assert "volume injector-output" in refusal(a_pod(volumes=[{"name": "injector-output"}]))


def test_status_alone_does_not_dodge_the_sidecar() -> None:
    assert injected(a_pod(annotated(templates="s", status="injected")))["spec"]["initContainers"]


def test_the_process_namespace_is_shared_unless_the_pod_says_no() -> None:
    wishes = annotated(templates="s", share_process_namespace="true")
    assert injected(a_pod(wishes))["spec"]["shareProcessNamespace"] is True
    assert "says no" in refusal(a_pod(wishes, shareProcessNamespace=False))
    assert "hostPID" in refusal(a_pod(wishes, hostPID=True))


@pytest.mark.fault(78, "annotations that would be larger than the API server takes are refused with the reason")
def test_annotations_beyond_256_kib_are_refused() -> None:
    text = "x" * (256 * 1024 - 50)
    assert "256 KiB" in refusal(a_pod({D + "template-big": text}))


def test_a_pod_without_containers_is_refused() -> None:
    assert "no containers" in refusal(a_pod(containers=[]))


def test_the_operators_defaults_hold() -> None:
    defaults = Defaults(image="i:2", mode="init", mount_path="/x", volume_size="1Mi", image_pull_policy="Never")
    pod = injected(a_pod(), defaults)
    ours = container(pod, "injector-init")
    assert (ours["image"], ours["imagePullPolicy"]) == ("i:2", "Never")
    assert "--output-dir=/x" in ours["args"]
    assert '"sizeLimit": "1Mi"' in json.dumps(pod)
    assert DEFAULTS.mode == "native-sidecar"
    assert ENABLED
