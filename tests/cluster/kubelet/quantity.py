"""Resource quantities as numbers, as far as a node needs them."""

import math
import re

_PATTERN = re.compile(r"([0-9]*\.?[0-9]+)(m|[kMGTPE]|[KMGTPE]i)?")
_FACTORS = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18} | {
    f"{letter}i": float(1024**power) for power, letter in enumerate("KMGTPE", start=1)
}


def to_number(quantity: str) -> float:
    """`500m` → 0.5, `10Mi` → 10485760. Raises `ValueError`."""
    match = _PATTERN.fullmatch(quantity)
    if match is None:
        raise ValueError(f"not a quantity: {quantity!r}")
    return float(match[1]) * _FACTORS[match[2] or ""]


def divide(quantity: str, divisor: str) -> int:
    """How many `divisor`s make up `quantity`, rounded up: what `resourceFieldRef` gives a container."""
    unit = to_number(divisor)
    return math.ceil(round(to_number(quantity) / (unit or 1.0), 9))
