import re
import string
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottoscaler.apiservice import selector_grammar
from ottoscaler.apiservice.selector import EVERYTHING
from ottoscaler.apiservice.selector_grammar import (
    LONGEST,
    MOST_REQUIREMENTS,
    MOST_VALUES,
    SelectorError,
    parse_selector,
)
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


def test_a_selector_of_many_clauses_or_values_is_read_and_one_of_more_refused() -> None:
    clauses = [f"!k{number}" for number in range(MOST_REQUIREMENTS + 1)]
    assert parse_selector(",".join(clauses[:-1])).size == MOST_REQUIREMENTS
    with pytest.raises(SelectorError, match=r"^the label selector has more than 100 requirements$"):
        parse_selector(",".join(clauses))
    values = [f"v{number}" for number in range(MOST_VALUES + 1)]
    assert parse_selector(f"a in ({','.join(values[:-1])})").size == 1 + MOST_VALUES
    for text in (f"a in ({','.join(values)})", f"a in ({','.join(values[:-1])}),b=c"):
        with pytest.raises(SelectorError, match=r"the label selector has more than 1000 values$"):
            parse_selector(text)


def test_a_zero_byte_is_refused_rather_than_taken_for_an_end() -> None:
    with pytest.raises(SelectorError, match="zero byte"):
        parse_selector("a\0b")


@pytest.mark.parametrize("run", ["!", "(", ",>", "==", "=!", "<"])
def test_a_run_of_symbols_is_looked_at_once_not_again_from_each_symbol(run: str) -> None:
    for size in (LONGEST // 8, LONGEST):
        text = (run * size)[:size]
        found = [literal for _, literal in selector_grammar._scan(text)]
        assert "".join(found) == text
        first = selector_grammar._TOKEN.match(text)
        assert first is not None
        assert first.end() <= 2


def test_a_text_is_read_no_further_than_its_first_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[re.Match[str]] = []

    class Counting:
        @staticmethod
        def finditer(text: str) -> Iterator[re.Match[str]]:
            for match in token.finditer(text):
                read.append(match)
                yield match

    token = selector_grammar._TOKEN
    monkeypatch.setattr(selector_grammar, "_TOKEN", Counting)
    with pytest.raises(SelectorError, match="found '!', expected: identifier"):
        parse_selector("!" * LONGEST)
    assert len(read) <= 4
