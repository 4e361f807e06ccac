"""How a process finds its API server and credentials: the pod's files, or a kubeconfig."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from ottoscaler.runtime.kubeconfig import KubeConfigError, load_access
from tests.cluster.pki import Authority, kubeconfig


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority.create("test-ca")


def _write(path: Path, document: dict[str, Any]) -> Path:
    path.write_text(json.dumps(document))
    return path


def _document(user: dict[str, Any], **cluster: Any) -> dict[str, Any]:
    return {
        "current-context": "here",
        "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "jobs"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://api.example:6443/", **cluster}}],
        "users": [{"name": "u", "user": user}],
    }


async def test_a_pod_uses_its_service_account(tmp_path: Path, authority: Authority) -> None:
    (tmp_path / "ca.crt").write_bytes(authority.pem)
    (tmp_path / "token").write_text("first\n")
    (tmp_path / "namespace").write_text("jobs")
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "8443"}

    access = await load_access(environ=environ, service_account=tmp_path)

    assert access.server == "https://[fd00::1]:8443"
    assert access.namespace == "jobs"
    assert await access.token() == "first"
    (tmp_path / "token").write_text("second")
    assert await access.token() == "second", "a projected token is replaced while the process runs"
    (tmp_path / "token").unlink()
    with pytest.raises(KubeConfigError, match="token file"):
        await access.token()


async def test_inline_certificates_are_loaded(tmp_path: Path, authority: Authority) -> None:
    path = tmp_path / "config"
    path.write_text(kubeconfig(authority.pem, authority.issue("admin", groups=("system:masters",))))

    access = await load_access(path)

    assert access.tls is not None
    assert [each["subject"] for each in access.tls.get_ca_certs()] == [((("commonName", "test-ca"),),)]
    assert await access.token() is None
    assert access.namespace == "default"


async def test_files_are_found_beside_the_kubeconfig(tmp_path: Path, authority: Authority) -> None:
    authority.write(tmp_path, "ca")
    authority.issue("jane").write(tmp_path, "jane")
    user = {"client-certificate": "jane.crt", "client-key": "jane.key"}
    path = _write(tmp_path / "config", _document(user, **{"certificate-authority": "ca.crt"}))

    access = await load_access(environ={"KUBECONFIG": f"{path}:ignored"})

    assert access.server == "https://api.example:6443"
    assert access.namespace == "jobs"


async def test_tokens_are_fixed_or_read_from_a_file(tmp_path: Path) -> None:
    fixed = _write(tmp_path / "fixed", _document({"token": "abc"}))
    assert await (await load_access(fixed)).token() == "abc"
    (tmp_path / "token").write_text("def")
    from_file = _write(tmp_path / "file", _document({"tokenFile": "token"}))
    assert await (await load_access(from_file)).token() == "def"


async def test_a_plug_in_gives_the_token(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin"
    credential = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": {"token": "from-the-plug-in"},
    }
    plugin.write_text(f"#!/bin/sh\necho '{json.dumps(credential)}'\n")
    plugin.chmod(plugin.stat().st_mode | stat.S_IXUSR)
    user = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": str(plugin), "args": None}}
    path = _write(tmp_path / "config", _document(user, **{"insecure-skip-tls-verify": True}))

    access = await load_access(path)

    assert await access.token() == "from-the-plug-in"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("a: [", "is not YAML"),
        ("{}", "names no usable context"),
        ("[]", "names no usable context"),
        (json.dumps(_document({}) | {"current-context": "elsewhere"}), "contexts has no 'elsewhere'"),
        (json.dumps(_document({}) | {"clusters": None}), "clusters has no 'c'"),
    ],
)
async def test_an_unusable_kubeconfig_says_why(content: str | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "config"
    if content is not None:
        path.write_text(content)
    with pytest.raises(KubeConfigError, match=words):
        await load_access(path)
