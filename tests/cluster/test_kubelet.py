"""A pod's life on the process kubelet is that on a real one."""

import signal
from pathlib import Path

import pytest

from tests.cluster.podmaker import Json, condition, main_status, pods_in
from tests.waiting import until

pytestmark = pytest.mark.own_cluster


async def test_a_command_that_ends_well_succeeds(kubeconfig: Path, namespace: str) -> None:
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run("job", "echo done")
        assert await pods.output("job") == "done\n"
        pod = await pods.until_phase("job", "Succeeded")
    ended = main_status(pod)["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (0, "Completed")
    assert ended["containerID"] == main_status(pod)["containerID"]


@pytest.mark.parametrize(
    ("script", "code"),
    [("exit 3", 3), ("sleep 99 & kill -KILL $!; wait $!", 137), ("sleep 99 & kill $!; wait $!", 143)],
)
async def test_exit_codes_and_signals_are_told(
    kubeconfig: Path, namespace: str, script: str, code: int
) -> None:
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run("job", script)
        pod = await pods.until_phase("job", "Failed")
    ended = main_status(pod)["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (code, "Error")


async def test_an_unknown_image_waits_until_it_is_there(kubeconfig: Path, namespace: str) -> None:
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run("lost", "true", container={"image": "registry.example/none:1"})
        reasons: set[str] = set()

        def both_seen(pod: Json) -> bool:
            reasons.add(main_status(pod).get("state", {}).get("waiting", {}).get("reason", ""))
            return {"ErrImagePull", "ImagePullBackOff"} <= reasons

        pod = await pods.until("lost", both_seen, what="ErrImagePull, then ImagePullBackOff")
        assert pod["status"]["phase"] == "Pending"
        await pods.run("never", "true", container={"image": "none", "imagePullPolicy": "Never"})
        await pods.until(
            "never",
            lambda pod: (
                main_status(pod).get("state", {}).get("waiting", {}).get("reason") == "ErrImageNeverPull"
            ),
            what="ErrImageNeverPull",
        )


async def test_a_program_that_is_not_there_is_a_start_error(kubeconfig: Path, namespace: str) -> None:
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run("typo", "", container={"command": ["/no/such/program"]})
        pod = await pods.until_phase("typo", "Failed")
    ended = main_status(pod)["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert "/no/such/program" in ended["message"]


async def test_a_failing_container_is_restarted_until_it_succeeds(kubeconfig: Path, namespace: str) -> None:
    script = "echo x >> /data/runs; [ $(wc -l < /data/runs) = 3 ] || exit 7"
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run(
            "flaky",
            script,
            container={"volumeMounts": [{"name": "data", "mountPath": "/data"}]},
            volumes=[{"name": "data", "emptyDir": {}}],
            restartPolicy="OnFailure",
        )
        await pods.until(
            "flaky",
            lambda pod: (
                main_status(pod).get("state", {}).get("waiting", {}).get("reason") == "CrashLoopBackOff"
            ),
            what="back-off",
        )
        pod = await pods.until_phase("flaky", "Succeeded")
    status = main_status(pod)
    assert status["restartCount"] == 2
    assert status["lastState"]["terminated"]["exitCode"] == 7


async def test_init_containers_run_first_and_in_order(kubeconfig: Path, namespace: str) -> None:
    mounts = [{"name": "data", "mountPath": "/data"}]

    def step(name: str, script: str) -> Json:
        return {"name": name, "image": "busybox", "command": ["sh", "-c", script], "volumeMounts": mounts}

    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run(
            "steps",
            "cat /data/steps",
            container={"volumeMounts": mounts},
            initContainers=[step("one", "echo one >> /data/steps"), step("two", "echo two >> /data/steps")],
            volumes=[{"name": "data", "emptyDir": {}}],
        )
        assert await pods.output("steps") == "one\ntwo\n"
        await pods.run(
            "stuck",
            "echo never",
            initContainers=[step("one", "exit 4")],
            volumes=[{"name": "data", "emptyDir": {}}],
        )
        pod = await pods.until_phase("stuck", "Failed")
    assert pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["exitCode"] == 4
    assert main_status(pod)["state"]["waiting"]["reason"] == "PodInitializing"
    assert condition(pod, "Initialized") == "False"


async def test_sigterm_lets_a_program_end_by_itself(kubeconfig: Path, namespace: str) -> None:
    script = "trap 'echo leaving; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run("kind", script, terminationGracePeriodSeconds=600)
        await pods.until_logged("kind", "up")
        follower = pods.kube.stream(f"{pods.path}/kind/log", {"follow": "true"})
        await pods.delete("kind")
        assert b"".join([piece async for piece in follower]) == b"up\nleaving\n"
        await pods.until_gone("kind", within=20)


async def test_who_ignores_sigterm_is_killed_after_the_grace_period(kubeconfig: Path, namespace: str) -> None:
    script = "trap '' TERM; echo up; while :; do date +%s.%N; sleep 0.05; done"
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run("deaf", script, terminationGracePeriodSeconds=2)
        await pods.until_logged("deaf", "up")
        async with pods.watching("deaf") as events:
            await pods.delete("deaf")
            await until(lambda: events and events[-1].type == "DELETED", what="the pod is gone")
    last = events[-1].object
    assert main_status(last)["state"]["terminated"]["exitCode"] == 128 + signal.SIGKILL
    assert last["status"]["phase"] == "Failed"


async def test_a_pre_stop_hook_comes_before_sigterm(kubeconfig: Path, namespace: str) -> None:
    script = "trap 'cat /tmp/hook; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo drained as $(id -u) > /tmp/hook"]}}}
    async with pods_in(kubeconfig, namespace) as pods:
        context = {"runAsUser": 1234}
        await pods.run("hooked", script, container={"lifecycle": hook, "securityContext": context})
        await pods.until_logged("hooked", "up")
        follower = pods.kube.stream(f"{pods.path}/hooked/log", {"follow": "true"})
        await pods.delete("hooked")
        assert b"".join([piece async for piece in follower]) == b"up\ndrained as 1234\n"


