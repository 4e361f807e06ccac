"""ScaleUp, ScaleDown and GetWorkerStatus."""

import asyncio
import secrets
from collections import Counter
from collections.abc import Iterable, Mapping

import grpc

from ottoscaler.orchestrator.kube_api import Kube, pods_path
from ottoscaler.orchestrator.launch import Launch, Patience
from ottoscaler.orchestrator.naming import SELECTOR, digest, label_value
from ottoscaler.orchestrator.orders import (
    Facts,
    InvalidOrder,
    Origin,
    ScaleDown,
    ScaleUp,
    check_count,
    check_facts,
    check_task_id,
)
from ottoscaler.orchestrator.protocol import ottoscaler_pb2 as pb
from ottoscaler.orchestrator.scaling import Removal, Scaler, specs_of
from ottoscaler.orchestrator.service.calls import Context, Refused
from ottoscaler.orchestrator.service.receipts import Receipt, Receipts
from ottoscaler.orchestrator.times import format_time
from ottoscaler.orchestrator.worker import Worker, read_worker
from ottoscaler.runtime.clock import Clock

_PATIENCE = 10.0
"""Seconds that a call waits for a ResourceQuota or an API server, unless its deadline is sooner."""
_SHARE = 0.6
"""Of what is left of the call's deadline; the rest is for the attempts themselves and for the answer."""
_PHASES = ("Pending", "Running", "Succeeded", "Failed")


