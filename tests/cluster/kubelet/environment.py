"""A container's environment: the image's, the Services', `envFrom` and `env`, in that order."""

from collections.abc import Mapping
from typing import Any

from tests.cluster.kubelet.data import read_data
from tests.cluster.kubelet.errors import ConfigurationProblem
from tests.cluster.kubelet.fields import expand, field, resource
from tests.cluster.kubelet.objects import Kind, ObjectReader
from tests.cluster.kubelet.podobject import PodObject
from tests.cluster.kubelet.settings import Settings

Json = dict[str, Any]
_FROM: dict[str, Kind] = {"configMapRef": "configmaps", "secretRef": "secrets"}
_KEYS: dict[str, Kind] = {"configMapKeyRef": "configmaps", "secretKeyRef": "secrets"}


async def build(
    container: Json,
    pod: PodObject,
    *,
    base: Mapping[str, str],
    services: Mapping[str, str],
    reader: ObjectReader,
    address: str,
    settings: Settings,
) -> dict[str, str]:
    """The variables by name. Raises `ConfigurationProblem` for what is missing and not optional."""
    variables = {**base, **services}
    for source in container.get("envFrom") or []:
        variables.update(await _whole(source, reader))
    for entry in container.get("env") or []:
        name, source = entry["name"], entry.get("valueFrom")
        if not source:
            variables[name] = expand(entry.get("value") or "", variables)
            continue
        value = await _value(source, container, pod, reader, address, settings)
        if value is not None:
            variables[name] = value
    return variables


async def _whole(source: Json, reader: ObjectReader) -> dict[str, str]:
    prefix = source.get("prefix", "")
    for reference, kind in _FROM.items():
        if found := source.get(reference):
            data = await read_data(reader, kind, found["name"], optional=bool(found.get("optional")))
            return {prefix + key: value.decode(errors="replace") for key, value in data.items()}
    return {}


async def _value(
    source: Json, container: Json, pod: PodObject, reader: ObjectReader, address: str, settings: Settings
) -> str | None:
    """None: an optional reference that leads nowhere leaves the variable out."""
    if reference := source.get("fieldRef"):
        return field(pod, reference["fieldPath"], address=address, node_ip=settings.node_ip)
    if reference := source.get("resourceFieldRef"):
        return resource(pod, reference, container, capacity=settings.capacity)
    for word, kind in _KEYS.items():
        if reference := source.get(word):
            optional = bool(reference.get("optional"))
            data = await read_data(reader, kind, reference["name"], optional=optional)
            value = data.get(reference["key"])
            if value is None and not optional:
                raise ConfigurationProblem(
                    f"couldn't find key {reference['key']} in {kind[:-1]} {pod.namespace}/{reference['name']}"
                )
            return None if value is None else value.decode(errors="replace")
    raise ConfigurationProblem(f"unsupported valueFrom: {', '.join(source)}")
