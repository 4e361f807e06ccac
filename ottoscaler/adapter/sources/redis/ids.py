"""Stream entry ids as numbers.

An id `milliseconds-sequence` is two 64-bit numbers; as one integer it compares, and its neighbour is one
away.
"""

_HALF = (1 << 64) - 1


def parse_id(text: bytes) -> int:
    """The number of an id as the server writes it. Raises `ValueError` when it is none."""
    milliseconds, _, sequence = text.partition(b"-")
    if not milliseconds.isdigit() or not sequence.isdigit():
        raise ValueError("not the id of a stream entry")
    high, low = int(milliseconds), int(sequence)
    if high > _HALF or low > _HALF:
        raise ValueError("not the id of a stream entry")
    return high << 64 | low


def format_id(number: int) -> str:
    """The id as commands take it."""
    return f"{number >> 64}-{number & _HALF}"


def seconds_of(number: int) -> float:
    """When the entry was added, seconds since the epoch, by the id's first half (the server's clock, unless
    the producer chose its ids itself)."""
    return (number >> 64) / 1000.0
