"""Probes decide what gets traffic and what is restarted."""

from pathlib import Path
from typing import Any

import pytest

from tests.cluster.podmaker import Json, condition, main_status, pods_in

pytestmark = pytest.mark.own_cluster

GRPC_SERVER = """
import grpc, threading
from concurrent.futures import ThreadPoolExecutor
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
server = grpc.server(ThreadPoolExecutor(2))
servicer = health.HealthServicer()
health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
servicer.set("ready", health_pb2.HealthCheckResponse.SERVING)
servicer.set("broken", health_pb2.HealthCheckResponse.NOT_SERVING)
server.add_insecure_port("0.0.0.0:50051")
server.start()
threading.Event().wait()
"""
HTTP_SERVER = "import http.server as h; h.HTTPServer(('', 8000), h.SimpleHTTPRequestHandler).serve_forever()"


def with_probe(kind: str, **probe: Any) -> Json:
    return {kind: probe, "ports": [{"name": "web", "containerPort": 8000}]}


@pytest.mark.parametrize(
    ("script", "probe"),
    [
        (HTTP_SERVER, {"httpGet": {"path": "/", "port": "web"}}),
        (HTTP_SERVER, {"tcpSocket": {"port": 8000}}),
        (GRPC_SERVER, {"grpc": {"port": 50051, "service": "ready"}}),
        (
            "import time; open('/tmp/up', 'w'); time.sleep(1000)",
            {"exec": {"command": ["test", "-e", "/tmp/up"]}},
        ),
    ],
    ids=["http", "tcp", "grpc", "exec"],
)
async def test_each_kind_of_probe_sees_a_ready_container(
    kubeconfig: Path, namespace: str, script: str, probe: Json
) -> None:
    async with pods_in(kubeconfig, namespace) as pods:
        container = with_probe("readinessProbe", periodSeconds=1, **probe)
        await pods.run("server", script, python=True, container=container, terminationGracePeriodSeconds=0)
        await pods.until_ready("server")


@pytest.mark.parametrize(
    "probe",
    [
        {"httpGet": {"path": "/nothing-here", "port": 8000}},
        {"tcpSocket": {"port": 8001}},
        {"grpc": {"port": 8000}},
        {"exec": {"command": ["false"]}},
        {"httpGet": {"path": "/", "port": "no-such-port"}},
    ],
    ids=["http", "tcp", "grpc", "exec", "port"],
)
async def test_each_kind_of_probe_sees_one_that_is_not(kubeconfig: Path, namespace: str, probe: Json) -> None:
    async with pods_in(kubeconfig, namespace) as pods:
        container = with_probe(
            "livenessProbe", periodSeconds=1, failureThreshold=1, initialDelaySeconds=1, **probe
        )
        await pods.run(
            "server",
            HTTP_SERVER,
            python=True,
            container=container,
            restartPolicy="Always",
            terminationGracePeriodSeconds=0,
        )
        pod = await pods.until(
            "server", lambda pod: main_status(pod).get("restartCount", 0) > 0, what="is restarted", within=40
        )
    assert main_status(pod)["lastState"]["terminated"]["exitCode"] == 137


async def test_readiness_comes_and_goes_with_its_probe(kubeconfig: Path, namespace: str) -> None:
    script = "while :; do touch /tmp/ok; sleep 1.5; rm /tmp/ok; sleep 1.5; done"
    probe = with_probe(
        "readinessProbe", exec={"command": ["test", "-e", "/tmp/ok"]}, periodSeconds=1, failureThreshold=1
    )
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.create_object(
            "services", "moody", spec={"selector": {"app": "moody"}, "ports": [{"port": 80}]}
        )
        container = {"name": "main", "image": "busybox", "command": ["sh", "-c", script]} | probe
        spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
        await pods.create("moody", spec, labels={"app": "moody"})
        for status in ("True", "False", "True"):
            pod = await pods.until(
                "moody",
                lambda pod, status=status: condition(pod, "Ready") == status,  # type: ignore[misc]
                what=f"Ready={status}",
            )
            assert condition(pod, "ContainersReady") == status
            assert main_status(pod)["restartCount"] == 0


async def test_liveness_waits_for_a_slow_start(kubeconfig: Path, namespace: str) -> None:
    """Twenty looks at the start that fail do not count: those come more often than the period says."""
    alive = {"exec": {"command": ["test", "-e", "/tmp/up"]}}
    container = {
        "startupProbe": alive | {"periodSeconds": 2, "failureThreshold": 3},
        "livenessProbe": alive | {"periodSeconds": 1, "failureThreshold": 1},
    }
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run(
            "slow",
            "sleep 3; touch /tmp/up; exec sleep 1000",
            container=container,
            terminationGracePeriodSeconds=0,
        )
        pod = await pods.until(
            "slow", lambda pod: "running" in main_status(pod).get("state", {}), what="runs"
        )
        assert main_status(pod)["started"] is False
        pod = await pods.until_ready("slow")
    assert (main_status(pod)["started"], main_status(pod)["restartCount"]) == (True, 0)
