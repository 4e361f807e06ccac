"""A pod's phase, as Kubernetes derives it from its containers."""

import pytest

from tests.cluster.kubelet.states import Running, State, Terminated, Waiting
from tests.cluster.kubelet.status import ContainerView, Phase, phase

UP = Running(started=1.0)
NEW = Waiting(reason="ContainerCreating")
BACK_OFF = Waiting(reason="CrashLoopBackOff")


def ended(code: int) -> Terminated:
    return Terminated(code=code, reason="", started=1.0, finished=2.0)


def views(*states: State) -> list[ContainerView]:
    return [
        ContainerView(f"c{number}", state, ended(1) if state is BACK_OFF else None, ready=False)
        for number, state in enumerate(states)
    ]


@pytest.mark.parametrize(
    ("main", "policy", "expected"),
    [
        ([NEW], "Always", "Pending"),
        ([UP, NEW], "Always", "Pending"),
        ([UP], "Always", "Running"),
        ([UP, ended(1)], "Never", "Running"),
        ([BACK_OFF], "Always", "Running"),
        ([ended(0)], "Always", "Running"),
        ([ended(1)], "OnFailure", "Running"),
        ([ended(0)], "OnFailure", "Succeeded"),
        ([ended(0), ended(0)], "Never", "Succeeded"),
        ([ended(0), ended(1)], "Never", "Failed"),
    ],
)
def test_of_the_main_containers(main: list[State], policy: str, expected: Phase) -> None:
    assert phase([], views(*main), restart_policy=policy, ended=False) == expected


@pytest.mark.parametrize(
    ("main", "expected"),
    [
        ([ended(0)], "Succeeded"),
        ([ended(137)], "Failed"),
        ([ended(0), ended(143)], "Failed"),
        ([NEW], "Failed"),
        ([BACK_OFF], "Failed"),
    ],
)
def test_of_a_pod_that_was_ended(main: list[State], expected: Phase) -> None:
    assert phase([], views(*main), restart_policy="Always", ended=True) == expected


@pytest.mark.parametrize(
    ("init", "policy", "expected"),
    [
        (UP, "Always", "Pending"),
        (ended(1), "Always", "Pending"),
        (ended(1), "OnFailure", "Pending"),
        (ended(1), "Never", "Failed"),
        (ended(0), "Always", "Running"),
    ],
)
def test_of_init_containers(init: State, policy: str, expected: Phase) -> None:
    main = UP if init == ended(0) else NEW
    assert phase(views(init), views(main), restart_policy=policy, ended=False) == expected