async def test_a_grace_period_can_be_shortened(kubeconfig: Path, namespace: str) -> None:
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run(
            "deaf", "trap '' TERM; while :; do sleep 0.05; done", terminationGracePeriodSeconds=600
        )
        await pods.until_ready("deaf")
        await pods.delete("deaf")
        await pods.until("deaf", lambda pod: "deletionTimestamp" in pod["metadata"], what="is being deleted")
        await pods.delete("deaf", grace=1)
        await pods.until_gone("deaf", within=20)


async def test_a_pod_deleted_by_force_leaves_no_process(
    kubeconfig: Path, namespace: str, tmp_path: Path
) -> None:
    tmp_path.chmod(0o777)
    for parent in tmp_path.parents[:-1]:
        parent.chmod(parent.stat().st_mode | 0o055)
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run(
            "stubborn",
            "trap '' TERM; while :; do date +%s%N > /out/beat; sleep 0.05; done",
            container={"volumeMounts": [{"name": "out", "mountPath": "/out"}]},
            volumes=[{"name": "out", "hostPath": {"path": str(tmp_path), "type": "Directory"}}],
            terminationGracePeriodSeconds=600,
        )
        beat = tmp_path / "beat"
        await until(beat.exists, what="the pod writes to its hostPath")
        await pods.delete("stubborn", grace=0)
        await pods.until_gone("stubborn")
        marks: list[str] = []

        def silent() -> bool:
            marks.append(beat.read_text())
            return len(marks) > 10 and len(set(marks[-10:])) == 1

        await until(silent, every=0.05, what="the process is gone")


async def test_a_pod_outlives_its_deadline_no_more(kubeconfig: Path, namespace: str) -> None:
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run(
            "late",
            "exec sleep 1000",
            activeDeadlineSeconds=5,  # long enough to have begun on a busy machine
            terminationGracePeriodSeconds=1,
            restartPolicy="Always",
        )
        pod = await pods.until_phase("late", "Failed")
        assert pod["status"]["reason"] == "DeadlineExceeded"
        assert main_status(pod)["state"]["terminated"]["exitCode"] == 137
        await pods.delete("late")
        await pods.until_gone("late")


async def test_containers_of_a_pod_share_its_address(kubeconfig: Path, namespace: str) -> None:
    serve = {"name": "server", "image": "python", "args": ["-m", "http.server", "-b", "127.0.0.1", "8000"]}
    ask = "until python3 -c \"import urllib.request as u; print(u.urlopen('http://127.0.0.1:8000').status)\"; do sleep 0.1; done"
    main = {"name": "main", "image": "python", "command": ["sh", "-c", f"{ask} 2>/dev/null"]}
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.create("pair", {"restartPolicy": "Never", "containers": [main, serve]})
        await pods.until_logged("pair", "200", container="main")
        pod = await pods.until(
            "pair", lambda pod: "terminated" in main_status(pod).get("state", {}), what="main has ended"
        )
        assert pod["status"]["phase"] == "Running"
        assert condition(pod, "Ready") == "False"


async def test_the_last_words_of_a_container_are_shown(kubeconfig: Path, namespace: str) -> None:
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run("told", "printf 'disk full' > /dev/termination-log; exit 1")
        await pods.run(
            "said", "echo no disk; exit 1", container={"terminationMessagePolicy": "FallbackToLogsOnError"}
        )
        told, said = await pods.until_phase("told", "Failed"), await pods.until_phase("said", "Failed")
    assert main_status(told)["state"]["terminated"]["message"] == "disk full"
    assert main_status(said)["state"]["terminated"]["message"] == "no disk\n"


async def test_events_tell_the_story(kubeconfig: Path, namespace: str) -> None:
    async with pods_in(kubeconfig, namespace) as pods:
        await pods.run("story", "true")
        await pods.until_phase("story", "Succeeded")

        async def reasons() -> bool:
            events = await pods.kube.get(f"/api/v1/namespaces/{namespace}/events")
            return {"Scheduled", "Pulled", "Created", "Started"} <= {
                event["reason"] for event in events["items"]
            }

        await until(reasons, what="the usual events")
