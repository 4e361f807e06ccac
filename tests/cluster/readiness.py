"""When a cluster can be used: each thing that a pod needs has been seen working."""

import asyncio
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tests.cluster.addresses import API_SERVER, NODE

_LIMIT_SECONDS = 90.0


class Readiness:
    """Asks the API server with the administrator's certificate."""

    def __init__(self, pki: Path) -> None:
        self._pki = pki
        self._checks: dict[str, Callable[[], bool]] = {
            "apiserver": lambda: self._get("/readyz") is not None,
            "node": self._node,
            "service-account": lambda: bool(self._get("/api/v1/namespaces/default/serviceaccounts/default")),
            "root-ca": lambda: bool(self._get("/api/v1/namespaces/default/configmaps/kube-root-ca.crt")),
            "proxy": lambda: bool(_read("http://127.0.0.1:10256/healthz", None)),
        }

    async def wait(self, what: str, *, broken: Callable[[], str]) -> None:
        """Returns when it works. Raises `RuntimeError` after 90 s, or as soon as `broken()` says something."""
        end = time.monotonic() + _LIMIT_SECONDS
        problem = ""
        while True:
            try:
                if await asyncio.to_thread(self._checks[what]):
                    return
                problem = "not yet"
            except (OSError, urllib.error.URLError) as error:
                problem = str(error)
            if words := broken():
                raise RuntimeError(words)
            if time.monotonic() > end:
                raise RuntimeError(f"{what} is not ready after {_LIMIT_SECONDS:.0f} s: {problem}")
            await asyncio.sleep(0.05)

    def _get(self, path: str) -> bytes:
        tls = ssl.create_default_context(cafile=str(self._pki / "ca.crt"))
        tls.load_cert_chain(self._pki / "admin.crt", self._pki / "admin.key")
        return _read(API_SERVER + path, tls)

    def _node(self) -> bool:
        node = json.loads(self._get(f"/api/v1/nodes/{NODE}"))
        ready = any(
            each["type"] == "Ready" and each["status"] == "True" for each in node["status"]["conditions"]
        )
        return ready and not node["spec"].get("taints")


def _read(url: str, tls: ssl.SSLContext | None) -> bytes:
    with urllib.request.urlopen(url, context=tls, timeout=5) as answer:
        content: bytes = answer.read()
        return content
