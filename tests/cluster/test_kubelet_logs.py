"""`kubectl logs` with all its options, across restarts and rotations."""

import asyncio
from pathlib import Path

import pytest

from ottoscaler.runtime.kube import KubeError
from tests.cluster.conftest import Kubectl
from tests.cluster.podmaker import main_status, pods_in

pytestmark = pytest.mark.own_cluster


async def test_the_options_choose_lines(kubeconfig: Path, namespace: str, kubectl: Kubectl) -> None:
    script = "for i in 1 2 3; do echo out $i; echo err $i >&2; sleep 0.01; done; printf unfinished"
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run("talker", script)
        whole = await pods.output("talker")
        stamped = await pods.log("talker", timestamps="true")
        assert await pods.log("talker", tailLines="2") == "err 3\nunfinished\n"
        assert await pods.log("talker", tailLines="0") == ""
        assert await pods.log("talker", limitBytes="8") == whole[:8]
        assert await pods.log("talker", sinceSeconds="600") == whole
        assert await pods.log("talker", sinceTime="2100-01-01T00:00:00Z") == ""
    assert sorted(whole.splitlines()) == ["err 1", "err 2", "err 3", "out 1", "out 2", "out 3", "unfinished"]
    times = [line.split(" ", 1)[0] for line in stamped.splitlines()]
    assert times == sorted(set(times))
    assert kubectl("--namespace", namespace, "logs", "talker", "--tail=1") == "unfinished\n"


async def test_the_log_before_the_last_restart_stays(kubeconfig: Path, namespace: str) -> None:
    script = "echo run $(cat /data/n || echo 0); echo 1 > /data/n; [ -e /data/again ] || { touch /data/again; exit 1; }; exec sleep 1000"
    mounts = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run(
            "phoenix",
            f"exec 2>/dev/null; {script}",
            container=mounts,
            volumes=[{"name": "data", "emptyDir": {}}],
            restartPolicy="Always",
            terminationGracePeriodSeconds=0,
        )
        await pods.until_logged("phoenix", "run 1")
        assert await pods.log("phoenix", previous="true") == "run 0\n"
        await pods.run("first", "exec sleep 1000", terminationGracePeriodSeconds=0)
        await pods.until_ready("first")
        with pytest.raises(KubeError, match="previous terminated container") as refused:
            await pods.log("first", previous="true")
    assert refused.value.status == 400


async def test_a_container_that_waits_has_no_log(kubeconfig: Path, namespace: str) -> None:
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run("waiter", "true", container={"image": "none"})
        await pods.until("waiter", lambda pod: main_status(pod).get("state"), what="waits")
        with pytest.raises(KubeError, match="is waiting to start: ") as refused:
            await pods.log("waiter")
    assert refused.value.status == 400


async def test_a_follower_gets_every_line_until_the_end(kubeconfig: Path, namespace: str) -> None:
    script = "i=0; while [ $i -lt 200 ]; do i=$((i+1)); echo line $i; [ $((i % 40)) = 0 ] && sleep 0.1; done; exit 0"
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run("counter", script)
        await pods.until_logged("counter", "line 1\n")
        lines = (await pods.log("counter", follow="true")).splitlines()
    assert lines == [f"line {number}" for number in range(1, 201)]


async def test_many_followers_of_one_log(kubeconfig: Path, namespace: str) -> None:
    script = "for i in $(seq 50); do echo $i; sleep 0.01; done"
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run("popular", script)
        await pods.until_logged("popular", "1\n")
        logs = await asyncio.gather(*(pods.log("popular", follow="true") for _ in range(20)))
    assert set(logs) == {"".join(f"{number}\n" for number in range(1, 51))}


async def test_a_follower_passes_rotations(kubeconfig: Path, namespace: str, tmp_path: Path) -> None:
    """30 MB through files of at most 10 MiB: lines of 100 bytes with their number."""
    script = """
import os, time
print(f"{0:<99}")
while not os.path.exists("/go/now"): time.sleep(0.01)
for i in range(1, 300_000): print(f"{i:<99}")
"""
    mounts = {"volumeMounts": [{"name": "go", "mountPath": "/go"}]}
    volumes = [{"name": "go", "hostPath": {"path": str(tmp_path)}}]
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run("chatty", script, python=True, container=mounts, volumes=volumes)
        await pods.until_logged("chatty", "0")
        numbers: list[int] = []
        rest = b""
        async for piece in pods.kube.stream(f"{pods.path}/chatty/log", {"follow": "true"}):
            *lines, rest = (rest + piece).split(b"\n")
            numbers += map(int, lines)
            (tmp_path / "now").touch()
    assert numbers == list(range(300_000))


async def test_only_the_current_file_is_shown(kubeconfig: Path, namespace: str) -> None:
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run("long", "for i in range(120_000): print(f'{i:<99}')", python=True)
        lines = (await pods.output("long")).split()
    assert 0 < len(lines) < 120_000
    assert [int(line) for line in lines] == list(range(120_000 - len(lines), 120_000))


async def test_long_lines_arrive_whole(kubeconfig: Path, namespace: str) -> None:
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run("wide", "print('x' * 100_000); print('ä' * 20_000)", python=True)
        assert await pods.output("wide") == "x" * 100_000 + "\n" + "ä" * 20_000 + "\n"
