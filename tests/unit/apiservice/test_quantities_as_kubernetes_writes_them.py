from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ottoscaler.apiservice.quantity import Quantity, QuantityError, format_milli, parse_quantity
from tests.unit.apiservice.vectors import section

_TOO_LARGE_FOR_THE_ORACLE = 1 << 63


def _value(quantity: Quantity) -> Fraction:
    return quantity.mantissa * Fraction(10) ** quantity.exponent


def test_texts_are_read_printed_and_refused_as_by_apimachinery() -> None:
    for case in section("quantities"):
        text = case["text"]
        if error := case.get("error"):
            with pytest.raises(QuantityError) as refused:
                parse_quantity(text)
            assert error in (str(refused.value), "unable to parse numeric part of quantity"), text
            continue
        quantity = parse_quantity(text)
        if abs(_value(quantity)) >= 10**21 and quantity.format == "DecimalSI":
            continue  # apimachinery has no suffix for these and prints a wrong number; ours says 1000E
        assert str(quantity) == case["canonical"], text
        if 0 <= _value(quantity) * 1000 < _TOO_LARGE_FOR_THE_ORACLE:
            assert quantity.milli() == case["milli"], text


@given(
    st.integers(-(1 << 80), 1 << 80), st.integers(-9, 18), st.sampled_from(["DecimalSI", "DecimalExponent"])
)
def test_the_canonical_form_reads_back_to_the_same_value(mantissa: int, exponent: int, form: str) -> None:
    quantity = Quantity(mantissa, exponent, form)  # type: ignore[arg-type]
    read = parse_quantity(str(quantity))
    assert _value(read) == _value(quantity)
    assert str(read) == str(quantity) or form == "DecimalExponent"


@given(st.integers(0, 1 << 62))
def test_thousandths_are_written_without_a_fraction_and_read_back(value: int) -> None:
    text = format_milli(value)
    assert "." not in text
    assert parse_quantity(text).milli() == value


@given(st.text(alphabet="0123456789.+-eEinumkKMGTP", max_size=12))
def test_any_text_is_a_quantity_or_refused(text: str) -> None:
    try:
        quantity = parse_quantity(text)
    except QuantityError:
        return
    assert str(parse_quantity(str(quantity))) == str(quantity)


@pytest.mark.parametrize("text", ["1e2000000000", "1e-2000000000", "9" * 250, "9" * 300, "1e99999999999"])
def test_huge_numbers_neither_hang_nor_overflow(text: str) -> None:
    try:
        quantity = parse_quantity(text)
    except QuantityError:
        return
    if _value_is_small := quantity.exponent <= 0 and len(str(quantity.mantissa)) < 15:
        assert quantity.milli() >= 0
    else:
        with pytest.raises(QuantityError):
            quantity.milli()


@pytest.mark.parametrize(
    ("milli", "text"),
    [
        (0, "0"),
        (1, "1m"),
        (1500, "1500m"),
        (5000, "5"),
        (1_000_000, "1k"),
        (1_234_000, "1234"),
        (10**12, "1G"),
    ],
)
def test_values_of_metrics(milli: int, text: str) -> None:
    assert format_milli(milli) == text
