"""A look at every queue of a configuration, once, before anything depends on it.

The queues are read as the adapter reads them: same sources, same credentials, same rules. What only a real
backend can tell (a credential's rights, a consumer group, a composite index of Firestore) is found here
rather than by the first HPA that holds its replicas.
"""

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from ottoscaler.adapter.config.model import Config
from ottoscaler.adapter.recorder import own_sources
from ottoscaler.adapter.status import QueueStatus

_LOOK_EVERY = 0.05


async def examine(config: Config, environ: Mapping[str, str], *, within: float) -> Sequence[QueueStatus]:
    """What is known of each queue once all were read or refused, at the latest after `within` seconds."""
    deadline = asyncio.get_running_loop().time() + within
    async with own_sources(config, environ) as sample:
        while True:
            found = await sample()
            silent = [status for status in found if status.measured_at is None and status.error is None]
            if not silent or asyncio.get_running_loop().time() > deadline:
                return [_explained(status, within) for status in found]
            await asyncio.sleep(_LOOK_EVERY)


def is_readable(status: QueueStatus) -> bool:
    """Whether the newest attempt has given a number."""
    return status.measured_at is not None and status.error is None


def _explained(status: QueueStatus, within: float) -> QueueStatus:
    if status.measured_at is None and status.error is None:
        return msgspec.structs.replace(status, error=f"nothing came of its backend in {within:g} s")
    return status
