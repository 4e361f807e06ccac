"""A cluster for the session, a namespace for each test.

`python -m tests.cluster pytest` starts a cluster and runs pytest inside its network; there the cluster's
directory is in `OTTOSCALER_CLUSTER`. With `KUBECONFIG` alone the suite runs against that cluster: what
needs the components' processes or keys (marked `own_cluster`) is then left out, and said.
"""

import asyncio
import os
import secrets
import subprocess
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from ottoscaler.runtime.kube import KubeClient, KubeError
from tests.cluster.launcher import Cluster
from tests.waiting import until

Kubectl = Callable[..., str]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "own_cluster: needs the processes or keys of a cluster made here")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what another cluster cannot do, as deselected, not as skipped."""
    if "OTTOSCALER_CLUSTER" in os.environ:
        return
    kept = [item for item in items if item.get_closest_marker("own_cluster") is None]
    left = [item for item in items if item.get_closest_marker("own_cluster") is not None]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many tests a real control plane took part in."""
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
    return Cluster(Path(os.environ["OTTOSCALER_CLUSTER"]))


@pytest.fixture(autouse=True)
def components_live() -> Iterator[None]:
    """A component that died by itself fails the test in which it died."""
    yield
    if "OTTOSCALER_CLUSTER" in os.environ:
        here = Cluster(Path(os.environ["OTTOSCALER_CLUSTER"]))
        status = asyncio.run(here.command("status"))
        assert not status["died"], "\n".join(status["died"])


async def create_namespace(kubeconfig: Path, name: str) -> None:
    """Returns when pods can be created in it."""
    async with await KubeClient.connect(kubeconfig) as kube:
        await kube.create("/api/v1/namespaces", {"metadata": {"name": name}})

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
    async with await KubeClient.connect(kubeconfig) as kube:
        await kube.delete(f"/api/v1/namespaces/{name}")


def _namespace(
    kubeconfig: Path, request: pytest.FixtureRequest, kubectl: Kubectl
) -> Generator[str, None, None]:
    name = f"test-{secrets.token_hex(4)}"
    asyncio.run(create_namespace(kubeconfig, name))
    yield name
    report = getattr(request.node, "report", None)
    if report is not None and report.failed:
        for what in ("pods,deployments,hpa,apiservices", "events"):
            print(kubectl("get", what, "--namespace", name, "-o", "wide", check=False))
        for pod in kubectl("get", "pods", "--namespace", name, "-o", "name", check=False).split():
            print(f"── {pod}")
            print(kubectl("logs", pod, "--namespace", name, "--all-containers", "--tail=40", check=False))
    asyncio.run(delete_namespace(kubeconfig, name))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call":
        item.report = report  # type: ignore[attr-defined]
    return report


@pytest.fixture
def namespace(kubeconfig: Path, request: pytest.FixtureRequest, kubectl: Kubectl) -> Iterator[str]:
    """The name of a namespace that goes with the test; a failing test shows what was in it."""
    yield from _namespace(kubeconfig, request, kubectl)


@pytest.fixture
def other_namespace(kubeconfig: Path, request: pytest.FixtureRequest, kubectl: Kubectl) -> Iterator[str]:
    """A second one."""
    yield from _namespace(kubeconfig, request, kubectl)


@pytest.fixture(scope="session")
def kubectl(kubeconfig: Path) -> Kubectl:
    """Runs kubectl: its output; with `check` (the default) a failure is the test's."""
    if directory := os.environ.get("OTTOSCALER_CLUSTER"):
        command = [str(Cluster(Path(directory)).binary), "kubectl"]
    else:
        command = ["kubectl"]

    def run(*arguments: str, check: bool = True, stdin: str | None = None) -> str:
        result = subprocess.run(
            [*command, f"--kubeconfig={kubeconfig}", *arguments],
            input=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        assert not check or result.returncode == 0, f"kubectl {' '.join(arguments)}:\n{result.stdout}"
        return result.stdout

    return run
