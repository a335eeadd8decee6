"""The overlay for production, and all manifests against the schemas of Kubernetes."""

import shutil
import subprocess
from typing import Any

import kubernetes_validate
import pytest
import yaml

from app.settings import Settings
from tests.deploy.test_manifests import DEPLOY, EXAMPLE, ROOT, containers, objects, of_kind

RELEASES = ("1.28", "1.32", "1.37")


def rendered(folder: str) -> list[dict[str, Any]]:
    """The objects that `kubectl apply -k` would send."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed; that of Debian is too old for components")
    done = subprocess.run(
        [kubectl, "kustomize", str(DEPLOY / folder)], check=True, capture_output=True, text=True
    )
    return list(yaml.safe_load_all(done.stdout))


@pytest.mark.parametrize("release", RELEASES)
def test_objects_are_valid_for_several_releases_of_kubernetes(release: str) -> None:
    for one in [
        *objects(),
        yaml.safe_load((DEPLOY / "components/ingress/ingress.yaml").read_text()),
        EXAMPLE,
    ]:
        kubernetes_validate.validate(one, release, strict=True)


@pytest.mark.parametrize("release", RELEASES)
def test_rendered_objects_are_valid_too(release: str) -> None:
    others: set[str] = set()
    for one in rendered("overlays/production"):
        if one["apiVersion"].split("/")[0] in ("monitoring.coreos.com", "keda.sh"):
            others.add(one["kind"])  # their schemas are those of the operators
        else:
            kubernetes_validate.validate(one, release, strict=True)
    assert others == {"PodMonitor", "PrometheusRule", "ScaledObject"}


def test_a_wrong_field_is_not_valid() -> None:
    (api,) = [one for one in of_kind("Deployment") if one["metadata"]["name"] == "rudolph-api"]
    api["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerport"] = 1
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(api, "1.32", strict=True)


def test_the_overlay_adds_monitoring_scaling_and_an_ingress_that_fit_the_base() -> None:
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for one in rendered("overlays/production"):
        by_kind.setdefault(one["kind"], []).append(one)
    deployments = {one["metadata"]["name"]: one["spec"] for one in by_kind["Deployment"]}
    (monitor,) = by_kind["PodMonitor"]
    labels = deployments["rudolph-api"]["template"]["metadata"]["labels"]
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels.items()
    (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
    assert endpoint["authorization"]["credentials"]["key"] in EXAMPLE["stringData"]
    (relabeling,) = endpoint["relabelings"]
    assert (relabeling["targetLabel"], relabeling["replacement"]) == ("job", "rudolph")
    (scaled,) = by_kind["ScaledObject"]
    assert "replicas" not in deployments[scaled["spec"]["scaleTargetRef"]["name"]]
    (ingress,) = by_kind["Ingress"]
    settings = {name.split("/")[1]: value for name, value in ingress["metadata"]["annotations"].items()}
    assert settings["proxy-buffering"] == "off"
    fields = Settings.model_fields
    assert (
        int(settings["proxy-read-timeout"])
        > fields["request_timeout_s"].default
        > fields["event_keep_alive_s"].default
    )
    assert int(settings["proxy-body-size"].removesuffix("m")) * 2**20 > fields["max_body_bytes"].default
    (rule,) = ingress["spec"]["rules"]
    hosts = [one for one in deployments["rudolph-api"]["template"]["spec"]["containers"][0]["env"]
             if one["name"] == "RUDOLPH_ALLOWED_HOSTS"]  # fmt: skip
    assert [one["value"] for one in hosts] == [rule["host"]]
    service = rule["http"]["paths"][0]["backend"]["service"]
    assert service["name"] in {one["metadata"]["name"] for one in by_kind["Service"]}
    (dashboard,) = by_kind["ConfigMap"]
    assert dashboard["data"]["rudolph.json"] == (ROOT / "docker/grafana/dashboards/rudolph.json").read_text()
    images = {container["image"] for one in deployments.values() for container in containers(one["template"])}
    assert all(image.startswith("registry.example.org/") for image in images)
