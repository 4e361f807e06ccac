"""The node goes on when its kubelet is killed, and when the API server is away."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ottoscaler.runtime.kube import KubeError
from tests.cluster.addresses import API_PORT, NODE_IP
from tests.cluster.launcher import Cluster
from tests.cluster.podmaker import Json, condition, main_status, pods_in
from tests.waiting import until

pytestmark = pytest.mark.own_cluster

COUNT = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done"


@asynccontextmanager
async def without(cluster: Cluster, component: str) -> AsyncIterator[None]:
    """The component is killed for the time of the body; afterwards it answers again."""
    await cluster.command("kill", component)
    try:
        yield
    finally:
        await cluster.command("start", component)
        port = {"kubelet": 10250, "apiserver": API_PORT}[component]
        await until(lambda: _listens(port), what=f"{component} is back")
        if component == "apiserver":
            # Kubernetes' own parts come back by their back-off, within a minute: the next test must not wait.
            for waiting in ("controller-manager", "scheduler", "proxy"):
                await cluster.command("restart", waiting)


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(NODE_IP, port)
    except OSError:
        return False
    writer.close()
    return True


async def test_running_pods_do_not_notice_a_killed_kubelet(
    kubeconfig: Path, namespace: str, cluster: Cluster
) -> None:
    probe = {"readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1}}
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run("steady", COUNT, container=probe, terminationGracePeriodSeconds=0)
        before = await pods.until_ready("steady")
        async with pods.watching("steady") as events:
            async with without(cluster, "kubelet"):
                pass
            await pods.until_logged("steady", "\n100\n")
        seen = [event.object for event in events]
        after = await pods.get("steady")
        lines = (await pods.log("steady")).split()
    assert after is not None
    assert lines == [str(number) for number in range(1, len(lines) + 1)]
    assert main_status(after) == main_status(before)
    assert after["status"]["podIP"] == before["status"]["podIP"]
    assert all(condition(pod, "Ready") == "True" for pod in seen)


async def test_what_happened_in_between_is_caught_up_with(
    kubeconfig: Path, namespace: str, cluster: Cluster, tmp_path: Path
) -> None:
    mounts = {"volumeMounts": [{"name": "go", "mountPath": "/go"}]}
    volumes: list[Json] = [{"name": "go", "hostPath": {"path": str(tmp_path)}}]
    beats = [tmp_path / name for name in ("deleted", "forced")]
    beat = "while :; do date +%s%N > /go/$HOSTNAME; sleep 0.05; done"
    async with pods_in(kubeconfig, namespace) as pods:
        wait = "echo up; until [ -e /go/now ]; do sleep 0.02; done; echo over; exit 3"
        await pods.run("ender", wait, container=mounts, volumes=volumes)
        for name, trap in (("deleted", "exit 0"), ("forced", "")):
            script = f"trap '{trap}' TERM; {beat}"
            await pods.run(name, script, container=mounts, volumes=volumes, terminationGracePeriodSeconds=600)
        await pods.run("finished", "echo well")
        await pods.until_logged("ender", "up")
        await until(lambda: all(path.exists() for path in beats), what="both pods beat")
        await pods.until_phase("finished", "Succeeded")
        async with without(cluster, "kubelet"):
            (tmp_path / "now").touch()
            await pods.delete("deleted")
            await pods.delete("forced", grace=0)
            await pods.run("newcomer", "echo hello")
        ended = main_status(await pods.until_phase("ender", "Failed"))["state"]["terminated"]
        assert ended["exitCode"] == 3
        assert await pods.log("ender") == "up\nover\n"
        assert await pods.log("finished") == "well\n"
        assert await pods.output("newcomer") == "hello\n"
        await pods.until_gone("deleted")
        looks: list[list[str]] = []

        def silent() -> bool:
            looks.append([path.read_text() for path in beats])
            return len(looks) > 10 and all(look == looks[-1] for look in looks[-10:])

        await until(silent, every=0.05, what="no process of the deleted pods is left")


async def test_init_containers_are_not_run_again(kubeconfig: Path, namespace: str, cluster: Cluster) -> None:
    mounts = [{"name": "data", "mountPath": "/data"}]
    first = {"name": "first", "image": "busybox", "command": ["sh", "-c", "echo x >> /data/runs"]}
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run(
            "prepared",
            "while :; do wc -l < /data/runs; sleep 0.05; done",
            container={"volumeMounts": mounts},
            initContainers=[first | {"volumeMounts": mounts}],
            volumes=[{"name": "data", "emptyDir": {}}],
            terminationGracePeriodSeconds=0,
        )
        await pods.until_logged("prepared", "1")
        async with without(cluster, "kubelet"):
            pass
        await pods.until_ready("prepared")
        await pods.run("later", "true")
        await pods.until_phase("later", "Succeeded")
        assert set((await pods.log("prepared")).split()) == {"1"}


async def test_restarts_are_counted_on(kubeconfig: Path, namespace: str, cluster: Cluster) -> None:
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run("crasher", "echo run; exit 5", restartPolicy="Always", terminationGracePeriodSeconds=0)
        await pods.until(
            "crasher", lambda pod: main_status(pod).get("restartCount") == 1, what="restarts once"
        )
        async with pods.watching("crasher") as events:
            async with without(cluster, "kubelet"):
                pass
            await pods.until(
                "crasher", lambda pod: main_status(pod).get("restartCount", 0) >= 3, what="goes on"
            )
            counts = [main_status(event.object)["restartCount"] for event in events]
    assert counts == sorted(counts)


async def test_statuses_wait_for_the_api_server(
    kubeconfig: Path, namespace: str, cluster: Cluster, tmp_path: Path
) -> None:
    mounts = {"volumeMounts": [{"name": "go", "mountPath": "/go"}]}
    volumes = [{"name": "go", "hostPath": {"path": str(tmp_path)}}]
    async with pods_in(kubeconfig, namespace) as pods:
        for number in range(3):
            script = "echo up; until [ -e /go/now ]; do sleep 0.02; done; echo over > /go/$HOSTNAME"
            await pods.run(f"ender-{number}", script, container=mounts, volumes=volumes)
        await pods.run("steady", COUNT, terminationGracePeriodSeconds=0)
        for name in ("ender-0", "ender-1", "ender-2", "steady"):
            await pods.until_ready(name)
    async with without(cluster, "apiserver"):
        (tmp_path / "now").touch()
        written = [tmp_path / f"ender-{number}" for number in range(3)]
        await until(lambda: all(path.exists() for path in written), what="the pods go on without it")
    async with pods_in(kubeconfig, namespace) as pods:

        async def answers() -> bool:
            try:
                return await pods.get("steady") is not None
            except KubeError:
                return False

        await until(answers, what="the API server is back")
        for number in range(3):
            await pods.until_phase(f"ender-{number}", "Succeeded")
        steady = await pods.get("steady")
        assert steady is not None
        assert main_status(steady)["restartCount"] == 0
        await pods.delete("steady")
        await pods.until_gone("steady")


async def test_containers_that_a_dead_runtime_took_along_are_replaced(
    kubeconfig: Path, namespace: str, cluster: Cluster
) -> None:
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run("again", COUNT, restartPolicy="Always", terminationGracePeriodSeconds=0)
        await pods.run("once", COUNT, terminationGracePeriodSeconds=0)
        for name in ("again", "once"):
            await pods.until_ready(name)
        async with without(cluster, "kubelet"):
            runtime = _runtime_process(cluster)
            os.kill(runtime, signal.SIGKILL)
            await until(lambda: not Path(f"/proc/{runtime}").exists(), what="the runtime is dead")
        again = await pods.until(
            "again", lambda pod: main_status(pod)["restartCount"] == 1, what="is restarted"
        )
        once = await pods.until_phase("once", "Failed")
        await pods.until_ready("again")
    assert main_status(again)["lastState"]["terminated"]["reason"] == "ContainerStatusUnknown"
    assert main_status(once)["state"]["terminated"]["exitCode"] == 137


def _runtime_process(cluster: Cluster) -> int:
    """Seen from the test, which shares the cluster's network only: the runtime with the same one."""
    network = Path(f"/proc/{cluster.pid}/ns/net").readlink()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            if b"tests.cluster.kubelet.runtime" in words and (process / "ns" / "net").readlink() == network:
                return int(process.name)
        except OSError:
            continue
    raise AssertionError("the container runtime does not run")
