"""What a stream and its groups are, kept beside a real server: a model that knows the truth.

It follows what each command is documented to do (and what the server answered, where the command says how
much it did). Counting is then trivial: walk everything.
"""

from dataclasses import dataclass, field


@dataclass(slots=True)
class Group:
    """A consumer group: the last id it delivered, and who holds what."""

    delivered: int
    pending: dict[int, str] = field(default_factory=dict)


@dataclass(slots=True)
class Stream:
    """Entries by id, ascending, and the groups."""

    entries: list[int] = field(default_factory=list)
    groups: dict[str, Group] = field(default_factory=dict)

    def remove(self, ids: set[int]) -> None:
        self.entries = [entry for entry in self.entries if entry not in ids]

    def trim(self, removed: int) -> None:
        """The oldest `removed` entries are gone."""
        del self.entries[:removed]

    def deliver(self, group: str, consumer: str, count: int, *, keep: bool) -> list[int]:
        """The next entries; `keep` unless it was NOACK."""
        it = self.groups[group]
        given = [entry for entry in self.entries if entry > it.delivered][:count]
        if given:
            it.delivered = given[-1]
            if keep:
                it.pending.update(dict.fromkeys(given, consumer))
        return given

    def claim(self, group: str, consumer: str, ids: list[int], *, force: bool, last: int | None) -> None:
        """XCLAIM: an entry that is gone leaves the pending list (Redis 7)."""
        it = self.groups[group]
        if last is not None:
            it.delivered = max(it.delivered, last)
        present = set(self.entries)
        for entry in ids:
            if entry not in present:
                it.pending.pop(entry, None)
            elif entry in it.pending or force:
                it.pending[entry] = consumer

    def waiting(self, group: str) -> list[int]:
        """What XREADGROUP has yet to hand out."""
        return [entry for entry in self.entries if entry > self.groups[group].delivered]

    def processing(self, group: str) -> dict[int, str]:
        """What consumers hold and can still finish."""
        present = set(self.entries)
        return {entry: who for entry, who in self.groups[group].pending.items() if entry in present}
