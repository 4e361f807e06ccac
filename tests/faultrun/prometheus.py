"""The faults of Prometheus as a source: in the network, in answers, of tokens, of what is scraped, and of clocks."""

import asyncio
import random
import re
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from ottoscaler.adapter.config.model import Config, QueueConfig, QueueOptions
from ottoscaler.adapter.sources.prometheus import BACKEND
from ottoscaler.adapter.sources.prometheus_settings import PrometheusSettings
from ottoscaler.runtime.values import Duration
from tests.component.prometheus.server import Scraped, scraping
from tests.faultrun.campaign import configuration
from tests.faultrun.clock import JumpingClock, Span
from tests.faultrun.scene import Sign, Terms
from tests.faultrun.truth import Absent, Counted, TruthLog
from tests.faults.http import HttpFault, HttpProxy
from tests.faults.proxy import Fault, FaultProxy

_INTERVAL = 0.3
_TIMEOUT = 0.6
_MAX_AGE = 5.0
_SCRAPE = 0.5
_SKEW = 5.0
"""What may lie between our clock and Prometheus's without being said."""
_SKEWS = (-7200.0, -60.0, -8.0, -3.0, 3.0, 60.0, 7200.0)
_VALUE = re.compile(rb'("value":\[[0-9.]+,)"([0-9.]+)"')
_NO_SERIES = b'{"status":"success","data":{"resultType":"vector","result":[]}}'


def _valued(text: bytes) -> Callable[[bytes], bytes]:
    return lambda body: _VALUE.sub(rb"\g<1>" + text, body)


