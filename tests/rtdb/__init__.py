"""A Realtime Database that speaks the documented REST protocol, because no real one can be had in a test.

A request comes in through `handlers` (or, as an event stream, `streaming`), is judged by `access`, reads or
writes a `Database`, and leaves as JSON; every write travels on to the listeners of `events`. `faults` makes
any of it fail on purpose. What is documented is served as documented; what is not (priorities, rules beyond
`.read`, `.write` and `.indexOn` as constants) is left out rather than guessed.

    python -m tests.rtdb 9000
"""

from tests.rtdb.database import Database
from tests.rtdb.faults import Fault, Faults
from tests.rtdb.server import RtdbServer

__all__ = ["Database", "Fault", "Faults", "RtdbServer"]
