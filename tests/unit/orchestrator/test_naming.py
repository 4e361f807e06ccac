"""Any id becomes a valid name and label, and no two ids share one."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottoscaler.orchestrator.naming import digest, label_value, pipeline_pod, run_name, scaling_pod, slug

DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")

ids = st.one_of(st.text(min_size=1, max_size=400), st.text("aA-_.é/ \n", min_size=1, max_size=80))


@given(task=ids, order=st.text(max_size=60), index=st.integers(1, 9999))
def test_a_scaling_pod_has_a_dns_label_as_its_name(task: str, order: str, index: int) -> None:
    name = scaling_pod(task, order, index)
    assert DNS_LABEL.fullmatch(name)
    assert name.startswith("otto-agent-")
    assert name.endswith(f"-{index}")
    assert name == scaling_pod(task, order, index)


@given(pipeline=ids, stage=ids, attempt=st.integers(1, 100), index=st.integers(1, 9999))
def test_a_pipeline_pod_has_a_dns_label_as_its_name(
    pipeline: str, stage: str, attempt: int, index: int
) -> None:
    name = pipeline_pod(pipeline, stage, "uid", attempt, index)
    assert DNS_LABEL.fullmatch(name)
    assert name.startswith("otto-")
    assert name.endswith(f"-{index}")
    assert DNS_LABEL.fullmatch(run_name(pipeline))


@given(one=ids, other=ids)
def test_different_ids_never_share_a_name_or_label(one: str, other: str) -> None:
    if one == other:
        return
    assert label_value(one) != label_value(other)
    assert scaling_pod(one, "o", 1) != scaling_pod(other, "o", 1)
    assert run_name(one) != run_name(other)


@given(ids)
def test_a_label_value_is_valid_and_encoding_it_again_changes_nothing_that_was_one(text: str) -> None:
    value = label_value(text)
    assert LABEL_VALUE.fullmatch(value)
    if LABEL_VALUE.fullmatch(text) and "--" not in text:
        assert value == text, "a valid label stands for itself"


@pytest.mark.parametrize("text", ["Übung 1", "a" * 300, "task/1", "任务", "-", "x y"])
def test_an_encoded_form_that_is_sent_as_an_id_is_another_id(text: str) -> None:
    encoded = label_value(text)
    assert encoded != text
    assert label_value(encoded) != encoded


def test_what_people_know_can_be_recognised() -> None:
    assert scaling_pod("task-123", "o", 2).startswith("otto-agent-task-123-")
    assert label_value("task-123") == "task-123"
    assert label_value("Feature/Größe #7").startswith("feature-groe-7--")
    assert pipeline_pod("ci-7", "build", "uid", 1, 1).startswith("otto-ci-7-build-")


def test_pods_of_two_orders_for_one_task_differ() -> None:
    assert scaling_pod("t", "order 1", 1) != scaling_pod("t", "order 2", 1)
    assert pipeline_pod("p", "s", "uid", 1, 1) != pipeline_pod("p", "s", "uid", 2, 1)


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_a_digest_knows_where_its_parts_end(one: list[str], other: list[str]) -> None:
    assert (digest(*one) == digest(*other)) == (one == other)


def test_a_slug_is_cut_at_no_dash() -> None:
    assert slug("abc-def", 4) == "abc"
    assert slug("ДВА", 10) == ""
