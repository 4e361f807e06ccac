import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottoscaler.apiservice.request_info import TargetError, attributes, parse_target
from tests.unit.apiservice.vectors import section


def test_verb_and_resource_of_every_kind_of_path() -> None:
    for case in section("requests"):
        if "fieldSelector" in case["target"]:
            continue  # narrows the check to one name there; ignored here, so the wider right is needed
        found = attributes(case["method"], parse_target(case["target"]))
        assert (found.resource is not None) == case["is_resource"], case
        assert (
            found.verb,
            found.path,
            found.resource or "",
            found.group,
            found.version,
            found.namespace,
            found.name,
            found.subresource,
        ) == tuple(
            case[key]
            for key in ("verb", "path", "resource", "group", "version", "namespace", "name", "subresource")
        ), case


@pytest.mark.parametrize("raw", ["/%", "/%zz", "/a%2", "/%ff", "*", "http://host/path", "", "a"])
def test_a_path_that_is_none_is_refused(raw: str) -> None:
    with pytest.raises(TargetError):
        parse_target(raw)


@pytest.mark.parametrize("raw", ["/a?labelSelector=%zz", "/a?x=%", "/a?%f=1", "/a?a=1;b=2", "/a?a=%ff"])
def test_a_broken_query_is_remembered_for_those_who_may_ask(raw: str) -> None:
    target = parse_target(raw)
    assert target.path == "/a"
    assert target.query_error
    assert target.query == {}


def test_queries_are_decoded_as_forms() -> None:
    target = parse_target("/a?labelSelector=a%3Db+&x&y=&x=2&&#fragment")
    assert target.query == {"labelSelector": ("a=b ",), "x": ("", "2"), "y": ("",)}


def test_a_query_of_a_thousand_parameters_is_read_and_a_longer_one_refused() -> None:
    target = parse_target("/a?" + "&".join(["x"] * 1000))
    assert target.query == {"x": ("",) * 1000}
    target = parse_target("/a?" + "&".join(["x"] * 1001))
    assert target.query == {}
    assert target.query_error == "the query has more than 1000 parameters"


@given(st.text(alphabet="/ap?&=%2f+;#é\udc80watchnmespc1.", max_size=40))
def test_any_target_is_read_or_refused(raw: str) -> None:
    try:
        attributes("GET", parse_target(raw))
    except TargetError as error:
        assert str(error)
