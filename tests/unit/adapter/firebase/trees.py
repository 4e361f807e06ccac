"""Random contents of a queue, well-formed and not, and random writes to them."""

from typing import Any

from hypothesis import strategies as st

KEYS = st.sampled_from(["a", "b", "a", "b", "0", "1", "ключ"])
"""Few, so that writes meet."""
FIELDS = st.sampled_from(
    ["status", "assignedPodId", "lastHeartbeat", "createdAt", "inputs", "waitingJobCount", "0", "1"]
)
STATUSES = st.sampled_from(["pending", "processing", "failed", "Failed", ""])
PODS = st.sampled_from(["pod-1", "pod-2", ""])
TIMES = st.sampled_from([1_790_000_000, 1_790_000_000.25, 1_790_000_000_000, 0, -5, 1e30])
STRAYS = st.one_of(st.none(), st.booleans(), TIMES, st.sampled_from(["failed", "x", "\u2028\\\"'\n"]))
DEEP = st.recursive(
    STRAYS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(FIELDS, inner, max_size=3)),
    max_leaves=6,
)


def _historic(name: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A field's value: mostly as it should be, sometimes nested under its own name, sometimes anything."""
    nested = st.builds(
        lambda value, more: {**more, name: value}, values, st.dictionaries(FIELDS, DEEP, max_size=2)
    )
    return st.one_of(values, values, nested, DEEP)


_HELD = st.fixed_dictionaries(
    {
        "status": st.just("processing"),
        "assignedPodId": st.sampled_from(["pod-1", "pod-2"]),
        "lastHeartbeat": st.integers(1_790_000_000, 1_790_000_400),
        "createdAt": st.just(1_790_000_000_000),
    }
)
_ANY_JOB = st.fixed_dictionaries(
    {},
    optional={
        "status": _historic("status", STATUSES),
        "assignedPodId": _historic("assignedPodId", PODS),
        "lastHeartbeat": _historic("lastHeartbeat", TIMES),
        "createdAt": _historic("createdAt", TIMES),
        "inputs": DEEP,
        "waitingJobCount": st.integers(0, 9),
    },
)
JOBS: st.SearchStrategy[Any] = st.one_of(_ANY_JOB, _HELD)
NODES = st.one_of(st.dictionaries(KEYS, st.one_of(JOBS, JOBS, JOBS, STRAYS), max_size=5), STRAYS)

Put = tuple[tuple[str, ...], Any]


def _puts() -> st.SearchStrategy[Put]:
    """A path below the node, and a value that is likely at that depth."""
    return st.one_of(
        st.tuples(st.tuples(), NODES),
        st.tuples(st.tuples(KEYS), st.one_of(JOBS, JOBS, st.none(), STRAYS)),
        st.tuples(st.tuples(KEYS, FIELDS), DEEP),
        st.tuples(st.tuples(KEYS, FIELDS), st.one_of(STATUSES, PODS, TIMES, st.none())),
        st.tuples(st.tuples(KEYS, FIELDS, FIELDS), DEEP),
        st.tuples(FIELDS, STRAYS).flatmap(  # a field of a historic writer set from inside
            lambda pair: st.tuples(st.tuples(KEYS, st.just(pair[0]), st.just(pair[0])), st.just(pair[1]))
        ),
        st.tuples(st.tuples(KEYS, FIELDS, FIELDS, FIELDS), DEEP),
        st.tuples(st.tuples(KEYS, st.just("status")), STATUSES),
        st.tuples(st.tuples(KEYS, st.just("assignedPodId")), PODS),
    )


PUTS = _puts()
PATCHES = st.dictionaries(
    PUTS.filter(lambda put: len(put[0]) > 0).map(lambda put: "/".join(put[0])), DEEP, min_size=1, max_size=3
)
