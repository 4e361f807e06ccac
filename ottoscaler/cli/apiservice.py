"""`ottoscaler apiservice`: whether the cluster asks us for external metrics."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec
import typer

from ottoscaler.apiservice import registration
from ottoscaler.apiservice.certificate_store import SecretStore, StoreError
from ottoscaler.apiservice.outside import ExternalAddress
from ottoscaler.apiservice.ownership import API_SERVICE, ServiceReference
from ottoscaler.apiservice.registration import IfForeign, RegistrationError
from ottoscaler.apiservice.renewal import BUNDLE
from ottoscaler.cli.reporting import FAILED, WRONG_INPUT, Output, OutputOption, fail, print_json, run
from ottoscaler.runtime.config import split_address
from ottoscaler.runtime.kube import KubeClient, KubeError
from ottoscaler.runtime.kubeconfig import KubeConfigError

app = typer.Typer(
    name="apiservice", help="The adapter's place in the cluster's aggregator.", no_args_is_help=True
)
T = TypeVar("T")

Kubeconfig = Annotated[Path | None, typer.Option(metavar="FILE", help="The cluster.")]
Context = Annotated[str | None, typer.Option(help="Of the kubeconfig.")]
Service = Annotated[
    str, typer.Option(metavar="[NAMESPACE/]NAME", help="The Service in front of the adapter.")
]
Force = Annotated[bool, typer.Option("--force", help="Also when another product owns the API.")]


@app.command()
def register(
    service: Service = "ottoscaler",
    address: Annotated[
        str | None,
        typer.Option(metavar="IP:PORT", help="Of an adapter outside the cluster, as the cluster reaches it."),
    ] = None,
    ca_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The CA of the adapter's certificate, PEM.")
    ] = None,
    secret: Annotated[
        str, typer.Option(metavar="NAME", help="Without --ca-file: the Secret with the adapter's own CA.")
    ] = "ottoscaler-certificate",  # noqa: S107 - the name of a Secret
    force: Force = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Make the cluster ask the adapter for external metrics."""
    external = _external(address)

    async def work(client: KubeClient) -> ServiceReference:
        reference = _reference(service, client)
        bundle = await _bundle(client, reference, ca_file, secret)
        await registration.register(
            client,
            service=reference,
            ca_bundle=bundle,
            external=external,
            if_foreign=_if_foreign(force=force),
        )
        return reference

    print(f"{API_SERVICE} leads to Service {_with_client(work, kubeconfig, context)}")


@app.command()
def unregister(
    service: Service = "ottoscaler",
    force: Force = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Make the cluster forget the adapter."""

    async def work(client: KubeClient) -> bool:
        reference = _reference(service, client)
        return await registration.unregister(client, service=reference, if_foreign=_if_foreign(force=force))

    removed = _with_client(work, kubeconfig, context)
    print(f"{API_SERVICE} is {'removed' if removed else 'not there'}")


@app.command()
def status(
    kubeconfig: Kubeconfig = None, context: Context = None, output: OutputOption = Output.TEXT
) -> None:
    """Say who serves external metrics, and whether the cluster reaches them; exit status 1 when not."""
    found = _with_client(registration.status, kubeconfig, context)
    if output is Output.JSON:
        print_json(msgspec.to_builtins(found))
    else:
        print("\n".join(_lines(found)))
    if not found.available:
        raise typer.Exit(FAILED)


def _lines(found: registration.RegistrationStatus) -> list[str]:
    if not found.registered:
        return [found.message]
    judgement = {True: "available", False: "not available", None: "not judged yet"}[found.available]
    lines = [f"{API_SERVICE}: {judgement}", f"owner: {found.owner}"]
    if found.message and not found.available:
        lines.append(f"reason: {found.reason}: {found.message}")
    if found.service_exists is False:
        lines.append("its Service does not exist")
    if found.verifies is False:
        lines.append("warning: the certificate is not verified")
    return lines


def _with_client(
    work: Callable[[KubeClient], Awaitable[T]], kubeconfig: Path | None, context: str | None
) -> T:
    async def connected() -> T:
        async with await KubeClient.connect(kubeconfig, context=context) as client:
            return await work(client)

    try:
        return run(connected())
    except (RegistrationError, StoreError, KubeConfigError) as error:
        fail(str(error))
    except KubeError as error:
        fail(f"the API server said: {error.message}")


async def _bundle(client: KubeClient, service: ServiceReference, ca_file: Path | None, secret: str) -> bytes:
    if ca_file is not None:
        try:
            return ca_file.read_bytes()  # noqa: ASYNC240 - one small file, and nothing else to do
        except OSError as error:
            fail(f"{ca_file} cannot be read: {error.strerror}", status=WRONG_INPUT)
    stored = await SecretStore(client, namespace=service.namespace, name=secret).load()
    if not stored.parts.get(BUNDLE):
        fail(f"Secret {service.namespace}/{secret} holds no CA: start the adapter first, or give --ca-file")
    return stored.parts[BUNDLE]


def _reference(service: str, client: KubeClient) -> ServiceReference:
    namespace, _, name = service.rpartition("/")
    return ServiceReference(namespace=namespace or client.namespace, name=name)


def _external(address: str | None) -> ExternalAddress | None:
    if address is None:
        return None
    try:
        host, port = split_address(address)
    except ValueError as error:
        fail(f"--address: {error}", status=WRONG_INPUT)
    return ExternalAddress(address=host, port=port)


def _if_foreign(*, force: bool) -> IfForeign:
    return "take" if force else "refuse"
