"""A queue's block: options that all queues share, and one block that only its backend understands."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from ottoscaler.adapter.config.model import DEFAULT_INTERVAL, QueueConfig, QueueOptions
from ottoscaler.adapter.sources import registry
from ottoscaler.adapter.sources.base import Backend, JobState, SeriesRule
from ottoscaler.runtime.decode import INVALID, decode, decode_struct, join
from ottoscaler.runtime.document import Node, Problem
from ottoscaler.runtime.values import format_duration

_OPTION_KEYS = frozenset(field.encode_name for field in msgspec.structs.fields(QueueOptions))


class _Block(NamedTuple):
    name: str
    backend: Backend[Any]
    settings: Any


def decode_queues(
    node: Node, path: str, problems: list[Problem]
) -> tuple[tuple[QueueConfig, ...], Mapping[str, Backend[Any]]]:
    """The queues of the list at `node` and the backends they use; what is wrong goes to `problems`."""
    if not isinstance(node.value, list):
        problems.append(Problem(node.place, path, "expected a list of queues"))
        return (), {}
    backends: dict[str, Backend[Any]] = {}
    queues: list[QueueConfig] = []
    first: dict[str, str] = {}
    for index, item in enumerate(node.value):
        where = f"{path}[{index}]"
        queue = _decode_queue(item, where, problems, backends)
        name = _name_of(item)
        if name is not None:
            if name in first:
                problems.append(
                    Problem(item.place, where, f'a queue named "{name}" exists already ({first[name]})')
                )
            first.setdefault(name, item.place)
        if queue is not None:
            queues.append(queue)
    return tuple(queues), backends


def _name_of(item: Node) -> str | None:
    name = item.value.get("name") if isinstance(item.value, dict) else None
    return name.value if name is not None and isinstance(name.value, str) else None


def _decode_queue(
    node: Node, path: str, problems: list[Problem], backends: dict[str, Backend[Any]]
) -> QueueConfig | None:
    found = _backend_keys(node, path, problems, backends)
    if not isinstance(node.value, dict):
        decode_struct(node, QueueOptions, path, problems)  # says what it is instead
        return None
    all_known = node.value.keys() <= _OPTION_KEYS.union(found)
    handled = found if all_known else registry.blocks()  # which is for the hint at what was meant
    options = decode_struct(node, QueueOptions, path, problems, handled=handled)
    block = _decode_block(node, found, path, problems, backends)
    if options is INVALID or block is None:
        return None
    interval, whose = _interval(options, block)
    known = len(problems)
    if interval >= options.max_age:
        problem = (
            f"maxAge {format_duration(options.max_age)} must be longer than the interval, "
            f"{format_duration(interval)} {whose} for {block.name}"
        )
        problems.append(Problem(node.keys.get("maxAge", node.place), path, problem))
    if options.stalled_after is not None and "stalled" in _uncounted(block):
        kind = block.backend.kind(block.settings)
        problem = f"stalledAfter means nothing for {kind}, which tells of no job when it was last worked on: leave it out"
        problems.append(Problem(node.keys.get("stalledAfter", node.place), path, problem))
    if len(problems) > known:
        return None
    series = _series_rule(block)
    for key in sorted(options.labels.keys() & (series.labels if series is not None else ())):
        problem = f"labels.{key} is a label of its series as well: leave one of them out"
        problems.append(Problem(node.keys.get("labels", node.place), path, problem))
        return None
    return QueueConfig(
        options=options,
        block=block.name,
        settings=block.settings,
        kind=block.backend.kind(block.settings),
        interval=interval,
        series=series,
        uncounted=_uncounted(block),
    )


def _interval(options: QueueOptions, block: _Block) -> tuple[float, str]:
    """The interval that counts, and where it comes from. Backends need not have a rule of their own."""
    least = float(getattr(block.backend, "minimum_interval", 0.0))
    if options.interval is None:
        return max(least, float(getattr(block.backend, "default_interval", DEFAULT_INTERVAL))), "by default"
    return max(least, float(options.interval)), "at least"


def _series_rule(block: _Block) -> SeriesRule | None:
    """Backends that count no parts need not say so."""
    rule: Callable[[Any], SeriesRule | None] = getattr(block.backend, "series", _no_series)
    return rule(block.settings)


def _uncounted(block: _Block) -> frozenset[JobState]:
    """Backends that count every state need not say so."""
    find: Callable[[Any], frozenset[JobState]] = getattr(block.backend, "uncounted", _nothing)
    return find(block.settings)


def _nothing(settings: Any) -> frozenset[JobState]:
    return frozenset()


def _no_series(settings: Any) -> None:
    return None


def _backend_keys(
    node: Node, path: str, problems: list[Problem], backends: dict[str, Backend[Any]]
) -> list[str]:
    """The keys of `node` that are a backend's; those backends are loaded."""
    found: list[str] = []
    for key in node.value if isinstance(node.value, dict) else ():
        if key in _OPTION_KEYS:
            continue
        if key not in backends:
            try:
                backend = registry.load(key)
            except registry.BackendError as error:
                problems.append(Problem(node.keys[key], join(path, key), str(error)))
                found.append(key)
                continue
            if backend is None:
                continue
            backends[key] = backend
        found.append(key)
    return found


def _decode_block(
    node: Node, found: list[str], path: str, problems: list[Problem], backends: Mapping[str, Backend[Any]]
) -> _Block | None:
    if not found:
        known = ", ".join(registry.blocks())
        problems.append(Problem(node.place, path, f"has no backend: add one of {known}"))
        return None
    if len(found) > 1:
        both = " and ".join(found)
        problems.append(Problem(node.keys[found[1]], path, f"has {both}: a queue has one backend"))
    blocks: list[_Block] = []
    for key in found:
        if key in backends:
            settings = decode(node.value[key], backends[key].settings, join(path, key), problems)
            if settings is not INVALID and settings is not None:
                blocks.append(_Block(key, backends[key], settings))
    return blocks[0] if len(found) == len(blocks) == 1 else None
