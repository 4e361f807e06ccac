"""The services of the wire contract, each call handed to the part that knows how."""

from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.orchestrator.protocol.ottoscaler_pb2_grpc import OttoscalerServiceServicer
from ottoscaler.orchestrator.service.calls import Context, unary
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

    @unary
    async def ExecutePipeline(  # type: ignore[override]  # noqa: N802 - grpc.aio takes either form
        self, request: pb.PipelineRequest, context: Context
    ) -> None:
        # Written, not yielded: a client that goes away while it is being written to is noticed at once.
        await self._pipelines.execute(request, context)
