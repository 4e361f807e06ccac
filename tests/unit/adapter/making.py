"""Short ways to say a queue, a reading, and a moment."""

from collections.abc import Mapping
from typing import Any

from ottoscaler.adapter.config.load import from_text
from ottoscaler.adapter.config.model import Config, QueueConfig, QueueOptions
from ottoscaler.adapter.evaluation import Moment
from ottoscaler.adapter.reading import FailureCode, ReadFailure, Reading
from ottoscaler.runtime.values import Duration
from tests.unit.adapter.fake_backend import FakeSettings
from tests.virtual import EPOCH


class HandClock:
    """Both clocks stand still until a test moves them."""

    def __init__(self) -> None:
        self.wall = EPOCH
        self.steady = 1000.0

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return self.steady

    def moment(self) -> Moment:
        return Moment(self.wall, self.steady)

    def advance(self, seconds: float) -> None:
        self.wall += seconds
        self.steady += seconds

    async def sleep(self, seconds: float) -> None:
        self.advance(seconds)


def queue(name: str = "jobs", *, max_age: float = 300, server: str = "one", **options: Any) -> QueueConfig:
    return QueueConfig(
        options=QueueOptions(name=name, max_age=Duration(max_age), **options),
        block="fake",
        settings=FakeSettings(server=server, stream=name),
        kind="fake-queue",
        interval=5.0,
    )


def reading(name: str = "jobs", *, at: float = EPOCH, **fields: Any) -> Reading:
    return Reading(queue=name, measured_at=at, **fields)


def failure(
    name: str = "jobs", *, at: float = EPOCH, reason: str = "refused", code: FailureCode = "unreachable"
) -> ReadFailure:
    return ReadFailure(queue=name, at=at, reason=reason, code=code)


def config(text: str, environ: Mapping[str, str] | None = None) -> Config:
    return from_text(text.encode(), name="config.yaml", environ=environ or {})
