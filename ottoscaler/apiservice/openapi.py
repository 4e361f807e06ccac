"""The OpenAPI documents, which the aggregator merges into the cluster's and `kubectl explain` reads.

Every metric has a path of its own, because `kubectl explain` finds the schema of a resource by its path.
The types are described here in full rather than by reference to Kubernetes' own, whose definitions the
aggregator would otherwise rename wherever the wording differs by a comma. JSON only: the aggregator's
downloader asks for nothing else, and kubectl gets protobuf from the aggregator.
"""

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec

from ottoscaler import __version__
from ottoscaler.apiservice.discovery import GROUP, GROUP_VERSION, KIND, VERSION, entity_tag
from ottoscaler.apiservice.media_types import OFFERED

V3_PATH = f"/openapi/v3/apis/{GROUP_VERSION}"

_VALUE = "io.k8s.metrics.pkg.apis.external_metrics.v1beta1.ExternalMetricValue"
_LIST = f"{_VALUE}List"
_RESOURCES = "io.ottoscaler.v1.APIResourceList"
_LIST_KIND = {"group": GROUP, "version": VERSION, "kind": KIND}
_INFO = {"title": "Ottoscaler", "version": f"v{__version__}"}

Schema = dict[str, Any]


def v2(metrics: Sequence[str]) -> bytes:
    """`/openapi/v2` (Swagger 2.0)."""
    return _document(
        metrics,
        {"swagger": "2.0", "info": _INFO},
        reference="#/definitions/",
        answers=lambda schema: {"description": "OK", "schema": schema},
        types={"produces": list(OFFERED), "schemes": ["https"]},
        parameter=lambda schema: schema,
        place=lambda schemas: {"definitions": schemas},
    )


def v3(metrics: Sequence[str]) -> bytes:
    """The document of the group version (OpenAPI 3.0)."""
    return _document(
        metrics,
        {"openapi": "3.0.0", "info": _INFO},
        reference="#/components/schemas/",
        answers=lambda schema: {
            "description": "OK",
            "content": {media_type: {"schema": schema} for media_type in OFFERED},
        },
        types={},
        parameter=lambda schema: {"schema": schema},
        place=lambda schemas: {"components": {"schemas": schemas}},
    )


def v3_index(document: bytes) -> bytes:
    """`/openapi/v3`: where the document is; the hash lets clients keep it for ever."""
    query = urlencode({"hash": entity_tag(document).strip('"')})
    return msgspec.json.encode(
        {"paths": {f"apis/{GROUP_VERSION}": {"serverRelativeURL": f"{V3_PATH}?{query}"}}}
    )


def _document(
    metrics: Sequence[str],
    head: Schema,
    *,
    reference: str,
    answers: Callable[[Schema], Schema],
    types: Schema,
    parameter: Callable[[Schema], Schema],
    place: Callable[[Schema], Schema],
) -> bytes:
    """One document; the two versions of OpenAPI differ in where things are put."""

    def operation(identifier: str, description: str, schema: str, **more: Any) -> Schema:
        return {
            "description": description,
            "operationId": identifier,
            "tags": ["externalMetrics_v1beta1"],
            **types,
            "responses": {"200": answers({"$ref": reference + schema})},
            **more,
        }

    parameters = [_parameter("namespace", "path", _NAMESPACE, parameter)]
    selector = _parameter("labelSelector", "query", _SELECTOR, parameter)
    base = f"/apis/{GROUP_VERSION}/"
    paths: Schema = {
        base: {
            "get": operation("getExternalMetricsV1beta1APIResources", "get available resources", _RESOURCES)
        }
    }
    for name in metrics:
        camel = "".join(part.capitalize() for part in name.replace("-", "_").replace(".", "_").split("_"))
        get = operation(
            f"listExternalMetricsV1beta1Namespaced{camel}",
            f"read the external metric {name}",
            _LIST,
            parameters=[selector],
            **{"x-kubernetes-action": "list", "x-kubernetes-group-version-kind": _LIST_KIND},
        )
        paths[f"{base}namespaces/{{namespace}}/{name}"] = {"get": get, "parameters": parameters}
    return msgspec.json.encode({**head, "paths": paths, **place(_schemas(reference))})


_NAMESPACE = "the namespace whose view of the metric is read"
_SELECTOR = "the values to read, by their labels; all when empty"


def _parameter(name: str, where: str, description: str, shape: Callable[[Schema], Schema]) -> Schema:
    described: Schema = {"name": name, "in": where, "description": description, **shape({"type": "string"})}
    return {**described, "required": True} if where == "path" else described


def _text(description: str, **more: Any) -> Schema:
    return {"description": description, "type": "string", **more}


_TYPE_META = {
    "apiVersion": _text("The version of this representation of an object."),
    "kind": _text("The kind of object."),
}


def _schemas(reference: str) -> Schema:
    return {
        _VALUE: {
            "description": "A value of an external metric, identified by the metric's name and a set of labels.",
            "type": "object",
            "required": ["metricName", "metricLabels", "timestamp", "value"],
            "properties": {
                **_TYPE_META,
                "metricName": _text("The name of the metric."),
                "metricLabels": {
                    "description": "The labels that identify this value among those of the metric.",
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                },
                "timestamp": _text("When the value was measured.", format="date-time"),
                "value": _text("The value, a quantity: 5, 1500m, 2k."),
                "window": {
                    "description": "Seconds before the timestamp over which a rate was calculated; absent "
                    "for a value of one moment.",
                    "type": "integer",
                    "format": "int64",
                },
            },
            "x-kubernetes-group-version-kind": [{**_LIST_KIND, "kind": KIND.removesuffix("List")}],
        },
        _LIST: {
            "description": "The values of an external metric that a label selector chose. A "
            "HorizontalPodAutoscaler adds them up.",
            "type": "object",
            "required": ["items"],
            "properties": {
                **_TYPE_META,
                "metadata": {"description": "Empty.", "type": "object"},
                "items": {
                    "description": "The values; at least one.",
                    "type": "array",
                    "items": {"$ref": reference + _VALUE},
                },
            },
            "x-kubernetes-group-version-kind": [_LIST_KIND],
        },
        _RESOURCES: {
            "description": "The metrics that exist.",
            "type": "object",
            "required": ["groupVersion", "resources"],
            "properties": {
                **_TYPE_META,
                "groupVersion": _text("The group and version of the metrics."),
                "resources": {
                    "description": "One resource a metric.",
                    "type": "array",
                    "items": {"type": "object"},
                },
            },
        },
    }
