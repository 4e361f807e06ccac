"""Kubernetes objects by path, where absence is an answer and not an error."""

from collections.abc import Mapping
from typing import Any

from ottoscaler.runtime.kube import KubeClient, KubeError


async def find(client: KubeClient, path: str) -> dict[str, Any] | None:
    """The object at `path`; None when there is none."""
    try:
        found: dict[str, Any] = await client.get(path)
    except KubeError as error:
        if error.status == 404:
            return None
        raise
    return found


async def put(
    client: KubeClient, collection: str, wanted: dict[str, Any], found: Mapping[str, Any] | None
) -> None:
    """Creates `wanted`, or brings the `found` object to it without touching what we do not set.

    Raises `KubeError` 409 when it changed since it was found.
    """
    if found is None:
        await client.create(collection, wanted)
        return
    version = {"resourceVersion": found["metadata"]["resourceVersion"]}
    await client.patch(
        f"{collection}/{wanted['metadata']['name']}",
        {**wanted, "metadata": {**wanted["metadata"], **version}},
    )


async def remove(client: KubeClient, path: str, body: Any = None) -> None:
    """Deletes the object at `path`, if there is one; `body` is a DeleteOptions."""
    try:
        await client.delete(path, body)
    except KubeError as error:
        if error.status != 404:
            raise
