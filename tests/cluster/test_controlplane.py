"""The test cluster is Kubernetes: what the other tests rely on, seen working."""

import asyncio
from pathlib import Path

import pytest

from ottoscaler.runtime.kube import KubeClient, KubeError, WatchEvent
from tests.cluster.binaries import kubernetes_version
from tests.cluster.conftest import Kubectl
from tests.cluster.helm import release
from tests.cluster.launcher import Cluster
from tests.waiting import until

TINY = Path(__file__).parent / "charts" / "tiny"


@pytest.mark.own_cluster
def test_the_server_says_its_version(kubectl: Kubectl) -> None:
    assert f"Server Version: {kubernetes_version()}" in kubectl("version")


async def test_a_deployment_becomes_ready_and_logs(namespace: str, kubectl: Kubectl) -> None:
    kubectl(
        *("--namespace", namespace, "create", "deployment", "web", "--image=busybox", "--replicas=2"),
        *("--", "sh", "-c", "echo hello from $HOSTNAME; exec sleep 1000"),
    )
    kubectl("--namespace", namespace, "rollout", "status", "deployment/web", "--timeout=30s")
    logs = kubectl("--namespace", namespace, "logs", "--selector=app=web", "--prefix")
    assert logs.count("hello from web-") == 2


async def test_a_service_reaches_its_pod_by_cluster_ip(namespace: str, kubectl: Kubectl) -> None:
    server = "python3 -m http.server --directory /usr/share/doc 8000"
    kubectl(
        *("--namespace", namespace, "create", "deployment", "web", "--image=python", "--port=8000"),
        *("--", "sh", "-c", server),
    )
    kubectl("--namespace", namespace, "expose", "deployment/web", "--port=80", "--target-port=8000")
    fetch = "import urllib.request as u; print(u.urlopen('http://web', timeout=2).status)"
    again = f'until python3 -c "{fetch}"; do sleep 0.2; done'
    kubectl(
        "--namespace",
        namespace,
        "run",
        "asker",
        "--image=python",
        "--restart=Never",
        "--command",
        "--",
        "sh",
        "-c",
        again,
    )

    async def answered() -> bool:
        return "200" in kubectl("--namespace", namespace, "logs", "asker", check=False)

    await until(answered, what="the pod reaches the Service by its name", every=0.3)


@pytest.mark.own_cluster
@pytest.mark.parametrize("component", ["apiserver", "controller-manager", "scheduler", "kubelet", "etcd"])
async def test_one_component_restarts_while_the_rest_goes_on(
    component: str, namespace: str, cluster: Cluster, kubectl: Kubectl
) -> None:
    before = (await cluster.command("status"))["running"]
    await cluster.command("restart", component)
    after = (await cluster.command("status"))["running"]
    assert before.pop(component) != after.pop(component)
    assert before == after

    def works() -> bool:
        made = kubectl(
            *("--namespace", namespace, "create", "deployment", "web", "--image=busybox"),
            *("--", "sleep", "1000"),
            check=False,
        )
        return "created" in made or "exists" in made

    await until(works, what="the API answers again", every=0.3)
    kubectl("--namespace", namespace, "rollout", "status", "deployment/web", "--timeout=60s")


async def test_a_pod_is_its_service_account(namespace: str, kubectl: Kubectl) -> None:
    program = """
import json, ssl, urllib.request
account = "/var/run/secrets/kubernetes.io/serviceaccount/"
review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
request = urllib.request.Request(
    "https://kubernetes.default/apis/authentication.k8s.io/v1/selfsubjectreviews",
    data=json.dumps(review).encode(),
    headers={"Content-Type": "application/json", "Authorization": "Bearer " + open(account + "token").read()},
)
tls = ssl.create_default_context(cafile=account + "ca.crt")
print(json.load(urllib.request.urlopen(request, context=tls, timeout=10))["status"]["userInfo"]["username"])
"""
    kubectl(
        *("--namespace", namespace, "run", "asker", "--image=python", "--restart=Never"),
        *("--", "-c", program),
    )
    kubectl(
        *("--namespace", namespace, "wait", "pod/asker", "--timeout=30s"),
        "--for=jsonpath={.status.phase}=Succeeded",
    )
    said = kubectl("--namespace", namespace, "logs", "asker").strip()
    assert said == f"system:serviceaccount:{namespace}:default"


