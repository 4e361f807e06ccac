"""Clusters begin, obey and end as those who start them expect: seen on a second one beside the first."""

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import pki
from tests.cluster.conftest import Kubectl
from tests.cluster.launcher import Cluster, ClusterError
from tests.waiting import until

pytestmark = pytest.mark.own_cluster


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Tests may break it; it ends with this module."""
    with Cluster.running(tmp_path_factory.mktemp("second")) as cluster:
        yield cluster


def kubectl_of(cluster: Cluster, *arguments: str, check: bool = True) -> str:
    command = cluster.inside(str(cluster.binary), "kubectl", f"--kubeconfig={cluster.kubeconfig}", *arguments)
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=check).stdout


def test_two_clusters_side_by_side_are_two(second: Cluster, namespace: str, kubectl: Kubectl) -> None:
    uid = ("get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}")
    assert kubectl_of(second, *uid) != kubectl(*uid)
    assert namespace not in kubectl_of(second, "get", "namespaces")


def test_a_directory_has_one_cluster(second: Cluster) -> None:
    with pytest.raises(ClusterError, match=r"runs in .* already"):
        Cluster.start(second.directory)
    assert second.died() == []


def test_a_cluster_takes_no_directory_that_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ClusterError, match="holds something else"):
        Cluster.start(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


async def test_a_component_that_dies_by_itself_is_reported_with_its_last_words(second: Cluster) -> None:
    pid = (await second.command("status"))["running"]["scheduler"]
    kill = ("nsenter", "--target", str(second.pid), "--pid", "--", "kill", "-KILL", str(pid))
    subprocess.run(kill, check=True)

    async def died() -> list[str]:
        found: list[str] = (await second.command("status"))["died"]
        return found

    (words,) = await until(died, what="the death is noticed")
    head, *last = words.splitlines()
    assert head == "scheduler died with status -9:"
    assert last
    await second.command("start", "scheduler")
    assert "scheduler" in (await second.command("status"))["running"]


async def test_a_command_that_cannot_be_obeyed_is_refused(second: Cluster) -> None:
    with pytest.raises(ClusterError, match="no component 'cook': there are etcd, apiserver"):
        await second.command("restart", "cook")
    with pytest.raises(ClusterError, match="apiserver runs already"):
        await second.command("start", "apiserver")
    with pytest.raises(ClusterError, match="no command 'boil'"):
        await second.command("boil", "etcd")


async def test_a_changed_front_proxy_ca_is_published_when_the_api_server_is_back(second: Cluster) -> None:
    file = second.pki / "front-proxy-ca.crt"
    old, new = file.read_text(), pki.Authority.create("front-proxy-ca").pem.decode()
    file.write_text(old + new)
    await second.command("restart", "apiserver")
    shown = ("--namespace", "kube-system", "get", "configmap", "extension-apiserver-authentication")
    content = ("-o", r"jsonpath={.data.requestheader-client-ca-file}")

    def published() -> bool:
        found = kubectl_of(second, *shown, *content, check=False)
        return old.strip() in found and new.strip() in found

    await until(published, every=0.3, what="both CAs are published")


def test_a_cluster_that_ended_is_known_to_have_ended(tmp_path_factory: pytest.TempPathFactory) -> None:
    cluster = Cluster(tmp_path_factory.mktemp("nothing"))
    with pytest.raises(ClusterError, match="there is no cluster in"):
        _ = cluster.pid
    with pytest.raises(ClusterError, match="does not answer"):
        asyncio.run(cluster.command("status"))
