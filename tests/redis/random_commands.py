"""Random commands on one stream, done to a real server and to the model alike."""

import random
from collections.abc import Callable
from typing import Any

from redis.exceptions import ResponseError

from ottoscaler.adapter.sources.redis.ids import format_id, parse_id
from tests.redis.truth import Group, Stream

GROUPS = ("workers", "audit")
_CONSUMERS = ("pod-a", "pod-b", "pod-c")


class RandomCommands:
    """`step()` does one command and names it. The model is `stream`; None while the key does not exist."""

    def __init__(self, execute: Callable[..., Any], key: str, rng: random.Random) -> None:
        self._execute = execute
        self._key = key
        self._rng = rng
        self._next = 1
        self.stream: Stream | None = None
        self._weighted: list[tuple[int, Callable[[], str]]] = [
            (26, self._add),
            (18, self._read),
            (12, self._ack),
            (6, self._finish),
            (5, self._claim),
            (3, self._autoclaim),
            (9, self._delete),
            (7, self._trim),
            (3, self._set_id),
            (4, self._group_create),
            (3, self._group_set_id),
            (1, self._group_destroy),
            (2, self._delete_consumer),
            (1, self._drop),
        ]

    def step(self) -> str:
        """Does one random command; its name."""
        weights, commands = zip(*self._weighted, strict=True)
        (command,) = self._rng.choices(commands, weights)
        if self.stream is None and command not in {self._add, self._group_create}:
            command = self._add
        return str(command())

    def _run(self, *arguments: Any) -> Any:
        """The answer, or None when the server refused: then the model stays as it is."""
        try:
            return self._execute(*arguments)
        except ResponseError:
            return None

    def _an_id(self) -> int:
        """An id near those in use, existing or not."""
        stream = self.stream
        if stream is not None and stream.entries and self._rng.random() < 0.7:
            return max(0, self._rng.choice(stream.entries) + self._rng.choice((-1, 0, 0, 0, 1)))
        return self._rng.randrange(0, self._next + 3) << 64 | self._rng.randrange(0, 2)

    def _some(self, ids: list[int], most: int) -> list[int]:
        return self._rng.sample(ids, min(len(ids), self._rng.randint(1, most))) if ids else []

    def _a_group(self) -> tuple[str, Group] | None:
        if self.stream is None or not self.stream.groups:
            return None
        return self._rng.choice(sorted(self.stream.groups.items(), key=lambda item: item[0]))

    def _add(self) -> str:
        for _ in range(self._rng.choice((1, 1, 1, 2, 5, 12))):
            self._next += self._rng.randint(1, 3)
            new = self._next << 64 | self._rng.choice((0, 0, 1))
            arguments: list[Any] = ["XADD", self._key]
            keep = self._rng.randint(0, 30) if self._rng.random() < 0.08 else None
            if keep is not None:
                arguments += ["MAXLEN", keep]
            if self._run(*arguments, format_id(new), "task_id", "x" * self._rng.randint(1, 40)) is None:
                continue  # XSETID had moved the last id beyond it
            self.stream = self.stream or Stream()
            self.stream.entries.append(new)
            if keep is not None:
                self.stream.trim(max(0, len(self.stream.entries) - keep))
        return "XADD"

    def _read(self) -> str:
        if (found := self._a_group()) is None or self.stream is None:
            return self._group_create()
        name, _ = found
        consumer, count = self._rng.choice(_CONSUMERS), self._rng.choice((1, 1, 2, 3, 8, 30))
        keep = self._rng.random() > 0.05
        arguments: list[Any] = ["XREADGROUP", "GROUP", name, consumer, "COUNT", count]
        arguments += [] if keep else ["NOACK"]
        answer = self._run(*arguments, "STREAMS", self._key, ">")
        given = [parse_id(entry[0]) for _, entries in answer or [] for entry in entries]
        assert given == self.stream.deliver(name, consumer, count, keep=keep), "the model is wrong"
        return "XREADGROUP"

    def _ack(self) -> str:
        if found := self._a_group():
            name, group = found
            ids = self._some(sorted(group.pending), 4)
            for entry in ids:
                del group.pending[entry]
            if ids:
                self._run("XACK", self._key, name, *map(format_id, ids))
        return "XACK"

    def _finish(self) -> str:
        """XACK and XDEL, as many workers end a job."""
        if (found := self._a_group()) and self.stream is not None:
            name, group = found
            ids = self._some(sorted(group.pending), 3)
            for entry in ids:
                del group.pending[entry]
                self._run("XACK", self._key, name, format_id(entry))
                self._run("XDEL", self._key, format_id(entry))
            self.stream.remove(set(ids))
        return "XACK+XDEL"

    def _claim(self) -> str:
        if (found := self._a_group()) and self.stream is not None:
            name, group = found
            force, last = self._rng.random() < 0.3, self._an_id() if self._rng.random() < 0.15 else None
            ids = self._some(sorted({*group.pending, *(self.stream.entries if force else [])}), 4)
            if ids:
                consumer = self._rng.choice(_CONSUMERS)
                options: list[Any] = ["FORCE"] if force else []
                options += [] if last is None else ["LASTID", format_id(last)]
                options += ["JUSTID"] if self._rng.random() < 0.3 else []
                self._run("XCLAIM", self._key, name, consumer, 0, *map(format_id, ids), *options)
                self.stream.claim(name, consumer, ids, force=force, last=last)
        return "XCLAIM"

    def _autoclaim(self) -> str:
        if (found := self._a_group()) and self.stream is not None:
            name, group = found
            consumer = self._rng.choice(_CONSUMERS)
            answer = self._run(
                "XAUTOCLAIM", self._key, name, consumer, 0, "0-0", "COUNT", self._rng.randint(1, 6), "JUSTID"
            )
            _, claimed, gone = answer
            group.pending.update(dict.fromkeys(map(parse_id, claimed), consumer))
            for entry in map(parse_id, gone):
                assert entry not in self.stream.entries, "the model is wrong"
                del group.pending[entry]
        return "XAUTOCLAIM"

    def _delete(self) -> str:
        if self.stream is not None:
            entries = self.stream.entries
            ids = self._some(entries, 3) if self._rng.random() < 0.7 else entries[-1:]
            if ids:
                self._run("XDEL", self._key, *map(format_id, ids))
                self.stream.remove(set(ids))
        return "XDEL"

    def _trim(self) -> str:
        if self.stream is not None:
            kind = self._rng.choice(("=", "~"))
            if self._rng.random() < 0.5:
                limit: list[Any] = [
                    "MAXLEN",
                    kind,
                    max(0, len(self.stream.entries) - self._rng.randint(0, 8)),
                ]
            else:
                limit = ["MINID", kind, format_id(self._an_id())]
            self.stream.trim(int(self._run("XTRIM", self._key, *limit)))
        return "XTRIM"

    def _set_id(self) -> str:
        """As tools that copy streams use it: the counters it is given are the stream's own."""
        if self.stream is not None:
            top = self.stream.entries[-1] if self.stream.entries else self._an_id()
            new = top + (self._rng.choice((0, 0, 1, 2)) << 64)
            arguments: list[Any] = []
            if self._rng.random() < 0.5:
                info = self._info()
                deleted = parse_id(info[b"max-deleted-entry-id"])
                if self._rng.random() < 0.3 and self._an_id() <= new:
                    deleted = max(deleted, min(self._an_id(), new))
                arguments += ["ENTRIESADDED", info[b"entries-added"]]
                arguments += ["MAXDELETEDID", format_id(deleted)] if deleted <= new else []
            self._run("XSETID", self._key, format_id(new), *arguments)
        return "XSETID"

    def lie(self) -> str:
        """XSETID with a count of added entries that is not true."""
        if self.stream is not None and self.stream.entries:
            new = self.stream.entries[-1] + (self._rng.choice((0, 1)) << 64)
            added = len(self.stream.entries) + self._rng.randint(0, 40)
            self._run("XSETID", self._key, format_id(new), "ENTRIESADDED", added)
        return "XSETID (false)"

    def _group_create(self) -> str:
        name = self._rng.choice(GROUPS)
        start = self._rng.choice(("0", "$", "$", format_id(self._an_id())))
        lie = ["ENTRIESREAD", self._rng.randint(0, 40)] if self._rng.random() < 0.3 else []
        if self.stream is None:
            if self._rng.random() < 0.8:
                return self._add()
            self.stream = Stream()
        last = self._last_id() if start == "$" else parse_id(f"{start}-0".encode()) if start == "0" else None
        delivered = last if last is not None else parse_id(start.encode())
        if self._run("XGROUP", "CREATE", self._key, name, start, "MKSTREAM", *lie) is not None:
            self.stream.groups[name] = Group(delivered)
        return "XGROUP CREATE"

    def _group_set_id(self) -> str:
        if found := self._a_group():
            name, group = found
            start = self._rng.choice(("0-0", "$", format_id(self._an_id())))
            lie = ["ENTRIESREAD", self._rng.randint(0, 40)] if self._rng.random() < 0.3 else []
            delivered = self._last_id() if start == "$" else parse_id(start.encode())
            if self._run("XGROUP", "SETID", self._key, name, start, *lie) is not None:
                group.delivered = delivered
        return "XGROUP SETID"

    def _last_id(self) -> int:
        info = self._info()
        return parse_id(info[b"last-generated-id"]) if info else 0

    def _info(self) -> dict[bytes, Any]:
        flat = self._run("XINFO", "STREAM", self._key) or []
        return dict(zip(flat[::2], flat[1::2], strict=True))

    def _group_destroy(self) -> str:
        if (found := self._a_group()) and self.stream is not None:
            self._run("XGROUP", "DESTROY", self._key, found[0])
            del self.stream.groups[found[0]]
        return "XGROUP DESTROY"

    def _delete_consumer(self) -> str:
        if found := self._a_group():
            name, group = found
            consumer = self._rng.choice(_CONSUMERS)
            self._run("XGROUP", "DELCONSUMER", self._key, name, consumer)
            group.pending = {entry: who for entry, who in group.pending.items() if who != consumer}
        return "XGROUP DELCONSUMER"

    def _drop(self) -> str:
        self._run("DEL", self._key)
        self.stream = None
        if self._rng.random() < 0.5:
            self._next = max(1, self._next - 20)  # its successor may use the same ids again
        return "DEL"
