"""`ottoscaler hpa`: the HorizontalPodAutoscaler of a queue."""

from typing import Annotated

import typer
import yaml

from ottoscaler.cli.reporting import WRONG_INPUT, fail, print_json
from ottoscaler.hpa.manifest import QUEUE_DEMAND, QUEUE_METRICS, HpaError, ScaleTarget
from ottoscaler.hpa.manifest import render as render_manifest

app = typer.Typer(name="hpa", help="HorizontalPodAutoscalers for queues.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Keeps `render` a command of its own while it is the only one."""


@app.command()
def render(
    target: Annotated[
        str,
        typer.Argument(envvar="AUTO_SCALE_DEPLOYMENT_NAME", metavar="NAME", help="What to scale."),
    ],
    queue: Annotated[
        str | None,
        typer.Option(help="The queue; named like the target by default. A derived metric has none."),
    ] = None,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", envvar="AUTO_SCALE_NAMESPACE", help="The target's.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the HPA; the target's by default.")] = None,
    kind: Annotated[str, typer.Option(help="The target's kind.")] = "Deployment",
    api_version: Annotated[str, typer.Option(help="The target's API version.")] = "apps/v1",
    metric: Annotated[
        str, typer.Option(help="What to follow: a metric of the queue, or a derived one.")
    ] = QUEUE_DEMAND,
    jobs_per_pod: Annotated[
        str, typer.Option(envvar="AUTO_SCALE_TARGET_JOBS_PER_POD", help="A Kubernetes quantity.")
    ] = "1",
    minimum: Annotated[int, typer.Option("--min", envvar="AUTO_SCALE_MIN_REPLICAS", help="Replicas.")] = 1,
    maximum: Annotated[int, typer.Option("--max", envvar="AUTO_SCALE_MAX_REPLICAS", help="Replicas.")] = 3,
    output: Annotated[str, typer.Option("--output", "-o", help="yaml or json.")] = "yaml",
) -> None:
    """Print the manifest of an HPA that follows a queue: `ottoscaler hpa render NAME | kubectl apply -f -`."""
    if output not in {"yaml", "json"}:
        fail(f"-o {output}: use yaml or json", status=WRONG_INPUT)
    try:
        manifest = render_manifest(
            queue=queue or (target if metric in QUEUE_METRICS else None),
            target=ScaleTarget(name=target, kind=kind, api_version=api_version),
            name=name,
            namespace=namespace,
            metric=metric,
            jobs_per_pod=jobs_per_pod,
            min_replicas=minimum,
            max_replicas=maximum,
        )
    except HpaError as error:
        fail(str(error), status=WRONG_INPUT)
    if output == "json":
        print_json(manifest)
    else:
        print(yaml.safe_dump(manifest, sort_keys=False), end="")
