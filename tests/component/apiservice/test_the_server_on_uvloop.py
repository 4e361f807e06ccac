"""The adapter runs on uvloop, the other tests on asyncio's own loop: the scenarios that touch transports."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from tests.component.apiservice import test_callers_who_misbehave as misbehaviour
from tests.component.apiservice import test_connections_and_their_end as connections

_SCENARIOS: tuple[Callable[[], Coroutine[Any, Any, None]], ...] = (
    connections.test_a_connection_serves_many_requests,
    connections.test_a_request_that_waits_is_not_overtaken,
    connections.test_a_complaint_comes_after_the_answers_that_are_due,
    connections.test_connection_close_is_obeyed,
    connections.test_large_answers_are_compressed_for_those_who_take_gzip,
    connections.test_leaving_is_unready_first_then_finishes_what_was_begun,
    connections.test_a_request_that_never_ends_does_not_keep_the_server,
    connections.test_plain_http_serves_a_machine_without_a_cluster_by_the_same_code,
    misbehaviour.test_a_head_that_trickles_in_is_cut_off_and_others_are_served_meanwhile,
    misbehaviour.test_an_idle_connection_is_closed_without_a_word,
    misbehaviour.test_a_reader_that_takes_nothing_is_cut_off,
    misbehaviour.test_when_connections_run_out_the_one_that_idles_longest_goes,
    misbehaviour.test_a_caller_who_hangs_up_takes_the_review_along,
    misbehaviour.test_what_follows_a_body_is_no_request,
)


@pytest.mark.parametrize("scenario", _SCENARIOS, ids=lambda scenario: scenario.__name__.removeprefix("test_"))
def test_holds(scenario: Callable[[], Coroutine[Any, Any, None]]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


@pytest.mark.parametrize("count", [17, 200])
def test_pipelined_requests_are_answered_in_order(count: int) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(connections.test_pipelined_requests_are_answered_in_order(count))


@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
def test_plain_http_on_the_tls_port_is_told_so(method: str) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(misbehaviour.test_plain_http_on_the_tls_port_is_told_so(method))
