"""A cluster for the session, a namespace for each test.

`python -m tests.cluster pytest` starts a cluster and runs pytest inside its network; there the cluster's
directory is in `OTTOSCALER_CLUSTER`. With `KUBECONFIG` alone the suite runs against that cluster: what
needs the components' processes or keys (marked `own_cluster`) is then left out, and said.
"""

import asyncio
import os
import secrets
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from ottoscaler.runtime.kube import KubeClient, KubeError
from tests.cluster import diagnosis
from tests.cluster.kubectl import Kubectl as Kubectl
from tests.cluster.kubectl import own_cluster, runner
from tests.cluster.launcher import Cluster
from tests.waiting import until

_LEFT_OUT = pytest.StashKey[int]()
_namespaces: list[str] = []
"""Those that exist now, for the report of a test that fails."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "own_cluster: needs the processes or keys of a cluster made here")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what another cluster cannot do, as deselected, not as skipped."""
    if own_cluster() is not None:
        return
    kept = [item for item in items if item.get_closest_marker("own_cluster") is None]
    left = [item for item in items if item.get_closest_marker("own_cluster") is not None]
    if left:
        config.hook.pytest_deselected(items=left)
        config.stash[_LEFT_OUT] = len(left)
        items[:] = kept


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """How many tests a real control plane took part in, and how many this one could not take part in."""
    if left := config.stash.get(_LEFT_OUT, 0):
        terminalreporter.write_line(
            f"{left} tests were left out: they need the processes or keys of a cluster made here"
            " (unset KUBECONFIG)"
        )
    ran = [
        report
        for outcome in ("passed", "failed")
        for report in terminalreporter.stats.get(outcome, ())
        if report.when == "call" and "tests/cluster/" in report.nodeid
    ]
    if ran:
        terminalreporter.write_line(f"{len(ran)} tests ran on a real control plane")


@pytest.fixture(scope="session")
def kubeconfig() -> Path:
    """The administrator's kubeconfig."""
    if not (path := os.environ.get("KUBECONFIG")):
        pytest.exit("no cluster: run `make test-cluster`, or set KUBECONFIG to use another", 4)
    return Path(path)


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster made here: its files, and commands to its components. For `own_cluster` tests."""
    found = own_cluster()
    assert found is not None, "a test that uses `cluster` is marked `own_cluster`"
    return found


@pytest.fixture(autouse=True)
def components_live() -> Iterator[None]:
    """A component that dies by itself fails the test in which it dies."""
    here = own_cluster()
    before = len(here.died()) if here else 0
    yield
    died = here.died()[before:] if here else []
    assert not died, "\n".join(died)


@pytest.fixture(autouse=True)
def settled(kubectl: Kubectl) -> Iterator[None]:
    """After a test that restarted components the next one begins when pods run again.

    Watches that found the API server away come back after a back-off of up to half a minute.
    """
    before = _pids()
    yield
    if _pids() == before:
        return
    name = f"settled-{secrets.token_hex(4)}"
    place = ("--namespace", "default")

    async def made() -> bool:
        command = ("run", name, "--image=busybox", "--restart=Never", "--command", "--", "true")
        said = kubectl(*place, *command, check=False)
        return "created" in said or "exists" in said

    async def ran() -> bool:
        phase = ("get", "pod", name, "-o", "jsonpath={.status.phase}")
        return kubectl(*place, *phase, check=False) == "Succeeded"

    async def wait() -> None:
        await until(made, within=60, every=0.3, what="a pod can be created")
        await until(ran, within=120, every=0.3, what="pods run again after the restart")

    asyncio.run(wait())
    kubectl(*place, "delete", "pod", name, "--wait=false")


def _pids() -> dict[str, int]:
    """The components' processes, where they are ours."""
    here = own_cluster()
    running: dict[str, int] = asyncio.run(here.command("status"))["running"] if here else {}
    return running


async def create_namespace(kubeconfig: Path, name: str) -> None:
    """Returns when pods can be created in it."""
    async with await KubeClient.connect(kubeconfig) as kube:
        await kube.create("/api/v1/namespaces", {"metadata": {"name": name}})
        _namespaces.append(name)

        async def usable() -> bool:
            try:
                await kube.get(f"/api/v1/namespaces/{name}/serviceaccounts/default")
                await kube.get(f"/api/v1/namespaces/{name}/configmaps/kube-root-ca.crt")
            except KubeError as error:
                if error.status == 404:
                    return False
                raise
            return True

        await until(usable, what=f"namespace {name} has its service account")


async def delete_namespace(kubeconfig: Path, name: str) -> None:
    """Asks for it; the namespace controller goes on by itself."""
    _namespaces.remove(name)
    async with await KubeClient.connect(kubeconfig) as kube:
        await kube.delete(f"/api/v1/namespaces/{name}")


def _namespace(kubeconfig: Path) -> Iterator[str]:
    name = f"test-{secrets.token_hex(4)}"
    asyncio.run(create_namespace(kubeconfig, name))
    yield name
    asyncio.run(delete_namespace(kubeconfig, name))


@pytest.fixture
def namespace(kubeconfig: Path) -> Iterator[str]:
    """The name of a namespace that goes with the test."""
    yield from _namespace(kubeconfig)


@pytest.fixture
def other_namespace(kubeconfig: Path) -> Iterator[str]:
    """A second one."""
    yield from _namespace(kubeconfig)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failing test shows what its namespaces held and what the components said last."""
    report = yield
    if report.failed and report.when != "teardown" and "KUBECONFIG" in os.environ:
        shown = diagnosis.of_namespaces(runner(Path(os.environ["KUBECONFIG"])), _namespaces)
        report.sections.append(("the cluster", shown))
        if (here := own_cluster()) is not None:
            services = diagnosis.of_services(runner(Path(os.environ["KUBECONFIG"])))
            report.sections.append(("the components", services + diagnosis.of_components(here.logs)))
    return report


@pytest.fixture(scope="session")
def kubectl(kubeconfig: Path) -> Kubectl:
    """Runs kubectl: its output; with `check` (the default) a failure is the test's."""
    return runner(kubeconfig)
