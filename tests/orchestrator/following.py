"""A client that runs a pipeline and remembers what it was told."""

from dataclasses import dataclass, field

import grpc.aio

from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.orchestrator.protocol.ottoscaler_pb2_grpc import OttoscalerServiceStub


@dataclass(slots=True)
class Told:
    """Progress messages in order."""

    messages: list[pb.PipelineProgress] = field(default_factory=list)

    def of(self, stage: str) -> list[str]:
        """The statuses that a stage went through, each change once; `""` is the pipeline itself."""
        statuses = [pb.StageStatus.Name(each.status) for each in self.messages if each.stage_id == stage]
        return [
            status for number, status in enumerate(statuses) if not number or statuses[number - 1] != status
        ]

    def last(self, stage: str) -> pb.PipelineProgress:
        """The newest message about a stage."""
        return [each for each in self.messages if each.stage_id == stage][-1]


async def execute(address: str, request: pb.PipelineRequest, told: Told) -> None:
    """Runs or follows a pipeline until it is over. Raises `AioRpcError`."""
    async with grpc.aio.insecure_channel(address) as channel:
        async for progress in OttoscalerServiceStub(channel).ExecutePipeline(request, wait_for_ready=True):
            told.messages.append(progress)


def stage(
    name: str, script: str, *, after: tuple[str, ...] = (), workers: int = 1, **more: object
) -> pb.PipelineStage:
    """A stage whose workers run `script` in a shell."""
    return pb.PipelineStage(
        stage_id=name,
        type=name,
        worker_count=workers,
        depends_on=after,
        command=["sh", "-c", script],
        **more,  # type: ignore[arg-type]
    )
