"""An adapter outside the cluster, started and registered by the commands that a person types."""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ottoscaler.runtime.kube import KubeClient
from tests.cluster.addresses import NODE_IP
from tests.cluster.scaling.backends import RedisQueue
from tests.cluster.scaling.metric import ask
from tests.waiting import until

PORT = 7443


async def _ottoscaler(*arguments: str) -> str:
    """What the command prints; a failure is the test's."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ottoscaler", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output = (await process.communicate())[0].decode()
    assert process.returncode == 0, output
    return output


@contextlib.asynccontextmanager
async def _running(config: Path, kubeconfig: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "ottoscaler", "adapter"),
        *("--config", str(config), "--kubeconfig", str(kubeconfig)),
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


@pytest.mark.own_cluster
async def test_it_is_registered_asked_and_unregistered(
    namespace: str, kubeconfig: Path, tmp_path: Path
) -> None:
    here = tmp_path / "kubeconfig"
    document = json.loads(kubeconfig.read_text())
    document["contexts"][0]["context"]["namespace"] = namespace
    here.write_text(json.dumps(document))
    async with await KubeClient.connect(here) as kube:
        queue = RedisQueue(kube, namespace)
        await queue.start()
        await queue.add(7)
        block = queue.configuration
        block["redis"]["url"] = queue.url_by_address
        config = tmp_path / "config.yaml"
        config.write_text(
            json.dumps(
                {
                    "api": {"address": f"{NODE_IP}:{PORT}", "service": "outside"},
                    "http": {"address": "127.0.0.1:0"},
                    "queues": [block],
                }
            )
        )
        async with _running(config, here):

            async def registered() -> bool:
                with contextlib.suppress(AssertionError):
                    said = await _ottoscaler(
                        *("apiservice", "register", "--service", f"{namespace}/outside"),
                        *("--address", f"{NODE_IP}:{PORT}", "--kubeconfig", str(here)),
                    )
                    return "v1beta1.external.metrics.k8s.io leads to" in said
                return False  # the adapter has not made its CA yet

            await until(registered, what="the adapter is registered", every=0.3)
            try:

                async def measured() -> bool:
                    return (await ask(kube, namespace, "queue_demand", queue.name)).value == 7

                await until(measured, what="the metric is read through the cluster")
                status = json.loads(
                    await _ottoscaler("apiservice", "status", "--kubeconfig", str(here), "-o", "json")
                )
                assert status["available"] is True
                shown = await _ottoscaler(
                    *("metrics", "get", "queue_demand", "--selector", f"queue={queue.name}"),
                    *("--namespace", namespace, "--kubeconfig", str(here)),
                )
                assert "7" in shown
                assert queue.name in shown
            finally:
                gone = await _ottoscaler(
                    *("apiservice", "unregister", "--service", f"{namespace}/outside"),
                    *("--kubeconfig", str(here)),
                )
            assert "is removed" in gone
