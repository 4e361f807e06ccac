"""What the rest of the cluster sees of the adapter that the chart installed: kubectl, Go clients, the
aggregator, the namespace controller."""

import asyncio
import json
import secrets
import subprocess
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from ottoscaler.runtime.kube import KubeClient, KubeError
from tests.cluster.conftest import Kubectl, create_namespace, delete_namespace
from tests.cluster.launcher import Cluster
from tests.cluster.scaling.backends import FirebaseQueue, LiveQueue, RedisQueue
from tests.cluster.scaling.installation import available, installed, values
from tests.cluster.scaling.metric import GROUP, ask
from tests.waiting import until

NAMESPACE = f"aggregated-api-{secrets.token_hex(4)}"
JOBS = {"generator": 3, "scale-events": 4}


@dataclass(frozen=True, slots=True)
class Installed:
    """The installation that the tests of this module look at, one after the other."""

    runner: asyncio.Runner
    kube: KubeClient
    queues: dict[str, LiveQueue]


@pytest.fixture(scope="module")
def adapter(kubeconfig: Path) -> Iterator[Installed]:
    """Both backends with jobs in them, and the chart."""
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()

        async def begin() -> Installed:
            kube = await stack.enter_async_context(await KubeClient.connect(kubeconfig))
            await create_namespace(kubeconfig, NAMESPACE)
            queues: list[LiveQueue] = [FirebaseQueue(kube, NAMESPACE), RedisQueue(kube, NAMESPACE)]
            for queue in queues:
                await queue.start()
                await queue.add(JOBS[queue.name])
            chart = values([queue.configuration for queue in queues], replicas=2)
            await stack.enter_async_context(installed(kube, kubeconfig, NAMESPACE, chart))
            for queue in queues:

                async def measured(name: str = queue.name) -> bool:
                    return (await ask(kube, NAMESPACE, "queue_demand", name)).value == JOBS[name]

                await until(measured, what=f"{queue.name} is measured")
            return Installed(runner, kube, {queue.name: queue for queue in queues})

        try:
            yield runner.run(begin())
        finally:
            runner.run(stack.aclose())
            runner.run(delete_namespace(kubeconfig, NAMESPACE))


@pytest.mark.parametrize("queue", sorted(JOBS))
def test_kubectl_reads_a_metric(queue: str, adapter: Installed, kubectl: Kubectl) -> None:
    path = f"{GROUP}/namespaces/{NAMESPACE}/queue_waiting?labelSelector=queue%3D{queue}"
    answer = json.loads(kubectl("get", "--raw", path))

    assert answer["kind"] == "ExternalMetricValueList"
    (item,) = answer["items"]
    assert item["value"] == str(JOBS[queue])
    assert item["metricLabels"]["queue"] == queue


def test_without_a_selector_every_queue_answers(adapter: Installed, kubectl: Kubectl) -> None:
    answer = json.loads(kubectl("get", "--raw", f"{GROUP}/namespaces/{NAMESPACE}/queue_demand"))
    assert {each["metricLabels"]["queue"]: int(each["value"]) for each in answer["items"]} == JOBS


def test_discovery_satisfies_kubectl(adapter: Installed, kubectl: Kubectl) -> None:
    listed = kubectl("api-resources", "--api-group=external.metrics.k8s.io", "--no-headers")
    names = [line.split()[0] for line in listed.splitlines()]
    assert "queue_demand" in names
    assert all(
        line.split()[1:3] == ["external.metrics.k8s.io/v1beta1", "true"] for line in listed.splitlines()
    )
    everything = kubectl("api-resources")
    assert "error" not in everything.lower()
    assert "unable" not in everything.lower()


def test_kubectl_explains_the_kind(adapter: Installed, kubectl: Kubectl) -> None:
    explain = ("explain", "queue_demand", "--api-version=external.metrics.k8s.io/v1beta1", "--recursive")

    async def known() -> str | None:
        """The aggregator fetches a new API's OpenAPI when it gets round to it."""
        said = kubectl(*explain, check=False)
        return said if "KIND:" in said else None

    explained = adapter.runner.run(until(known, within=60, every=0.5, what="the aggregator has the schema"))
    assert "KIND:       ExternalMetricValueList" in explained
    assert "metricLabels" in explained


@pytest.mark.own_cluster
@pytest.mark.parametrize("client", ["hpa", "rest"])
@pytest.mark.parametrize("content_type", ["application/json", "application/vnd.kubernetes.protobuf"])
def test_a_go_client_agrees_with_the_encoding(
    client: str, content_type: str, adapter: Installed, cluster: Cluster, kubectl: Kubectl
) -> None:
    """Two Go clients decode what kubectl shows raw: the HPA controller's, and one by registered types."""
    result = subprocess.run(
        [
            *(str(cluster.binary), "external-metrics-client", "--kubeconfig", str(cluster.kubeconfig)),
            *("--client", client, "--content-type", content_type, "--namespace", NAMESPACE),
            *("--selector", "queue in (generator)", "queue_demand"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    (decoded,) = json.loads(result.stdout)["items"]
    raw = json.loads(
        kubectl("get", "--raw", f"{GROUP}/namespaces/{NAMESPACE}/queue_demand?labelSelector=queue=generator")
    )["items"][0]
    for answer in (decoded, raw):
        answer.pop("timestamp")  # read at two moments
    assert decoded == raw


def test_a_user_without_rights_is_refused_in_kubernetes_words(adapter: Installed, kubectl: Kubectl) -> None:
    path = f"{GROUP}/namespaces/{NAMESPACE}/queue_demand"
    refused = kubectl("get", "--raw", path, "--as=jane", check=False)
    assert (
        'queue_demand.external.metrics.k8s.io is forbidden: User "jane" cannot list resource "queue_demand" '
        f'in API group "external.metrics.k8s.io" in the namespace "{NAMESPACE}"' in refused
    )


def test_the_hpa_controller_may_read(adapter: Installed, kubectl: Kubectl) -> None:
    path = f"{GROUP}/namespaces/{NAMESPACE}/queue_demand"
    controller = "system:serviceaccount:kube-system:horizontal-pod-autoscaler"
    answer = json.loads(kubectl("get", "--raw", path, f"--as={controller}"))
    assert len(answer["items"]) == 2


def test_a_namespace_is_deleted_while_every_backend_is_down(adapter: Installed, kubeconfig: Path) -> None:
    """Deletion needs the discovery of every API; ours must not depend on a queue."""

    async def scenario() -> None:
        kube = adapter.kube
        await create_namespace(kubeconfig, "doomed")
        for queue in adapter.queues.values():
            await queue.stop()
        try:
            await kube.delete("/api/v1/namespaces/doomed")

            async def gone() -> bool:
                try:
                    await kube.get("/api/v1/namespaces/doomed")
                except KubeError as error:
                    return error.status == 404
                return False

            await until(gone, what="the namespace is gone")
            assert await available(kube)
        finally:
            for queue in adapter.queues.values():
                await queue.restore()

    adapter.runner.run(scenario())


@pytest.mark.own_cluster
def test_the_aggregator_finds_nothing_to_complain_about(adapter: Installed, cluster: Cluster) -> None:
    """An OpenAPI or discovery document that the aggregator cannot use is retried and logged for ever."""
    log = (cluster.logs / "apiserver.log").read_text(errors="replace")
    after = log[log.rindex("v1beta1.external.metrics.k8s.io") :] if "v1beta1.external.metrics" in log else ""
    complaints = [
        line
        for line in after.splitlines()
        if "external.metrics" in line and ("loading OpenAPI spec" in line and "failed" in line)
    ]
    assert complaints == []
