"""Stream entry ids as numbers.

An id `milliseconds-sequence` is two 64-bit numbers; as one integer it compares, and its neighbour is one
away.
"""

_SEQUENCE_BITS = 64
_SEQUENCE_MASK = (1 << _SEQUENCE_BITS) - 1
_LARGEST = (1 << 2 * _SEQUENCE_BITS) - 1


def parse_id(text: bytes) -> int:
    """The number of an id as the server writes it. Raises `ValueError` when it is none."""
    milliseconds, separator, sequence = text.partition(b"-")
    if not separator or not milliseconds.isdigit() or not sequence.isdigit():
        raise ValueError("not the id of a stream entry")
    number = int(milliseconds) << _SEQUENCE_BITS | int(sequence)
    if number > _LARGEST or int(sequence) > _SEQUENCE_MASK:
        raise ValueError("not the id of a stream entry")
    return number


def format_id(number: int) -> str:
    """The id as commands take it."""
    return f"{number >> _SEQUENCE_BITS}-{number & _SEQUENCE_MASK}"


def seconds_of(number: int) -> float:
    """When the entry was added, seconds since the epoch, by the id's first half (the server's clock, unless
    the producer chose its ids itself)."""
    return (number >> _SEQUENCE_BITS) / 1000.0
