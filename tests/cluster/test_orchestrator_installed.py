"""The orchestrator as the chart installs it: by its own service account, beside the adapter."""

import asyncio
import base64
import contextlib
import shlex
import urllib.request
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from ottoscaler.orchestrator.worker import read_worker
from ottoscaler.runtime.kube import KubeClient
from tests.cluster.scaling.backends import run_backend
from tests.cluster.scaling.installation import installed, values
from tests.orchestrator.commands import ottoscaler
from tests.redis.certificates import Authority
from tests.waiting import until

PASSWORD = "not-for-everybody"
FORBIDDEN = 'outcome="Forbidden"'


async def make_secret(kube: KubeClient, namespace: str, name: str, content: dict[str, bytes]) -> None:
    data = {key: base64.b64encode(value).decode() for key, value in content.items()}
    await kube.create(f"/api/v1/namespaces/{namespace}/secrets", {"metadata": {"name": name}, "data": data})


@contextlib.asynccontextmanager
async def phases(kube: KubeClient, namespace: str) -> AsyncIterator[dict[str, list[str]]]:
    """What each worker went through, as the API server tells it; `gone` at the end."""
    seen: dict[str, list[str]] = defaultdict(list)

    async def record() -> None:
        path = f"/api/v1/namespaces/{namespace}/pods"
        async for event in kube.watch(path, {"labelSelector": "managed-by=ottoscaler"}):
            for pod in event.object if event.type == "SYNC" else [event.object]:
                worker = read_worker(pod)
                state = "gone" if event.type == "DELETED" else worker.phase
                if seen[worker.name][-1:] != [state]:
                    seen[worker.name].append(state)

    task = asyncio.create_task(record())
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def chart_values(**config: Any) -> dict[str, Any]:
    """The orchestrator with workers that take a moment; the handler is one that nobody serves."""
    worker = {"name": "worker", "command": ["sh", "-c", "echo $OTTO_WORKER_ID; sleep ${OTTO_CONFIG_S:-1}"]}
    made = {
        "workers": {
            "image": "busybox",
            "template": {"spec": {"terminationGracePeriodSeconds": 1, "containers": [worker]}},
        },
        "handler": {"address": "127.0.0.1:9", "handover": "1s"},
        **config,
    }
    orchestrator = {
        "enabled": True,
        "config": made,
        "redisPasswordSecret": {"name": "redis"},
        "tls": {"secretName": "grpc"},
    }
    return values([], orchestrator=orchestrator)


async def test_an_installation_runs_workers_by_its_own_service_account(
    namespace: str, kubeconfig: Path, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    pair = authority.issue("orchestrator")
    async with await KubeClient.connect(kubeconfig) as kube:
        redis = f"--protected-mode no --save '' --requirepass {PASSWORD}"
        address = await run_backend(
            kube, namespace, "redis", command=["redis-server", *shlex.split(redis)], port=6379
        )
        await make_secret(kube, namespace, "redis", {"password": PASSWORD.encode()})
        await make_secret(
            kube,
            namespace,
            "grpc",
            {"tls.crt": pair.certificate.read_bytes(), "tls.key": pair.key.read_bytes()},
        )
        configured = chart_values(
            events={"redis": {"url": f"redis://redis.{namespace}.svc.cluster.local:6379/0"}},
            quota={"perTask": 3},
        )
        async with phases(kube, namespace) as seen, installed(kube, kubeconfig, namespace, configured):
            service = await kube.get(f"/api/v1/namespaces/{namespace}/services/ottoscaler")
            host = service["spec"]["clusterIP"]
            url = f"redis://:{PASSWORD}@{address}:6379/0"
            sent = await ottoscaler("event", "send", "--redis", url, "--workers", "3", "--task", "task-123")
            assert sent.status == 0, sent.err

            def over() -> bool:
                return len(seen) == 3 and all(each[-1] == "gone" for each in seen.values())

            await until(over, what="three workers came and went")
            for name, states in seen.items():
                assert name.startswith("otto-agent-task-123-")
                assert states in (
                    ["Pending", "Running", "Succeeded", "gone"],
                    ["Pending", "Succeeded", "gone"],
                ), f"{name}: {states}"

            server = (
                "--server",
                f"{host}:9090",
                "--ca-file",
                authority.certificate,
                "--server-name",
                "orchestrator",
            )
            full = await ottoscaler("pipeline", "run", "--type", "full", *server)
            assert full.status == 0, full.err
            up = await ottoscaler("scale", "up", "--task", "more", "--workers", "5", *server)
            assert up.status == 0, up.err
            down = await ottoscaler("scale", "down", "--task", "more", "--workers", "0", "--watch", *server)
            assert down.status == 0, down.err
            assert await forbidden(kube, namespace, host) == [], "the service account has the rights it needs"
            pod = (
                await kube.get(
                    f"/api/v1/namespaces/{namespace}/pods",
                    {"labelSelector": "app.kubernetes.io/name=ottoscaler"},
                )
            )["items"][0]
            ready = {
                each["name"]: (each["ready"], each["restartCount"])
                for each in pod["status"]["containerStatuses"]
            }
            assert ready == {"adapter": (True, 0), "orchestrator": (True, 0)}


async def forbidden(kube: KubeClient, namespace: str, host: str) -> list[str]:
    """What the API server refused: by the metrics of its calls, and by the log, which has the rest."""

    def ask() -> str:
        with urllib.request.urlopen(f"http://{host}:8081/metrics", timeout=10) as answer:
            return str(answer.read().decode())

    lines = (await asyncio.to_thread(ask)).splitlines()
    assert any('verb="patch",outcome="ok"' in line or 'outcome="ok",verb="patch"' in line for line in lines)
    found = [line for line in lines if FORBIDDEN in line]
    pods = await kube.get(
        f"/api/v1/namespaces/{namespace}/pods", {"labelSelector": "app.kubernetes.io/name=ottoscaler"}
    )
    for pod in pods["items"]:
        path = f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}/log"
        pieces = [piece async for piece in kube.stream(path, {"container": "orchestrator"})]
        log = b"".join(pieces).decode()
        assert '"serving"' in log
        found += [line for line in log.splitlines() if "forbidden" in line.lower()]
    return found
