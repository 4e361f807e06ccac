"""From the samples of a measurement to what they say of the queue: one number, or a part for each label set.

A part that one query knows and another does not is a failure, as a query without any series is, unless
`missing: empty` says that no series means no jobs.
"""

from collections.abc import Mapping, Sequence

from ottoscaler.adapter.reading import Reading, Series
from ottoscaler.adapter.sources.base import SourceError
from ottoscaler.adapter.sources.prometheus_answer import Labels, Samples, whole
from ottoscaler.adapter.sources.prometheus_settings import PrometheusSettings

_OLDEST = "oldestWaitingSeconds"


def reading_of(queue: str, found: Mapping[str, Samples], settings: PrometheusSettings, at: float) -> Reading:
    """The reading, dated by the moment `at` of the queries. `found` has the answers by the name of their key.

    Raises `SourceError`.
    """
    if settings.keep_labels:
        series = _series(found, settings, at)
        oldest = [part.oldest_waiting_at for part in series if part.oldest_waiting_at is not None]
        return Reading(
            queue=queue,
            measured_at=at,
            waiting=sum(part.waiting for part in series),
            processing=sum(part.processing for part in series),
            oldest_waiting_at=min(oldest, default=None),
            series=series,
        )
    waiting = found["waiting"].jobs()
    return Reading(
        queue=queue,
        measured_at=at,
        waiting=waiting,
        processing=found["processing"].jobs() if "processing" in found else 0,
        oldest_waiting_at=_oldest(found[_OLDEST].values, waiting, at) if _OLDEST in found else None,
    )


def _series(found: Mapping[str, Samples], settings: PrometheusSettings, at: float) -> tuple[Series, ...]:
    by_query = {what: samples.by_labels() for what, samples in found.items() if what != "timestamp"}
    sets = sorted({labels for groups in by_query.values() for labels in groups})
    if len(sets) > settings.max_series:
        raise SourceError(
            f"its queries have {len(sets)} label sets, more than maxSeries {settings.max_series}: "
            "keep fewer labels, or aggregate",
            code="invalid",
        )
    parts = []
    for labels in sets:
        mine = {what: groups.get(labels, []) for what, groups in by_query.items()}
        waiting = whole(mine["waiting"])
        if settings.missing == "error":
            _check_complete(labels, mine, waiting)
        parts.append(
            Series(
                labels=dict(labels),
                waiting=waiting,
                processing=whole(mine.get("processing", ())),
                oldest_waiting_at=_oldest(mine.get(_OLDEST, ()), waiting, at),
            )
        )
    return tuple(parts)


def _check_complete(labels: Labels, mine: Mapping[str, Sequence[float]], waiting: int) -> None:
    for what, values in mine.items():
        if not values and not (what == _OLDEST and not waiting):
            named = ", ".join(f"{name}={value}" for name, value in labels) or "none of the kept labels"
            raise SourceError(f"its {what} query finds no series with {named}", code="missing")


def _oldest(ages: Sequence[float], waiting: int, at: float) -> float | None:
    return at - max(ages) if ages and waiting else None
