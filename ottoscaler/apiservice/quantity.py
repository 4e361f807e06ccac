"""Kubernetes quantities: the form in which every value leaves the API, and people write theirs.

The rules are those of k8s.io/apimachinery/pkg/api/resource: at most nine decimal places, finer values
rounded away from zero; printed with the largest suffix that needs no fraction; the suffix family
(`1500m`, `2Ki`, `12e6`) of the text that was parsed is kept. Numbers are integers throughout, never
floats.
"""

import re
from typing import Literal

import msgspec

Format = Literal["DecimalSI", "BinarySI", "DecimalExponent"]

_DECIMAL = {-9: "n", -6: "u", -3: "m", 0: "", 3: "k", 6: "M", 9: "G", 12: "T", 15: "P", 18: "E"}
_BINARY = {10: "Ki", 20: "Mi", 30: "Gi", 40: "Ti", 50: "Pi", 60: "Ei"}
_DECIMAL_SUFFIXES = {suffix: exponent for exponent, suffix in _DECIMAL.items()}
_BINARY_SUFFIXES = {suffix: exponent for exponent, suffix in _BINARY.items()}

_SHAPE = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)", re.ASCII)
_EXPONENT = re.compile(r"[eE]([-+]?[0-9]{1,10})", re.ASCII)
_LONGEST = 256
_SMALLEST = -9
_BINARY_LIMIT = (1 << 63) - 1


class QuantityError(ValueError):
    """A text that is no quantity; the message is apimachinery's own."""


class Quantity(msgspec.Struct, frozen=True):
    """A number and the suffix family it is written in: `mantissa` × 10^`exponent`."""

    mantissa: int
    exponent: int = 0
    format: Format = "DecimalSI"

    def milli(self) -> int:
        """The value in thousandths, finer parts rounded away from zero.

        Raises `QuantityError` above 2^63-1 thousandths, which no reader of the API could hold.
        """
        value = _scaled(self.mantissa, self.exponent, -3)
        if abs(value) > _BINARY_LIMIT:
            raise QuantityError("the quantity is too large")
        return value

    def __str__(self) -> str:
        """The canonical form."""
        if self.mantissa == 0:
            return "0"
        if self.format == "BinarySI" and (text := self._binary()) is not None:
            return text
        return self._decimal()

    def _binary(self) -> str | None:
        """With a power of 1024 as suffix; None where that would lose precision or help nobody."""
        value, rest = divmod(self.mantissa * 10 ** max(self.exponent, 0), 10 ** max(-self.exponent, 0))
        if rest or abs(value) < 1024:
            return None
        power = 0
        while value % 1024 == 0 and power < 60:
            value //= 1024
            power += 10
        return f"{value}{_BINARY.get(power, '')}"

    def _decimal(self) -> str:
        value, exponent = self.mantissa, self.exponent
        while value % 10 == 0:
            value, exponent = value // 10, exponent + 1
        largest = 18 if self.format != "DecimalExponent" else None
        while exponent % 3 or (largest is not None and exponent > largest):
            value, exponent = value * 10, exponent - 1
        if self.format == "DecimalExponent":
            return f"{value}e{exponent}" if exponent else str(value)
        return f"{value}{_DECIMAL[exponent]}"


def parse_quantity(text: str) -> Quantity:
    """The quantity that `text` writes. Raises `QuantityError`."""
    shape = _SHAPE.fullmatch(text) if 0 < len(text) <= _LONGEST else None
    if shape is None:
        raise QuantityError(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        )
    sign, whole, fraction, suffix = shape.groups(default="")
    mantissa = int(f"{whole}{fraction}" or "0")
    if sign == "-":
        mantissa = -mantissa
    exponent = -len(fraction)
    form: Format = "DecimalSI"
    if suffix in _DECIMAL_SUFFIXES:
        exponent += _DECIMAL_SUFFIXES[suffix]
    elif suffix in _BINARY_SUFFIXES:
        form = "BinarySI"
        mantissa <<= _BINARY_SUFFIXES[suffix]
    elif (scientific := _EXPONENT.fullmatch(suffix)) and abs(int(scientific[1])) < 1 << 31:
        form = "DecimalExponent"
        exponent += int(scientific[1])
    else:
        raise QuantityError("unable to parse quantity's suffix")
    return _normal(mantissa, exponent, form)


def format_milli(value: int) -> str:
    """The canonical form of so many thousandths."""
    if value % 1000 == 0 and -1_000_000 < value < 1_000_000:
        return str(value // 1000)  # nearly every count: no suffix is large enough for it
    return str(_normal(value, -3, "DecimalSI"))


def _normal(mantissa: int, exponent: int, form: Format) -> Quantity:
    if mantissa == 0:
        return Quantity(0, 0, form)
    if exponent < _SMALLEST:
        mantissa, exponent = _scaled(mantissa, exponent, _SMALLEST), _SMALLEST
    if form == "BinarySI":
        if mantissa > _BINARY_LIMIT * 10**-exponent:
            return Quantity(_BINARY_LIMIT, 0, form)
        if exponent < 0 < mantissa < 10**-exponent:
            form = "DecimalSI"
    return Quantity(mantissa, exponent, form)


def _scaled(mantissa: int, exponent: int, scale: int) -> int:
    """mantissa × 10^exponent in units of 10^scale, rounded away from zero; capped, not exact, when huge."""
    if mantissa == 0:
        return 0
    shift = exponent - scale
    digits = len(str(abs(mantissa)))
    if shift >= 0:
        return int(mantissa * 10 ** min(shift, 40))
    if -shift > digits:
        return 1 if mantissa > 0 else -1
    divisor: int = 10**-shift
    return -(-mantissa // divisor) if mantissa > 0 else mantissa // divisor
