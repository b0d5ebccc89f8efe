"""The files for Render and Kubernetes: what they set exists, and they wait long enough for a worker to leave."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.dockerfile import Dockerfile
from worker.settings import Settings
from worker.web import health, queue_metrics

ROOT = Path(__file__).parents[2]
RENDER: list[dict[str, Any]] = yaml.safe_load((ROOT / "render.yaml").read_text())["services"]
DEPLOYMENT, SCALED = yaml.safe_load_all((ROOT / "docs/kubernetes.yaml").read_text())
(CONTAINER,) = DEPLOYMENT["spec"]["template"]["spec"]["containers"]

# What follows the grace, and what a machine under load may add.
LEAVING_SECONDS = 3.0

SETTINGS = {name.upper() for name in Settings.model_fields}
SECRETS = {name for name in SETTINGS if name.endswith(("_KEY", "_SECRET"))}


def paths() -> set[str]:
    routes = health.routes(lambda: health.Readiness(True, "realtime", None), dict, _nothing)
    return {route.path for route in routes}


async def _nothing() -> bytes:
    return b""


def test_render_has_a_web_service_and_a_background_worker() -> None:
    assert [service["type"] for service in RENDER] == ["web", "worker"]
    assert RENDER[0]["healthCheckPath"] in paths()
    assert "healthCheckPath" not in RENDER[1]
    assert all(service["runtime"] == "docker" and service["plan"] != "free" for service in RENDER)


@pytest.mark.parametrize("service", RENDER, ids=lambda service: str(service["type"]))
def test_render_waits_longer_than_the_worker_takes_to_leave(service: dict[str, Any]) -> None:
    settings = {one["key"]: one.get("value") for one in service["envVars"]}

    assert float(settings["SHUTDOWN_GRACE_SECONDS"]) + LEAVING_SECONDS <= service["maxShutdownDelaySeconds"] <= 300


@pytest.mark.parametrize("service", RENDER, ids=lambda service: str(service["type"]))
def test_render_sets_what_exists_and_asks_for_what_is_secret(service: dict[str, Any]) -> None:
    settings = {one["key"]: one for one in service["envVars"]}

    assert set(settings) <= SETTINGS
    assert settings["SUPABASE_SECRET_KEY"] == {"key": "SUPABASE_SECRET_KEY", "sync": False}
    assert not {name for name in SECRETS & set(settings) if "value" in settings[name]}


def test_cloud_run_leaves_the_worker_time_before_it_kills() -> None:
    script = (ROOT / "scripts/deploy-cloud-run.sh").read_text()
    (grace,) = re.findall(r"SHUTDOWN_GRACE_SECONDS=(\d+)", script)

    assert float(grace) + 2 <= 10


def test_kubernetes_gives_the_same_user_no_disk_and_time_to_leave() -> None:
    image = Dockerfile(ROOT / "Dockerfile")
    pod = DEPLOYMENT["spec"]["template"]["spec"]
    settings = {one["name"]: one["value"] for one in CONTAINER["env"]}

    assert f"{pod['securityContext']['runAsUser']}:" in image.last("worker", "USER")
    assert CONTAINER["securityContext"]["readOnlyRootFilesystem"] is True
    assert float(settings["SHUTDOWN_GRACE_SECONDS"]) + LEAVING_SECONDS <= pod["terminationGracePeriodSeconds"]
    assert set(settings) <= SETTINGS
    assert {CONTAINER["livenessProbe"]["httpGet"]["path"], CONTAINER["readinessProbe"]["httpGet"]["path"]} <= paths()


def test_keda_scales_by_a_number_that_exists_and_never_to_nobody() -> None:
    (trigger,) = SCALED["spec"]["triggers"]
    (name,) = re.findall(r"[a-z]+(?:_[a-z]+)+", trigger["metadata"]["query"].partition("{")[0])
    told = {metric.name for metric in queue_metrics.families({"waiting_by_type": {"translation": 1}})}

    assert name in told
    assert SCALED["spec"]["minReplicaCount"] >= 1
    assert SCALED["spec"]["scaleTargetRef"]["name"] == DEPLOYMENT["metadata"]["name"]