class ScalingCalls:
    """The three calls, apart from how they are served."""

    def __init__(
        self,
        *,
        kube: Kube,
        namespace: str,
        scaler: Scaler,
        receipts: Receipts,
        most: int,
        clock: Clock,
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._scaler = scaler
        self._receipts = receipts
        self._most = most
        self._clock = clock
        self._ongoing: set[asyncio.Task[pb.ScaleResponse]] = set()

    async def up(self, request: pb.ScaleRequest, context: Context) -> pb.ScaleResponse:
        """Goes on when the caller hangs up: half an order is worse than one that nobody waits for."""
        order = self._read_up(request, context)
        patience = self._patience(context)
        work = asyncio.create_task(self._carry_out(order, patience))
        self._ongoing.add(work)
        work.add_done_callback(self._ongoing.discard)
        return await asyncio.shield(work)

    async def drain(self) -> None:
        """Waits for orders whose callers may have gone."""
        if self._ongoing:
            await asyncio.wait(self._ongoing)

    async def _carry_out(self, order: ScaleUp, patience: float) -> pb.ScaleResponse:
        key = order.origin.request
        if key is None:
            return self._answer_up(order, await self._launch(order, patience))
        async with self._receipts.lock(key):
            receipt = await self._receipts.find(key)
            if receipt is not None:
                return self._answer_repeated(order, receipt)
            launch = await self._launch(order, patience)
            if not launch.refused and not launch.dropped:
                await self._receipts.write(key, Receipt(count=order.count, at=self._clock.time()))
            return self._answer_up(order, launch)

    async def _launch(self, order: ScaleUp, patience: float) -> Launch:
        return await self._scaler.up(order, Patience(attempts=2, quota=patience, passing=patience))

    async def down(self, request: pb.ScaleRequest, context: Context) -> pb.ScaleResponse:
        started = self._clock.time()
        order = ScaleDown(
            task_id=check_task_id(request.task_id),
            keep=check_count(request.worker_count, name="worker_count", least=0, most=2**31 - 1),
            origin=Origin(key="", at=started),
        )
        removal = await self._scaler.down(order, passing=self._patience(context))
        return self._answer_down(order, removal)

    async def status(self, request: pb.WorkerStatusRequest, context: Context) -> pb.WorkerStatusResponse:
        """Asks the API server, so that what another replica did a moment ago counts too."""
        wanted = _phase(request.status_filter)
        if request.task_id:
            check_task_id(request.task_id)
        workers = await self._list(request.task_id)
        chosen = [
            each
            for each in workers
            if (not request.task_id or each.task_id == request.task_id)
            and (not request.worker_pod_name or each.name == request.worker_pod_name)
            and (wanted is None or each.phase == wanted)
        ]
        counts = Counter(each.phase for each in chosen)
        return pb.WorkerStatusResponse(
            total_count=len(chosen),
            running_count=counts["Running"],
            pending_count=counts["Pending"],
            succeeded_count=counts["Succeeded"],
            failed_count=counts["Failed"],
            workers=[
                _status(each) for each in sorted(chosen, key=lambda each: (each.requested_at, each.name))
            ],
        )

    async def _list(self, task_id: str) -> list[Worker]:
        selector = f"{SELECTOR},task-id={label_value(task_id)}" if task_id else SELECTOR
        found = await self._kube.get(pods_path(self._namespace), {"labelSelector": selector})
        return [read_worker(pod) for pod in found.get("items") or ()]

    def _read_up(self, request: pb.ScaleRequest, context: Context) -> ScaleUp:
        task_id = check_task_id(request.task_id)
        facts = Facts(
            repository=request.repository,
            commit_sha=request.commit_sha,
            triggered_by=request.triggered_by,
            reason=request.reason,
            config=dict(request.build_config),
            metadata=dict(request.metadata),
        )
        request_id = _request_id(request.metadata, context.invocation_metadata() or ())
        key = None if request_id is None else digest("request", task_id, request_id)
        return ScaleUp(
            task_id=task_id,
            count=check_count(request.worker_count, name="worker_count", least=1, most=self._most),
            origin=Origin(key=key or secrets.token_hex(16), at=self._clock.time(), request=key),
            facts=check_facts(facts),
        )

    def _patience(self, context: Context) -> float:
        left: float | None = context.time_remaining()
        return _PATIENCE if left is None else max(0.0, min(_PATIENCE, left * _SHARE))

    def _answer_up(self, order: ScaleUp, launch: Launch) -> pb.ScaleResponse:
        task = order.task_id[:80]
        if not launch.names and launch.refused and launch.away:
            raise Refused(
                grpc.StatusCode.UNAVAILABLE,
                "the Kubernetes API cannot be reached now, no worker was created: try again",
            )
        if not launch.created and launch.existing and not launch.refused:
            status, message = (
                pb.ScaleResponse.ALREADY_PROCESSED,
                f"this request was carried out before for task {task}",
            )
        elif not launch.refused and not launch.dropped:
            status, message = (
                pb.ScaleResponse.SUCCESS,
                f"created {_workers(len(launch.names))} for task {task}",
            )
        else:
            status = pb.ScaleResponse.PARTIAL_SUCCESS if launch.names else pb.ScaleResponse.FAILED
            reasons = [f"refused {len(launch.refused)}: {launch.reasons()}"] if launch.refused else []
            if launch.dropped:
                reasons.append(f"{len(launch.dropped)} were overtaken by a ScaleDown")
            message = f"created {len(launch.names)} of {_workers(order.count)} for task {task}; {'; '.join(reasons)}"
        return self._response(order.origin.at, status, message, launch.names)

    def _answer_repeated(self, order: ScaleUp, receipt: Receipt) -> pb.ScaleResponse:
        first = ScaleUp(task_id=order.task_id, count=receipt.count, origin=order.origin, facts=order.facts)
        return self._response(
            order.origin.at,
            pb.ScaleResponse.ALREADY_PROCESSED,
            f"this request was carried out at {format_time(receipt.at)}",
            [spec.name for spec in specs_of(first)],
        )

    def _answer_down(self, order: ScaleDown, removal: Removal) -> pb.ScaleResponse:
        task = order.task_id[:80]
        message = f"removed {_workers(len(removal.removed))} of task {task}"
        status = pb.ScaleResponse.SUCCESS
        if removal.refused:
            status = pb.ScaleResponse.PARTIAL_SUCCESS if removal.removed else pb.ScaleResponse.FAILED
            reason = next(iter(removal.refused.values()))
            message += f"; {len(removal.refused)} could not be removed: {reason[:300]}"
        return self._response(order.origin.at, status, message, removal.removed)

    def _response(
        self, started: float, status: pb.ScaleResponse.Status, message: str, names: Iterable[str]
    ) -> pb.ScaleResponse:
        pods = list(names)
        return pb.ScaleResponse(
            status=status,
            message=message,
            processed_count=len(pods),
            worker_pod_names=pods,
            started_at=format_time(started),
            completed_at=format_time(self._clock.time()),
        )


def _request_id(metadata: Mapping[str, str], headers: Iterable[tuple[str, str | bytes]]) -> str | None:
    """Raises `InvalidOrder`."""
    given = metadata.get("request_id") or dict(headers).get("x-request-id") or None
    if given is None or isinstance(given, bytes):
        return None
    if len(given) > 256:
        raise InvalidOrder(f"request_id has {len(given)} characters: at most 256 are allowed")
    return given


def _phase(text: str) -> str | None:
    if not text:
        return None
    for phase in _PHASES:
        if phase.lower() == text.strip().lower():
            return phase
    raise InvalidOrder(f"status_filter is {text[:40]!r}: use {', '.join(_PHASES)}, or leave it out")


def _status(worker: Worker) -> pb.WorkerPodStatus:
    return pb.WorkerPodStatus(
        pod_name=worker.name,
        task_id=worker.task_id,
        status=worker.phase,
        created_at=format_time(worker.created_at),
        started_at=format_time(worker.started_at),
        completed_at=format_time(worker.finished_at),
        node_name=worker.node,
        pod_ip=worker.ip,
        labels=worker.labels,
        error_message=worker.explain() if worker.phase != "Running" else "",
    )


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"
