"""Child names that sort by the time they were made: what a POST calls its new child."""

import random
import time

_ALPHABET = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
_RANDOM_DIGITS = 12


class PushIds:
    """20 characters: 48 bits of milliseconds, then 72 random bits that count up within a millisecond."""

    def __init__(self) -> None:
        self._millisecond = -1
        self._tail = 0

    def next(self) -> str:
        """The next name, greater than every earlier one."""
        now = max(time.time_ns() // 1_000_000, self._millisecond)
        if now == self._millisecond:
            self._tail += 1
        else:
            self._millisecond = now
            self._tail = random.getrandbits(6 * _RANDOM_DIGITS - 1)
        return _digits(now, 8) + _digits(self._tail, _RANDOM_DIGITS)


def _digits(number: int, count: int) -> str:
    text = ""
    for _ in range(count):
        number, digit = divmod(number, 64)
        text = _ALPHABET[digit] + text
    return text
