"""Where the API server is and how to be let in.

In a pod that is the service account's mounted files; outside it is a kubeconfig. Certificates and
tokens are read here; what needs a plug-in to be obtained (`exec`, `auth-provider`) is left to
`kubernetes.aio.config`, imported only then because it costs 33 MiB.
"""

import asyncio
import base64
import os
import ssl
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

TokenSource = Callable[[], Awaitable[str | None]]
"""Gives the bearer token to send now; None: none is needed."""


class KubeConfigError(Exception):
    """There is no usable way to reach an API server; the message says what was looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """A server and the credentials for it."""

    server: str
    """Base URL without a trailing slash."""
    namespace: str
    tls: ssl.SSLContext | None
    """None for a plain HTTP server."""
    server_hostname: str | None
    """The name to check the server's certificate against, when it is not the URL's host."""
    token: TokenSource


async def _no_token() -> None:
    return None


def _token_file(path: Path) -> TokenSource:
    async def read() -> str:
        # A projected token is replaced before it ends; the file is small and on tmpfs.
        try:
            return path.read_text().strip()  # noqa: ASYNC240
        except OSError as error:
            raise KubeConfigError(f"the token file {path} cannot be read: {error.strerror}") from error

    return read


def _fixed_token(token: str) -> TokenSource:
    async def give() -> str:
        return token

    return give


async def load_access(
    kubeconfig: Path | None = None,
    *,
    context: str | None = None,
    environ: Mapping[str, str] = os.environ,
    service_account: Path = SERVICE_ACCOUNT,
) -> Access:
    """The access to use: the given kubeconfig, else the pod's service account, else `$KUBECONFIG` or
    `~/.kube/config`.

    Raises `KubeConfigError`.
    """
    if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in environ and (service_account / "token").exists():
        return _in_cluster(environ, service_account)
    path = kubeconfig or Path(
        environ.get("KUBECONFIG", "").split(os.pathsep)[0] or Path.home() / ".kube" / "config"
    )
    return await _from_file(path, context)


def _in_cluster(environ: Mapping[str, str], service_account: Path) -> Access:
    host = environ["KUBERNETES_SERVICE_HOST"]
    port = environ.get("KUBERNETES_SERVICE_PORT", "443")
    namespace = service_account / "namespace"
    return Access(
        server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
        namespace=namespace.read_text().strip() if namespace.exists() else "default",
        tls=ssl.create_default_context(cafile=str(service_account / "ca.crt")),
        server_hostname=None,
        token=_token_file(service_account / "token"),
    )


async def _from_file(path: Path, context_name: str | None) -> Access:
    import yaml  # a pod with a service account never needs it

    try:
        document = yaml.safe_load(await asyncio.to_thread(path.read_text))
    except OSError as error:
        raise KubeConfigError(
            f"no API server: not in a pod, and the kubeconfig {path} cannot be read: {error.strerror}"
        ) from error
    except yaml.YAMLError as error:
        raise KubeConfigError(f"the kubeconfig {path} is not YAML: {error}") from error
    try:
        chosen = context_name or document["current-context"]
        context = _named(document, "contexts", chosen)["context"]
        cluster = _named(document, "clusters", context["cluster"])["cluster"]
        user = _named(document, "users", context["user"])["user"] if context.get("user") else {}
        server = str(cluster["server"]).rstrip("/")
    except (KeyError, TypeError) as error:
        raise KubeConfigError(f"the kubeconfig {path} names no usable context: {error}") from error
    return Access(
        server=server,
        namespace=context.get("namespace") or "default",
        tls=_client_tls(cluster, user or {}, path.parent) if server.startswith("https:") else None,
        server_hostname=cluster.get("tls-server-name"),
        token=await _user_token(user or {}, path, context_name),
    )


def _named(document: Mapping[str, Any], section: str, name: str) -> Mapping[str, Any]:
    for entry in document.get(section) or ():
        if entry.get("name") == name:
            found: Mapping[str, Any] = entry
            return found
    raise KeyError(f"{section} has no {name!r}")


def _client_tls(cluster: Mapping[str, Any], user: Mapping[str, Any], base: Path) -> ssl.SSLContext:
    tls = ssl.create_default_context()
    if cluster.get("insecure-skip-tls-verify"):
        tls.check_hostname = False
        tls.verify_mode = ssl.CERT_NONE
    elif "certificate-authority-data" in cluster:
        tls = ssl.create_default_context(
            cadata=base64.b64decode(cluster["certificate-authority-data"]).decode()
        )
    elif "certificate-authority" in cluster:
        tls = ssl.create_default_context(cafile=str(base / cluster["certificate-authority"]))
    with ExitStack() as files:
        certificate = _as_file(user, "client-certificate", base, files)
        key = _as_file(user, "client-key", base, files)
        if certificate:
            tls.load_cert_chain(certificate, key)
    return tls


def _as_file(user: Mapping[str, Any], field: str, base: Path, files: ExitStack) -> str | None:
    """`ssl` loads a client certificate only from a path, so inline data spends a moment in a private file."""
    if data := user.get(f"{field}-data"):
        file = files.enter_context(tempfile.NamedTemporaryFile())  # noqa: SIM115 - the stack closes it
        file.write(base64.b64decode(data))
        file.flush()
        return file.name
    return str(base / user[field]) if field in user else None


async def _user_token(user: Mapping[str, Any], path: Path, context: str | None) -> TokenSource:
    if "exec" in user or "auth-provider" in user:
        return await _plugin_token(path, context)
    if "tokenFile" in user:
        return _token_file(path.parent / user["tokenFile"])
    return _fixed_token(user["token"]) if "token" in user else _no_token


async def _plugin_token(path: Path, context: str | None) -> TokenSource:
    from kubernetes.aio import client, config

    configuration = client.Configuration()
    load: Any = config.load_kube_config
    await load(config_file=str(path), context=context, client_configuration=configuration)

    async def give() -> str | None:
        refresh: Any = configuration.refresh_api_key_hook
        if refresh is not None:
            await refresh(configuration)
        value = configuration.api_key.get("BearerToken") or configuration.api_key.get("authorization") or ""
        return str(value).removeprefix("Bearer ") or None

    return give
