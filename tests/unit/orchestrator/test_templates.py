"""The pod of a worker: the template underneath, the order and the contract on top."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ottoscaler.orchestrator.orders import Facts, Origin
from ottoscaler.orchestrator.template import PodDefaults, WorkerSpec, build_pod
from ottoscaler.orchestrator.worker import StageWorker, read_worker


def spec(**changes: Any) -> WorkerSpec:
    values: dict[str, Any] = {
        "name": "w-1",
        "task_id": "Task/1",
        "index": 2,
        "count": 3,
        "origin": Origin(key="k", at=1000.25, event="1-2"),
        "facts": Facts(repository="acme/shop", config={"go-version": "1.24"}),
    }
    return WorkerSpec(**(values | changes))


def defaults(template: dict[str, Any] | None = None, *, gated: bool = False) -> PodDefaults:
    return PodDefaults(
        image="busybox",
        limits={"cpu": "500m", "memory": "128Mi"},
        requests={"cpu": "500m", "memory": "128Mi"},
        active_deadline=3600,
        template=template or {},
        gated=gated,
    )


def worker_container(pod: dict[str, Any]) -> dict[str, Any]:
    (found,) = [each for each in pod["spec"]["containers"] if each["name"] == "worker"]
    result: dict[str, Any] = found
    return result


def variables(pod: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry.get("value", "") for entry in worker_container(pod)["env"]}


def test_without_a_template() -> None:
    pod = build_pod(spec(), defaults())
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["activeDeadlineSeconds"] == 3600
    assert "ownerReferences" not in pod["metadata"]
    assert worker_container(pod)["image"] == "busybox"
    assert worker_container(pod)["resources"] == {
        "limits": {"cpu": "500m", "memory": "128Mi"},
        "requests": {"cpu": "500m", "memory": "128Mi"},
    }
    labels = pod["metadata"]["labels"]
    assert (labels["managed-by"], labels["app"], labels["worker-index"]) == ("ottoscaler", "otto-agent", "2")
    assert labels["task-id"] != "Task/1", "that is no label"
    seen = read_worker(pod | {"metadata": pod["metadata"] | {"uid": "u"}})
    assert (seen.task_id, seen.index, seen.event, seen.requested_at) == ("Task/1", 2, "1-2", 1000.25)


def test_the_template_gives_what_the_order_does_not_say() -> None:
    template: dict[str, Any] = {
        "metadata": {"labels": {"team": "ci", "app": "mine"}, "annotations": {"a": "b"}},
        "spec": {
            "serviceAccountName": "agent",
            "tolerations": [{"key": "ci"}],
            "restartPolicy": "Always",
            "activeDeadlineSeconds": 60,
            "containers": [
                {"name": "sidecar", "image": "proxy"},
                {
                    "name": "worker",
                    "image": "agent:3",
                    "command": ["agent"],
                    "env": [{"name": "TOKEN", "value": "x"}, {"name": "OTTO_TASK_ID", "value": "forged"}],
                    "resources": {"limits": {"memory": "64Mi"}},
                },
            ],
        },
    }
    pod = build_pod(spec(), defaults(template))
    assert pod["spec"]["serviceAccountName"] == "agent"
    assert pod["spec"]["restartPolicy"] == "Never"
    assert pod["spec"]["activeDeadlineSeconds"] == 60, "the shorter one"
    assert pod["metadata"]["labels"]["team"] == "ci"
    assert pod["metadata"]["labels"]["app"] == "otto-agent", "the contract's"
    assert [each["name"] for each in pod["spec"]["containers"]] == ["sidecar", "worker"]
    container = worker_container(pod)
    assert (container["image"], container["command"]) == ("agent:3", ["agent"])
    assert container["resources"]["requests"]["memory"] == "64Mi", "never above the limit"
    assert variables(pod)["TOKEN"] == "x"
    assert variables(pod)["OTTO_TASK_ID"] == "Task/1"
    assert template["spec"]["restartPolicy"] == "Always", "the template itself stays as it is"


def test_a_stage_says_what_it_runs() -> None:
    stage = StageWorker(run="uid", pipeline_id="p/1", stage_id="build", attempt=2)
    template = {"spec": {"containers": [{"name": "worker", "command": ["old"], "args": ["old"]}]}}
    pod = build_pod(
        spec(image="go:1", command=("make",), args=("all",), stage=stage, stage_type="build"),
        defaults(template),
    )
    container = worker_container(pod)
    assert (container["image"], container["command"], container["args"]) == ("go:1", ["make"], ["all"])
    labels = pod["metadata"]["labels"]
    assert (labels["stage-id"], labels["stage-type"]) == ("build", "build")
    assert labels["pipeline-id"].startswith("p-1--")
    assert read_worker(pod | {"metadata": pod["metadata"] | {"uid": "u"}}).stage == stage
    only_command = build_pod(spec(command=("sh",)), defaults(template))
    assert "args" not in worker_container(only_command), "another command's arguments are not this one's"


def test_with_a_quota_a_worker_waits_behind_a_gate() -> None:
    template = {"spec": {"schedulingGates": [{"name": "kueue.x-k8s.io/admission"}]}}
    pod = build_pod(spec(), defaults(template, gated=True))
    assert [gate["name"] for gate in pod["spec"]["schedulingGates"]] == [
        "kueue.x-k8s.io/admission",
        "ottoscaler.dev/quota",
    ]


def test_workers_learn_what_their_order_said() -> None:
    env = variables(build_pod(spec(), defaults()))
    assert env["OTTO_REPOSITORY"] == "acme/shop"
    assert env["OTTO_CONFIG_GO_VERSION"] == "1.24"
    told = variables(
        build_pod(spec(facts=Facts(metadata={"branch": "grün", "pull-request": "$7"})), defaults())
    )
    assert (told["OTTO_METADATA_BRANCH"], told["OTTO_METADATA_PULL_REQUEST"]) == ("grün", "$$7")
    assert (env["OTTO_WORKER_INDEX"], env["OTTO_WORKER_COUNT"], env["OTTO_WORKER_ID"]) == ("2", "3", "w-1")
    assert "OTTO_REASON" not in env


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_an_order_cannot_reach_beyond_its_own_variables(config: dict[str, str]) -> None:
    env = variables(build_pod(spec(facts=Facts(config=config)), defaults()))
    assert all(name.startswith("OTTO_") for name in env)
    assert env["OTTO_WORKER_ID"] == "w-1"
    for value in env.values():
        assert "$(" not in value.replace("$$", "")
