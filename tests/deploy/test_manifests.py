"""The Kubernetes manifests and the compose file, as far as they can be judged without a cluster."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import Settings
from workers.settings import WorkerSettings

ROOT = Path(__file__).resolve().parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
VERSIONS = {
    "Namespace": "v1",
    "Secret": "v1",
    "Service": "v1",
    "PersistentVolumeClaim": "v1",
    "Deployment": "apps/v1",
    "Job": "batch/v1",
    "PodDisruptionBudget": "policy/v1",
    "HorizontalPodAutoscaler": "autoscaling/v2",
}
KNOWN_VARIABLES = {
    f"RUDOLPH_{name.upper()}" for settings in (Settings, WorkerSettings) for name in settings.model_fields
}


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
    return [one["spec"]["template"] for one in of_kind("Deployment", "Job")]


def compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))


def test_every_file_is_listed_and_every_object_has_its_api_version() -> None:
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text(encoding="utf-8"))["resources"]
    assert {path.name for path in KUBERNETES.glob("*.yaml")} == {*listed, "kustomization.yaml"}
    for one in objects():
        assert one["apiVersion"] == VERSIONS[one["kind"]]
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", one["metadata"]["name"])
        assert one["kind"] == "Namespace" or one["metadata"]["namespace"] == "rudolph"


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
        for container in pod["spec"]["containers"]:
            security = container["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"] == {"drop": ["ALL"]}
            assert "memory" in container["resources"]["limits"]


def test_volumes_and_secrets_that_are_named_exist() -> None:
    claims = {one["metadata"]["name"] for one in of_kind("PersistentVolumeClaim")}
    secrets = {one["metadata"]["name"]: set(one["stringData"]) for one in of_kind("Secret")}
    for pod in pods():
        volumes = {volume["name"]: volume for volume in pod["spec"].get("volumes", [])}
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
        for container in pod["spec"]["containers"]:
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
    for name in ("api", "worker", "worker-cpu"):
        period = compose()["services"][name]["stop_grace_period"]
        assert int(period.removesuffix("s")) > max(drain_s, grace_s)


def test_every_variable_that_is_set_is_a_setting() -> None:
    used: set[str] = set()
    for pod in pods():
        for container in pod["spec"]["containers"]:
            used |= {variable["name"] for variable in container.get("env", [])}
    for service in compose()["services"].values():
        used |= set(service.get("environment", {}))
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    used |= set(re.findall(r"\b(RUDOLPH_[A-Z_]+)=", dockerfile))
    operations = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    used |= set(re.findall(r"^\| `(RUDOLPH_[A-Z_]+)`", operations, flags=re.MULTILINE))
    unknown = {name for name in used if name.startswith("RUDOLPH_")} - KNOWN_VARIABLES
    assert not unknown


def test_compose_has_health_checks_and_a_reservation_of_a_gpu() -> None:
    services = compose()["services"]
    assert set(services) == {"redis", "api", "worker", "worker-cpu", "prometheus", "grafana"}
    (device,) = services["worker"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert services["worker-cpu"]["profiles"] == ["cpu"]
    assert services["grafana"]["profiles"] == ["grafana"]
    assert services["redis"]["healthcheck"]
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    for stage in ("AS api", "AS worker"):
        part = dockerfile.split(stage, 1)[1].split("\nFROM ", 1)[0]
        assert "HEALTHCHECK" in part
        assert "USER 10001" in part


@pytest.mark.parametrize("word", ["appendonly yes", "maxmemory-policy noeviction", "maxmemory "])
def test_redis_forgets_nothing_and_evicts_nothing(word: str) -> None:
    assert word in (ROOT / "docker" / "redis.conf").read_text(encoding="utf-8")


def test_api_image_is_built_without_torch() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    api = dockerfile.split("FROM runtime AS api", 1)[1].split("\nFROM ", 1)[0]
    assert "--from=build-api" in api
    assert "FROM dependencies-api AS build-api" in dockerfile
    (dependencies,) = re.findall(r"AS dependencies-api\n(.*?)\nFROM ", dockerfile, flags=re.DOTALL)
    assert "RUN python docker/install_dependencies.py tracing\n" in dependencies + "\n"