async def test_helm_installs_a_chart_and_waits_for_its_pods(
    namespace: str, kubeconfig: Path, kubectl: Kubectl
) -> None:
    async with release(kubeconfig, namespace, "tiny", TINY, {"message": "from a chart"}) as helm:
        assert (await asyncio.to_thread(helm.status, "tiny"))["status"] == "deployed"
        ready = ("get", "deployment", "tiny", "-o", "jsonpath={.status.readyReplicas}")
        assert kubectl("--namespace", namespace, *ready) == "1"
        assert "from a chart" in kubectl("--namespace", namespace, "logs", "deployment/tiny")
    assert "not found" in kubectl("--namespace", namespace, "get", "deployment", "tiny", check=False)


async def test_the_hpa_controller_works_and_says_what_it_cannot_read(
    namespace: str, kubeconfig: Path, kubectl: Kubectl
) -> None:
    kubectl(
        *("--namespace", namespace, "create", "deployment", "web", "--image=busybox"),
        *("--", "sleep", "1000"),
    )
    metric = {
        "metric": {"name": "nobody-serves-this"},
        "target": {"type": "AverageValue", "averageValue": "1"},
    }
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}
    spec = {"scaleTargetRef": target, "maxReplicas": 3, "metrics": [{"type": "External", "external": metric}]}
    path = f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers"
    async with await KubeClient.connect(kubeconfig) as kube:
        await kube.create(path, {"metadata": {"name": "web"}, "spec": spec})

        async def reasons() -> bool:
            status = (await kube.get(f"{path}/web")).get("status", {})
            said = {each["type"]: each["reason"] for each in status.get("conditions") or ()}
            return said.get("AbleToScale") == "SucceededGetScale" and (
                said.get("ScalingActive") == "FailedGetExternalMetric"
            )

        await until(reasons, what="the HPA says that nobody serves the metric")


async def test_a_watch_sees_changes_of_any_size(namespace: str, kubeconfig: Path) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    seen: list[WatchEvent] = []

    async with await KubeClient.connect(kubeconfig) as kube:

        async def follow() -> None:
            async for event in kube.watch(path):
                seen.append(event)

        async with asyncio.TaskGroup() as group:
            task = group.create_task(follow())
            await until(lambda: seen and seen[0].type == "SYNC", what="the first list")
            await kube.create(path, {"metadata": {"name": "one"}, "data": {"text": "x" * 500_000}})
            await until(lambda: seen[-1].type == "ADDED", what="an addition")
            await kube.delete(f"{path}/one")
            await until(lambda: seen[-1].type == "DELETED", what="a deletion")
            task.cancel()


@pytest.mark.own_cluster
async def test_a_watch_comes_back_after_the_api_server_did(
    namespace: str, kubeconfig: Path, cluster: Cluster
) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    names: set[str] = set()

    async with await KubeClient.connect(kubeconfig) as kube:

        async def follow() -> None:
            async for event in kube.watch(path):
                found = event.object if event.type == "SYNC" else [event.object]
                names.update(each["metadata"]["name"] for each in found)

        async def make() -> bool:
            try:
                await kube.create(path, {"metadata": {"name": "late"}})
            except KubeError as error:
                return error.reason == "AlreadyExists"
            return True

        async with asyncio.TaskGroup() as group:
            task = group.create_task(follow())
            await until(lambda: "kube-root-ca.crt" in names, what="the first list")
            await cluster.command("restart", "apiserver")
            await until(make, what="the API answers again")
            await until(lambda: "late" in names, what="the watch sees it")
            task.cancel()


async def test_refusals_carry_the_servers_words(namespace: str, kubeconfig: Path) -> None:
    async with await KubeClient.connect(kubeconfig) as kube:
        with pytest.raises(KubeError) as refused:
            await kube.get(f"/api/v1/namespaces/{namespace}/pods/nobody")
    assert (refused.value.status, refused.value.reason) == (404, "NotFound")
    assert str(refused.value) == 'pods "nobody" not found'