_STATUSES = {
    str(status): (status, lambda body: b'{"status":"error"}') for status in (401, 403, 429, 500, 503)
}
_BODIES: Mapping[str, tuple[int, Callable[[bytes], bytes]]] = {
    "truncated JSON": (200, lambda body: body[: len(body) // 2]),
    "garbage answer": (200, lambda body: b"\x00\xff<html>" + body),
    "wrong type": (200, lambda body: _VALUE.sub(rb"\g<1>\g<2>", body)),
    "NaN": (200, _valued(b'"NaN"')),
    "negative": (200, _valued(b'"-1"')),
    "matrix": (200, lambda body: body.replace(b'"vector"', b'"matrix"')),
    "warning": (200, lambda body: body[:-1] + b',"warnings":["part of it is missing"]}'),
    "no series": (200, lambda body: _NO_SERIES),
    "wrong API": (404, lambda body: b"404 page not found"),
}
_ANSWERS = {**_STATUSES, **_BODIES}
_LASTING = ("token expired", "series gone")


class PrometheusScene:
    """Queues that one exporter shows and one Prometheus scrapes, each behind a proxy of its own."""

    def __init__(
        self,
        scraped: Scraped,
        answers: HttpProxy,
        proxies: Mapping[str, FaultProxy],
        tokens: dict[str, str],
        directory: Path,
        rng: random.Random,
    ) -> None:
        self.clock = JumpingClock()
        self.terms = Terms(
            max_age=_MAX_AGE, back_off=_INTERVAL, reading=_TIMEOUT + _SCRAPE, taking=_SCRAPE, skew=_SKEW
        )
        self.common = frozenset({"clock jump"})
        self.truths: Mapping[str, TruthLog] = {name: TruthLog() for name in proxies}
        self._scraped = scraped
        self._answers = answers
        self._proxies = proxies
        self._tokens = tokens
        self._directory = directory
        self._rng = rng
        self._counts: dict[str, Counted | Absent] = {}
        for name in proxies:
            self._token_file(name).write_text(tokens[_mention(name)])
            self._show(name, self._some())

    def config(self) -> Config:
        queues = [
            QueueConfig(
                options=QueueOptions(name=name, max_age=Duration(_MAX_AGE), timeout=Duration(_TIMEOUT)),
                block="prometheus",
                settings=PrometheusSettings(
                    url=f"http://127.0.0.1:{proxy.port}",
                    waiting=f"jobs_waiting{{{_mention(name)}}}",
                    processing=f"jobs_processing{{{_mention(name)}}}",
                    bearer_token_file=self._token_file(name),
                ),
                kind="prometheus",
                interval=_INTERVAL,
            )
            for name, proxy in self._proxies.items()
        ]
        return configuration(queues, prometheus=BACKEND)

    def kinds(self, queue: str) -> Sequence[str]:
        return (*(fault.value for fault in Fault), *_ANSWERS, *_LASTING, "clock jump")

    def sign(self, kind: str) -> Sign:
        return Sign.CLOCK if kind == "clock jump" else Sign.FAILURE

    def spans(self, start: float, end: float) -> Iterator[Span]:
        return self.clock.right_spans(start, end)

    async def write(self, queue: str) -> None:
        if isinstance(self._counts[queue], Counted):
            self._show(queue, self._some())

    async def inflict(self, kind: str, queue: str) -> bool:
        match kind:
            case "clock jump":
                if self.clock.skew:
                    return False
                self.clock.jump(self._rng.choice(_SKEWS))
            case "token expired":
                self._tokens[_mention(queue)] = f"token-{self._rng.randrange(1 << 30)}"
            case "series gone":
                self._show(queue, Absent())
            case _ if kind in _ANSWERS:
                status, spoil = _ANSWERS[kind]
                self._answers.add(HttpFault(mentions=_mention(queue), status=status, spoil=spoil))
            case _:
                await self._proxies[queue].inflict(Fault(kind), after=self._rng.choice((0, 0, 40, 300, 900)))
        return True

    def has_begun(self, kind: str, queue: str) -> bool:
        return kind not in _ANSWERS or not self._answers.waits_for(_mention(queue))

    async def relieve(self, kind: str, queue: str) -> None:
        match kind:
            case "clock jump":
                await asyncio.sleep(self._rng.uniform(0.0, 1.5))
                self.clock.jump(0.0)
            case "token expired":
                self._token_file(queue).write_text(self._tokens[_mention(queue)])
            case "series gone":
                self._show(queue, self._some())
            case _ if kind not in _ANSWERS:
                await self._proxies[queue].heal()

    def _some(self) -> Counted:
        waiting = self._rng.choice((0, self._rng.randrange(1, 50)))
        return Counted(waiting, self._rng.randrange(5) if waiting else self._rng.randrange(1, 5))

    def _show(self, queue: str, counts: Counted | Absent) -> None:
        """On the exporter's page, from now on."""
        self._counts[queue] = counts
        self._scraped.page = "".join(
            f"jobs_waiting{{{_mention(name)}}} {each.waiting}\njobs_processing{{{_mention(name)}}} {each.processing}\n"
            for name, each in self._counts.items()
            if isinstance(each, Counted)
        )
        self.truths[queue].begin(counts, time.monotonic())
        self.truths[queue].done(time.monotonic())

    def _token_file(self, queue: str) -> Path:
        return self._directory / queue


def _mention(queue: str) -> str:
    return f'queue="{queue}"'


@asynccontextmanager
async def prometheus_scene(*, queues: int, seed: int) -> AsyncIterator[PrometheusScene]:
    """An exporter, the real server, a proxy that spoils answers, and one for the network of each queue."""
    rng = random.Random(f"{seed} scene")
    names = [f"q{number}" for number in range(queues)]
    tokens = {_mention(name): f"token of {name}" for name in names}
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="faultrun-")))
        scraped = await stack.enter_async_context(scraping())
        answers = await stack.enter_async_context(HttpProxy(scraped.url, tokens).running())
        proxies = {
            name: await stack.enter_async_context(
                FaultProxy("127.0.0.1", answers.port, seed=rng.randrange(1 << 30))
            )
            for name in names
        }
        scene = PrometheusScene(scraped, answers, proxies, tokens, directory, rng)
        await scraped.knows(f"jobs_waiting{{{_mention(names[-1])}}}")
        yield scene
