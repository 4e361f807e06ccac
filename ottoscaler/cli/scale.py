"""`ottoscaler scale`: workers of a task, by calls to the orchestrator."""

import secrets
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from ottoscaler.cli.calls import CallError, Target, Timeout, connected, explain, orchestrator, seconds_of
from ottoscaler.cli.reporting import Output, OutputOption, fail, print_json, run
from ottoscaler.cli.workers import Display, changes, failed, plain, present, print_line, show, unfinished

if TYPE_CHECKING:
    from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
    from ottoscaler.orchestrator.protocol.ottoscaler_pb2_grpc import OttoscalerServiceStub

app = typer.Typer(
    name="scale",
    help="Worker pods of a task.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
T = TypeVar("T")

_MOST = 2**31 - 1
Watch = Annotated[
    bool, typer.Option("--watch", "-w", help="Go on until these workers have ended, and say how.")
]


@app.command()
@connected
def up(
    to: Target,
    workers: Annotated[int, typer.Option(min=1, max=_MOST, help="How many to create.")] = 1,
    task: Annotated[str | None, typer.Option(help="Whose; a new task when left out.")] = None,
    watch: Watch = False,
    timeout: Timeout = "30s",
    output: OutputOption = Output.TEXT,
) -> None:
    """Create workers. Exit status 1 when not all were created, or (with --watch) when one failed."""
    _run(_up(to, task or f"task-{secrets.token_hex(4)}", workers, seconds_of(timeout), output, watch=watch))


@app.command()
@connected
def down(
    to: Target,
    task: Annotated[str, typer.Option(help="Whose workers.")],
    workers: Annotated[int, typer.Option(min=0, max=_MOST, help="How many may remain; 0 removes all.")],
    watch: Watch = False,
    timeout: Timeout = "30s",
    output: OutputOption = Output.TEXT,
) -> None:
    """Leave at most so many workers of a task: those that wait go first, then the youngest.

    With --watch it goes on until those that were removed are gone.
    """
    _run(_down(to, task, workers, seconds_of(timeout), output, watch=watch))


@app.command()
@connected
def status(
    to: Target,
    task: Annotated[str | None, typer.Option(help="Of this task only.")] = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Show every change until interrupted.")
    ] = False,
    timeout: Timeout = "30s",
    output: OutputOption = Output.TEXT,
) -> None:
    """Show the workers that exist."""
    _run(_status(to, task or "", seconds_of(timeout), output, watch=watch))


async def _up(to: Target, task: str, workers: int, timeout: float, output: Output, *, watch: bool) -> None:
    from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb

    request = pb.ScaleRequest(task_id=task, worker_count=workers, triggered_by="ottoscaler scale up")
    async with orchestrator(to) as stub:
        answer = await _ask(lambda: stub.ScaleUp(request, timeout=timeout), to, timeout)
        _show_answer(answer, output, in_a_line=watch)
        if watch and answer.worker_pod_names:
            names = set(answer.worker_pod_names)
            bad: set[str] = set()

            def over(found: pb.WorkerStatusResponse) -> bool:
                bad.update(failed(found, names))  # one that failed may be gone before the others have ended
                return unfinished(found, names) == 0

            await _watch(_question(stub, to, task, timeout), over, timeout, output)
            if bad:
                raise CallError(f"{len(bad)} of {len(answer.worker_pod_names)} workers failed")
    _check(answer, server=to.address)


async def _down(to: Target, task: str, keep: int, timeout: float, output: Output, *, watch: bool) -> None:
    from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb

    request = pb.ScaleRequest(task_id=task, worker_count=keep, triggered_by="ottoscaler scale down")
    async with orchestrator(to) as stub:
        answer = await _ask(lambda: stub.ScaleDown(request, timeout=timeout), to, timeout)
        _show_answer(answer, output, in_a_line=watch)
        if watch and answer.worker_pod_names:
            names = set(answer.worker_pod_names)
            ask = _question(stub, to, task, timeout)
            await _watch(ask, lambda found: not present(found, names), timeout, output)
    _check(answer, server=to.address)


async def _status(to: Target, task: str, timeout: float, output: Output, *, watch: bool) -> None:
    async with orchestrator(to) as stub:
        ask = _question(stub, to, task, timeout)
        if not watch:
            show(await ask(), output)
            return
        await _watch(ask, lambda _: False, timeout, output)


async def _watch(
    ask: Callable[[], Awaitable["pb.WorkerStatusResponse"]],
    over: Callable[["pb.WorkerStatusResponse"], bool],
    timeout: float,
    output: Output,
) -> None:
    """Shows every change until `over`, which is asked about each, is true."""
    with Display(output) as display:
        async with aclosing(changes(ask, patience=timeout)) as seen:
            async for found in seen:
                display.update(found)
                if over(found):
                    return


def _question(
    stub: "OttoscalerServiceStub", to: Target, task: str, timeout: float
) -> Callable[[], Awaitable["pb.WorkerStatusResponse"]]:
    from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb

    request = pb.WorkerStatusRequest(task_id=task)
    return lambda: _ask(lambda: stub.GetWorkerStatus(request, timeout=timeout), to, timeout)


async def _ask(call: Callable[[], Awaitable[T]], to: Target, timeout: float) -> T:
    """The answer. Raises `CallError`."""
    import grpc.aio

    try:
        return await call()
    except grpc.aio.AioRpcError as error:
        raise explain(error, to, timeout=timeout) from error


def _show_answer(answer: "pb.ScaleResponse", output: Output, *, in_a_line: bool) -> None:
    if output is Output.TEXT:
        print("\n".join([answer.message, *answer.worker_pod_names]), flush=True)
    elif in_a_line:
        print_line(answer)
    else:
        print_json(plain(answer))


def _check(answer: "pb.ScaleResponse", *, server: str) -> None:
    """Raises `CallError` when not all was done."""
    from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb

    if answer.status in (pb.ScaleResponse.FAILED, pb.ScaleResponse.PARTIAL_SUCCESS):
        raise CallError(f"{server} did not do all of it: {answer.message}")


def _run(work: Coroutine[Any, Any, None]) -> None:
    try:
        run(work)
    except CallError as error:
        fail(str(error), status=error.status)
