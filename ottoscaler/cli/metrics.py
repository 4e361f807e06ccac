"""`ottoscaler metrics`: what the API serves, readable."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from ottoscaler.adapter.client import ClientError, MetricsClient
from ottoscaler.cli.reporting import (
    FAILED,
    UNAVAILABLE,
    WRONG_INPUT,
    Output,
    OutputOption,
    fail,
    print_json,
    print_table,
    run,
)
from ottoscaler.runtime.values import format_duration

app = typer.Typer(name="metrics", help="The external metrics as they are served.", no_args_is_help=True)

Kubeconfig = Annotated[Path | None, typer.Option(metavar="FILE", help="Ask through this cluster.")]
Context = Annotated[str | None, typer.Option(help="Of the kubeconfig.")]
Server = Annotated[str | None, typer.Option(metavar="URL", help="Ask an adapter itself: https://host:port.")]
Token = Annotated[
    str | None, typer.Option(envvar="OTTOSCALER_TOKEN", help="With --server: as printed by --standalone.")
]
CaFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="With --server: the CA of its certificate.")
]


@app.command()
def get(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Such as queue_demand.")],
    selector: Annotated[str, typer.Option("--selector", "-l", help="Such as queue=generator.")] = "",
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="The HPA's.")] = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    server: Server = None,
    token: Token = None,
    ca_file: CaFile = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show the values of a metric as an HPA in that namespace sees them."""

    async def ask() -> dict[str, Any]:
        async with await _client(kubeconfig, context, server, token, ca_file) as client:
            return await client.read(name, namespace=namespace or client.namespace, selector=selector)

    answer = _run(ask())
    if output is Output.JSON:
        print_json(answer)
        return
    now = datetime.now(UTC)
    rows = [
        (item["metricName"], _labels(item), str(item["value"]), _age(item["timestamp"], now))
        for item in answer["items"]
    ]
    print_table(("METRIC", "LABELS", "VALUE", "AGE"), rows, numbers=frozenset({"VALUE", "AGE"}))


@app.command("list")
def list_names(
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    server: Server = None,
    token: Token = None,
    ca_file: CaFile = None,
    output: OutputOption = Output.TEXT,
) -> None:
    """Show the names of the metrics that are served."""

    async def ask() -> list[str]:
        async with await _client(kubeconfig, context, server, token, ca_file) as client:
            return list(await client.names())

    names = _run(ask())
    if output is Output.JSON:
        print_json(names)
    else:
        print("\n".join(names))


async def _client(
    kubeconfig: Path | None, context: str | None, server: str | None, token: str | None, ca_file: Path | None
) -> MetricsClient:
    if server is None:
        return await MetricsClient.through_cluster(kubeconfig, context=context)
    return MetricsClient.direct(server, token=token, ca_file=ca_file)


def _run(work: Any) -> Any:
    try:
        return run(work)
    except ClientError as error:
        status = {503: UNAVAILABLE, 400: WRONG_INPUT}.get(error.status, FAILED)
        fail(str(error), status=status)


def _labels(item: dict[str, Any]) -> str:
    return ",".join(f"{key}={value}" for key, value in sorted((item.get("metricLabels") or {}).items()))


def _age(timestamp: str, now: datetime) -> str:
    return format_duration(max(0, int((now - datetime.fromisoformat(timestamp)).total_seconds())))
