"""What a watch makes of workers that come, end and go between two questions."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from functools import partial

import pytest
from typer.testing import CliRunner

from ottoscaler.cli import scale
from ottoscaler.cli.calls import Target
from ottoscaler.cli.workers import changes
from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb

Seen = dict[str, str]


class Server:
    """Creates `w-1` and `w-2`, and tells of these states one after another."""

    def __init__(self, states: Iterable[Seen]) -> None:
        self._states = iter(states)

    async def ScaleUp(self, request: pb.ScaleRequest, timeout: float) -> pb.ScaleResponse:  # noqa: N802
        return pb.ScaleResponse(status=pb.ScaleResponse.SUCCESS, worker_pod_names=["w-1", "w-2"])

    async def GetWorkerStatus(  # noqa: N802
        self, request: pb.WorkerStatusRequest, timeout: float
    ) -> pb.WorkerStatusResponse:
        states = next(self._states)
        return pb.WorkerStatusResponse(
            workers=[pb.WorkerPodStatus(pod_name=name, status=status) for name, status in states.items()]
        )


@pytest.mark.parametrize(
    ("states", "status", "said"),
    [
        (
            [{"w-1": "Failed", "w-2": "Running"}, {"w-2": "Running"}, {"w-2": "Succeeded"}],
            1,
            "error: 1 of 2 workers failed\n",
        ),
        (
            [{"w-1": "Failed", "w-2": "Running"}, {"w-1": "Failed", "w-2": "Failed"}],
            1,
            "error: 2 of 2 workers failed\n",
        ),
        ([{"w-1": "Succeeded", "w-2": "Running", "other": "Failed"}, {"w-1": "Succeeded"}], 0, ""),
    ],
    ids=["gone before the end", "to the end", "somebody else's"],
)
def test_workers_that_were_seen_to_fail_count(
    monkeypatch: pytest.MonkeyPatch, states: list[Seen], status: int, said: str
) -> None:
    @asynccontextmanager
    async def server(to: Target) -> AsyncIterator[Server]:
        yield Server(states)

    monkeypatch.setattr(scale, "orchestrator", server)
    monkeypatch.setattr(scale, "changes", partial(changes, interval=0.0))
    result = CliRunner().invoke(scale.app, ["up", "--workers", "2", "--task", "t", "--watch"])
    assert (result.exit_code, result.stderr) == (status, said)
