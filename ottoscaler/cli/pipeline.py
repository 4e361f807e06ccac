"""`ottoscaler pipeline`: runs a pipeline and shows how it goes."""

import asyncio
import secrets
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from ottoscaler.cli.calls import CallError, Target, connected, explain, orchestrator, seconds_of
from ottoscaler.cli.reporting import WRONG_INPUT, Output, OutputOption, fail, run
from ottoscaler.runtime.config import ConfigError
from ottoscaler.runtime.tasks import Backoff
from ottoscaler.runtime.values import format_duration

if TYPE_CHECKING:
    from ottoscaler.cli.pipeline_view import View
    from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb

app = typer.Typer(
    name="pipeline",
    help="Pipelines of worker pods.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def _group() -> None:
    """Keeps `run` a command of its own while it is the only one."""


@app.command("run")
@connected
def run_pipeline(
    to: Target,
    kind: Annotated[
        str | None,
        typer.Option(
            "--type",
            metavar="simple|full|parallel",
            help="An example: in sequence, with parallel tests, or side by side.",
        ),
    ] = None,
    file: Annotated[Path | None, typer.Option(metavar="FILE", help="A pipeline of your own, YAML.")] = None,
    id: Annotated[  # noqa: A002 - the option's name
        str | None, typer.Option(help="A run of this id is followed, not started again.")
    ] = None,
    repo: Annotated[str, typer.Option(help="The repository that workers are told.")] = "",
    sha: Annotated[str, typer.Option(help="The commit that workers are told.")] = "",
    timeout: Annotated[
        str, typer.Option(metavar="DURATION", help="A run that takes longer is cancelled.")
    ] = "10m",
    output: OutputOption = Output.TEXT,
) -> None:
    """Run a pipeline and show it until its end; exit status 1 when it fails. Ctrl-C cancels it."""
    seconds = seconds_of(timeout)
    request = _request(kind, file, id, repo, sha)
    try:
        run(_run(to, request, seconds, output))
    except CallError as error:
        fail(str(error), status=error.status)


def _request(
    kind: str | None, file: Path | None, id_: str | None, repo: str, sha: str
) -> "pb.PipelineRequest":
    """What the options ask for; a mistake ends the command."""
    from ottoscaler.cli.pipeline_examples import EXAMPLES, Example
    from ottoscaler.cli.pipeline_file import load, to_request

    if (kind is None) == (file is None):
        fail("give either --type simple|full|parallel, or --file FILE", status=WRONG_INPUT)
    if file is not None:
        try:
            pipeline = load(file)
        except ConfigError as error:
            fail(str(error), status=WRONG_INPUT)
        name = file.stem
    else:
        if kind not in set(Example):
            fail(f"--type {kind}: use simple, full or parallel", status=WRONG_INPUT)
        pipeline, name = EXAMPLES[Example(kind)], str(kind)
    return to_request(
        pipeline,
        id=id_ or pipeline.id or f"{name}-{secrets.token_hex(4)}",
        repository=repo,
        commit_sha=sha,
    )


async def _run(to: Target, request: "pb.PipelineRequest", timeout: float, output: Output) -> None:
    """Raises `CallError` when the run does not end well."""
    from ottoscaler.cli.pipeline_view import view, word

    following = Following(to, request, timeout)
    with ExitStack() as stack:
        shown = stack.enter_context(view(request, output, Console(highlight=False)))
        try:
            end = await following.until_end(shown)
        except asyncio.CancelledError:
            stack.close()
            typer.echo(following.farewell(), err=True)
            raise
    if end is None or word(end) != "completed":
        outcome = "came to no end" if end is None else word(end)
        reasons = "" if end is None or not end.error_message else f": {end.error_message}"
        raise CallError(f"pipeline {request.pipeline_id} {outcome}{reasons}")


class Following:
    """One call that runs a pipeline, made again with the same id when the orchestrator goes away."""

    def __init__(self, to: Target, request: "pb.PipelineRequest", timeout: float) -> None:
        self._to = to
        self._request = request
        self._timeout = timeout
        self._known = False
        """Whether the orchestrator has told anything of this run."""
        self._connected = False

    async def until_end(self, shown: "View") -> "pb.PipelineProgress | None":
        """What was said last of the pipeline as a whole. Raises `CallError`."""
        backoff = Backoff(initial=0.5, maximum=5.0)
        deadline = monotonic() + self._timeout
        while True:
            try:
                return await self._follow(shown, max(0.01, deadline - monotonic()))
            except CallError as error:
                if not self._known or not error.passing:
                    raise
                pause = backoff.next()
                if monotonic() + pause >= deadline:
                    raise CallError(f"{error}; the pipeline goes on without us") from error
                shown.note(f"{error}; asking again")
                await asyncio.sleep(pause)

    async def _follow(self, shown: "View", seconds: float) -> "pb.PipelineProgress | None":
        import grpc.aio

        last: pb.PipelineProgress | None = None
        async with orchestrator(self._to) as stub:
            call = stub.ExecutePipeline(self._request, timeout=seconds)
            try:
                async for progress in call:
                    self._known = self._connected = True
                    shown.update(progress)
                    if not progress.stage_id:
                        last = progress
            except grpc.aio.AioRpcError as error:
                self._connected = False
                if self._known and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                    raise CallError(
                        f"pipeline {self._request.pipeline_id} took longer than "
                        f"{format_duration(self._timeout)} and is cancelled: --timeout allows more"
                    ) from error
                raise explain(error, self._to, timeout=self._timeout) from error
            finally:
                call.cancel()
        return last

    def farewell(self) -> str:
        """What becomes of a run whose caller was interrupted."""
        name = self._request.pipeline_id
        if self._connected:
            return f"pipeline {name} is cancelled, unless another call follows it: its workers are removed"
        if self._known:
            return f"pipeline {name} goes on: {self._to.address} could not be told to cancel it"
        return f"pipeline {name} was not started"
