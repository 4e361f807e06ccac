"""The services of the wire contract, each call handed to the part that knows how."""

from collections.abc import AsyncIterator

from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.orchestrator.protocol.ottoscaler_pb2_grpc import OttoscalerServiceServicer
from ottoscaler.orchestrator.service.calls import Context, streaming, unary
from ottoscaler.orchestrator.service.pipelines import PipelineCalls
from ottoscaler.orchestrator.service.scaling import ScalingCalls
from ottoscaler.orchestrator.telemetry import Telemetry


class OttoscalerServicer(OttoscalerServiceServicer):
    """Workers and pipelines."""

    def __init__(self, *, scaling: ScalingCalls, pipelines: PipelineCalls, telemetry: Telemetry) -> None:
        self._scaling = scaling
        self._pipelines = pipelines
        self._telemetry = telemetry

    @unary
    async def ScaleUp(self, request: pb.ScaleRequest, context: Context) -> pb.ScaleResponse:  # noqa: N802
        return await self._scaling.up(request, context)

    @unary
    async def ScaleDown(self, request: pb.ScaleRequest, context: Context) -> pb.ScaleResponse:  # noqa: N802
        return await self._scaling.down(request, context)

    @unary
    async def GetWorkerStatus(  # noqa: N802
        self, request: pb.WorkerStatusRequest, context: Context
    ) -> pb.WorkerStatusResponse:
        return await self._scaling.status(request, context)

    @streaming
    async def ExecutePipeline(  # noqa: N802
        self, request: pb.PipelineRequest, context: Context
    ) -> AsyncIterator[pb.PipelineProgress]:
        async for progress in self._pipelines.execute(request, context):
            yield progress
