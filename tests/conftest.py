"""Coroutine tests run in a fresh event loop each, in real or in virtual time.

`async def test_…` needs no marker. With `@pytest.mark.looptime` the loop's clock jumps to the next
timer whenever nothing else is ready, so hours pass in milliseconds.
"""

import asyncio
import inspect
import signal
from typing import Any

import looptime
import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says something of the machine, and nothing of the code.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

# Who runs this in the background of a shell ignores SIGINT, and so would the commands that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

_TO_END_SECONDS = 10.0


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "looptime: run the coroutine in virtual time")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs a coroutine test; a task it left behind is an error.

    A library's own task (grpc's, after a cancelled call) may need a moment to end.
    """
    test = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test):
        return None
    arguments = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    virtual = pyfuncitem.get_closest_marker("looptime") is not None

    async def run() -> None:
        before = asyncio.all_tasks()
        await test(**arguments)
        left = asyncio.all_tasks() - before
        if left:
            _, left = await asyncio.wait(left, timeout=_TO_END_SECONDS)
        assert not left, f"tasks left behind: {left}"

    factory: Any = looptime.new_event_loop if virtual else asyncio.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(run())
    return True
