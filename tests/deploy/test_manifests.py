"""The Kubernetes manifests, as far as they can be judged without a cluster."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from app.keys import load_keys
from app.settings import Settings
from cli.main import app
from tests.deploy.compose import FILES, compose
from workers.settings import WorkerSettings

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy" / "kubernetes"
KUBERNETES = DEPLOY / "base"
EXAMPLE = yaml.safe_load((DEPLOY / "secret.example.yaml").read_text(encoding="utf-8"))
VERSIONS = {
    "Namespace": "v1",
    "PriorityClass": "scheduling.k8s.io/v1",
    "Service": "v1",
    "PersistentVolumeClaim": "v1",
    "Deployment": "apps/v1",
    "CronJob": "batch/v1",
    "PodDisruptionBudget": "policy/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
}
SERVE: Any = typer.main.get_command(app).commands["serve"]  # type: ignore[attr-defined]
KNOWN_VARIABLES = {
    f"RUDOLPH_{name.upper()}" for settings in (Settings, WorkerSettings) for name in settings.model_fields
} | {str(option.envvar) for option in SERVE.params}


def objects() -> list[dict[str, Any]]:
    names = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    return [
        document
        for name in names
        for document in yaml.safe_load_all((KUBERNETES / name).read_text(encoding="utf-8"))
    ]


def of_kind(*kinds: str) -> list[dict[str, Any]]:
    return [one for one in objects() if one["kind"] in kinds]


def pods() -> list[dict[str, Any]]:
    deployments = [one["spec"]["template"] for one in of_kind("Deployment")]
    return deployments + [one["spec"]["jobTemplate"]["spec"]["template"] for one in of_kind("CronJob")]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def test_every_file_is_listed_and_every_object_has_its_api_version() -> None:
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    assert {path.name for path in KUBERNETES.glob("*.yaml")} == {*listed, "kustomization.yaml"}
    for one in objects():
        assert one["apiVersion"] == VERSIONS[one["kind"]]
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", one["metadata"]["name"])
        assert one["kind"] in ("Namespace", "PriorityClass") or one["metadata"]["namespace"] == "rudolph"


def test_selectors_match_the_labels_of_some_pods() -> None:
    labels = [pod["metadata"]["labels"] for pod in pods()]
    for one in of_kind("Deployment", "Service", "PodDisruptionBudget"):
        selector = one["spec"]["selector"]
        selector = selector.get("matchLabels", selector)
        assert any(selector.items() <= set_of.items() for set_of in labels), one["metadata"]["name"]


def test_autoscalers_scale_what_exists() -> None:
    deployments = {one["metadata"]["name"] for one in of_kind("Deployment")}
    for one in of_kind("HorizontalPodAutoscaler"):
        assert one["spec"]["scaleTargetRef"]["name"] in deployments
        assert one["spec"]["minReplicas"] <= one["spec"]["maxReplicas"]


def test_probes_and_services_point_at_ports_that_exist() -> None:
    ports: set[str] = set()
    for pod in pods():
        for container in pod["spec"]["containers"]:
            named = {port["name"] for port in container.get("ports", [])}
            ports |= named
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                if probe in container:
                    assert container[probe]["httpGet"]["port"] in named
    for service in of_kind("Service"):
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


def test_pods_run_without_privileges_and_within_limits() -> None:
    for pod in pods():
        assert pod["spec"]["securityContext"]["runAsNonRoot"]
        assert pod["spec"]["automountServiceAccountToken"] is False
        for container in containers(pod):
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]


def test_volumes_and_secrets_that_are_named_exist() -> None:
    claims = {one["metadata"]["name"] for one in of_kind("PersistentVolumeClaim")}
    assert of_kind("Secret") == []  # an update would replace the real one
    secrets = {EXAMPLE["metadata"]["name"]: set(EXAMPLE["stringData"])}
    for pod in pods():
        volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
        for container in containers(pod):
            assert {mount["name"] for mount in container["volumeMounts"]} <= set(volumes)
            for variable in container.get("env", []):
                reference = variable.get("valueFrom", {}).get("secretKeyRef")
                if reference:
                    assert reference["key"] in secrets[reference["name"]]


def test_a_stopping_pod_has_time_to_drain() -> None:
    drain_s = WorkerSettings.model_fields["drain_s"].default
    grace_s = Settings.model_fields["shutdown_grace_s"].default
    for one in of_kind("Deployment"):
        assert one["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > max(drain_s, grace_s)
    for name in ("api", "worker"):
        period = compose()["services"][name]["stop_grace_period"]
        assert int(period.removesuffix("s")) > max(drain_s, grace_s)


def test_every_variable_that_is_set_is_a_setting() -> None:
    used: set[str] = set()
    for pod in pods():
        for container in pod["spec"]["containers"]:
            used |= {variable["name"] for variable in container.get("env", [])}
    for file in FILES:
        for service in compose(file)["services"].values():
            used |= set(service.get("environment", {}))
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    used |= set(re.findall(r"\b(RUDOLPH_[A-Z_]+)=", dockerfile))
    operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    used |= set(re.findall(r"^\| `(RUDOLPH_[A-Z_]+)`", operations, flags=re.MULTILINE))
    substituted = set(
        re.findall(r"\$\{(RUDOLPH_[A-Z_]+)", (ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    )
    unknown = {name for name in used if name.startswith("RUDOLPH_")} - KNOWN_VARIABLES - substituted
    assert not unknown


def test_kubernetes_does_not_start_an_api_without_keys() -> None:
    with pytest.raises(ValueError, match="has no key"):
        load_keys(Settings(_env_file=None, api_keys=EXAMPLE["stringData"]["api-keys"]))  # type: ignore[call-arg]
    (api,) = [pod for pod in pods() if pod["metadata"]["labels"]["app.kubernetes.io/name"] == "rudolph-api"]
    variables = {one["name"]: one for one in api["spec"]["containers"][0]["env"]}
    reference = variables["RUDOLPH_API_KEYS"]["valueFrom"]["secretKeyRef"]
    assert reference["key"] == "api-keys"
    assert not reference.get("optional")


def test_nothing_is_reachable_but_what_a_policy_allows() -> None:
    policies = of_kind("NetworkPolicy")
    (closed,) = [one["spec"] for one in policies if one["metadata"]["name"] == "rudolph-default"]
    assert closed == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    labels = [pod["metadata"]["labels"] for pod in pods()]
    open_ports: dict[str, set[int]] = {}
    for one in policies:
        selector = one["spec"]["podSelector"].get("matchLabels", {})
        assert any(selector.items() <= set_of.items() for set_of in labels)
        for rule in one["spec"].get("ingress", []):
            open_ports.setdefault(selector["app.kubernetes.io/name"], set()).update(
                port["port"] for port in rule["ports"]
            )
    served = {
        pod["metadata"]["labels"]["app.kubernetes.io/name"]: {
            port["containerPort"]
            for container in pod["spec"]["containers"]
            for port in container.get("ports", [])
        }
        for pod in pods()
    }
    assert open_ports == {name: ports for name, ports in served.items() if ports}


def test_what_scales_has_no_fixed_number_of_pods() -> None:
    scaled = {one["spec"]["scaleTargetRef"]["name"] for one in of_kind("HorizontalPodAutoscaler")}
    for one in of_kind("Deployment"):
        assert ("replicas" in one["spec"]) == (one["metadata"]["name"] not in scaled)


def test_the_cache_of_the_model_can_be_updated_and_workers_wait_for_it() -> None:
    (download,) = of_kind("CronJob")
    assert download["spec"]["suspend"]
    (container,) = download["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    folder = container["args"][-1]
    (worker,) = [one for one in of_kind("Deployment") if one["metadata"]["name"] == "rudolph-worker"]
    (waits,) = worker["spec"]["template"]["spec"]["initContainers"]
    assert f"{folder}/config.json" in waits["command"][-1]  # the file that a download writes last
    variables = {
        one["name"]: one.get("value") for one in worker["spec"]["template"]["spec"]["containers"][0]["env"]
    }
    assert variables["RUDOLPH_MODEL"] == folder


def test_the_objects_have_the_version_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    kustomization = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8"))
    assert {image["newTag"] for image in kustomization["images"]} == {project["version"]}
    (labels,) = kustomization["labels"]
    assert labels["pairs"] == {"app.kubernetes.io/version": project["version"]}
    # A selector cannot be changed, and a version changes with every update.
    assert labels["includeSelectors"] is False
