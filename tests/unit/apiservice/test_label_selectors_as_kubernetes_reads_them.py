import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottoscaler.apiservice.selector import EVERYTHING
from ottoscaler.apiservice.selector_grammar import LONGEST, SelectorError, parse_selector
from tests.unit.apiservice.vectors import section


def test_texts_are_parsed_matched_printed_and_refused_as_by_apimachinery() -> None:
    sets = section("labels")
    for case in section("selectors"):
        text = case["text"]
        if "\0" in text:
            continue  # ends a word there; refused here, see below
        if error := case.get("error"):
            with pytest.raises(SelectorError) as refused:
                parse_selector(text)
            assert str(refused.value) == error, text
            continue
        selector = parse_selector(text)
        assert str(selector) == case["canonical"], text
        assert [index for index, labels in enumerate(sets) if selector.matches(labels)] == case["matches"], (
            text
        )


_NAMES = st.text(string.ascii_letters + string.digits, min_size=1, max_size=8)
_VALUES = st.one_of(st.just(""), _NAMES)
_REQUIREMENTS = st.one_of(
    _NAMES,
    _NAMES.map("!{}".format),
    st.builds("{}{}{}".format, _NAMES, st.sampled_from(["=", "==", "!="]), _VALUES),
    st.builds(
        "{} {} ({})".format,
        _NAMES,
        st.sampled_from(["in", "notin"]),
        st.lists(_NAMES, min_size=1).map(",".join),
    ),
    st.builds("{}{}{}".format, _NAMES, st.sampled_from(["<", ">"]), st.integers(0, (1 << 63) - 1)),
)


@given(st.lists(_REQUIREMENTS, max_size=6).map(",".join))
def test_the_canonical_text_parses_to_the_same_selector(text: str) -> None:
    selector = parse_selector(text)
    again = parse_selector(str(selector))
    assert again == selector
    assert hash(again) == hash(selector)
    assert str(again) == str(selector)


@given(st.text(max_size=60))
def test_any_text_is_a_selector_or_refused_on_one_line(text: str) -> None:
    try:
        parse_selector(text)
    except SelectorError as error:
        assert str(error).isprintable() or not text.isprintable()


def test_nothing_selects_everything() -> None:
    assert parse_selector("") == EVERYTHING
    assert EVERYTHING.matches({})


@pytest.mark.parametrize(
    ("text", "exact"),
    [
        ("queue=x", "x"),
        ("queue==x", "x"),
        ("queue in (x)", "x"),
        ("queue in (x,y)", None),
        ("queue!=x", None),
        ("a=b", None),
    ],
)
def test_the_one_value_that_a_selector_wants(text: str, exact: str | None) -> None:
    assert parse_selector(text).exact("queue") == exact


def test_a_text_too_long_for_any_url_is_refused_before_it_is_parsed() -> None:
    with pytest.raises(SelectorError, match="longer than"):
        parse_selector("a," * LONGEST)


def test_a_zero_byte_is_refused_rather_than_taken_for_an_end() -> None:
    with pytest.raises(SelectorError, match="zero byte"):
        parse_selector("a\0b")
