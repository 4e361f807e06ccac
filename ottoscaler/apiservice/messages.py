"""The messages that the API server answers with: JSON key, protobuf number and type of each field.

Numbers from the `generated.proto` files of k8s.io/apimachinery/pkg/apis/meta/v1, k8s.io/api/apidiscovery
and k8s.io/metrics/pkg/apis/external_metrics/v1beta1. Fields that we never set and that are not written
when empty are left out.
"""

from collections.abc import Mapping
from typing import Any

from ottoscaler.apiservice.protobuf import (
    BOOLEAN,
    INTEGER,
    QUANTITY,
    STRING,
    STRINGS,
    TIME,
    Field,
    Message,
    envelope,
    map_field,
    message,
    message_kind,
)

_LIST_META = message_kind(
    Field(1, "selfLink", STRING), Field(2, "resourceVersion", STRING), Field(3, "continue", STRING)
)

_METRIC_VALUE = message_kind(
    Field(1, "metricName", STRING),
    map_field(2, "metricLabels"),
    Field(3, "timestamp", TIME),
    Field(4, "window", INTEGER, optional=True),
    Field(5, "value", QUANTITY),
)
_METRIC_VALUE_LIST = message(
    Field(1, "metadata", _LIST_META),
    Field(2, "items", _METRIC_VALUE, repeated=True),
)

_STATUS_DETAILS = message_kind(
    Field(1, "name", STRING),
    Field(2, "group", STRING),
    Field(3, "kind", STRING),
    Field(5, "retryAfterSeconds", INTEGER),
    Field(6, "uid", STRING),
)
_STATUS = message(
    Field(1, "metadata", _LIST_META),
    Field(2, "status", STRING),
    Field(3, "message", STRING),
    Field(4, "reason", STRING),
    Field(5, "details", _STATUS_DETAILS, optional=True),
    Field(6, "code", INTEGER),
)

_RESOURCE = message_kind(
    Field(1, "name", STRING),
    Field(2, "namespaced", BOOLEAN),
    Field(3, "kind", STRING),
    Field(4, "verbs", STRINGS),
    Field(6, "singularName", STRING),
    Field(8, "group", STRING),
    Field(9, "version", STRING),
    Field(10, "storageVersionHash", STRING),
)
_RESOURCE_LIST = message(
    Field(1, "groupVersion", STRING),
    Field(2, "resources", _RESOURCE, repeated=True),
)

_GROUP_VERSION = message_kind(Field(1, "groupVersion", STRING), Field(2, "version", STRING))
_GROUP_FIELDS = (
    Field(1, "name", STRING),
    Field(2, "versions", _GROUP_VERSION, repeated=True),
    Field(3, "preferredVersion", _GROUP_VERSION),
)
_GROUP_LIST = message(Field(1, "groups", message_kind(*_GROUP_FIELDS), repeated=True))

_OBJECT_META = message_kind(
    Field(1, "name", STRING),
    Field(2, "generateName", STRING),
    Field(3, "namespace", STRING),
    Field(4, "selfLink", STRING),
    Field(5, "uid", STRING),
    Field(6, "resourceVersion", STRING),
    Field(7, "generation", INTEGER),
    Field(8, "creationTimestamp", TIME),
)
_KIND = message_kind(Field(1, "group", STRING), Field(2, "version", STRING), Field(3, "kind", STRING))
_RESOURCE_DISCOVERY = message_kind(
    Field(1, "resource", STRING),
    Field(2, "responseKind", _KIND, optional=True),
    Field(3, "scope", STRING),
    Field(4, "singularResource", STRING),
    Field(5, "verbs", STRING, repeated=True),
)
_VERSION_DISCOVERY = message_kind(
    Field(1, "version", STRING),
    Field(2, "resources", _RESOURCE_DISCOVERY, repeated=True),
    Field(3, "freshness", STRING),
)
_GROUP_DISCOVERY = message_kind(
    Field(1, "metadata", _OBJECT_META), Field(2, "versions", _VERSION_DISCOVERY, repeated=True)
)
_GROUP_DISCOVERY_LIST = message(
    Field(1, "metadata", _LIST_META),
    Field(2, "items", _GROUP_DISCOVERY, repeated=True),
)

_MESSAGES: Mapping[str, Message] = {
    "ExternalMetricValueList": _METRIC_VALUE_LIST,
    "Status": _STATUS,
    "APIResourceList": _RESOURCE_LIST,
    "APIGroup": message(*_GROUP_FIELDS),
    "APIGroupList": _GROUP_LIST,
    "APIGroupDiscoveryList": _GROUP_DISCOVERY_LIST,
}


def to_protobuf(document: Mapping[str, Any]) -> bytes:
    """`document` (with `apiVersion` and `kind`) as `application/vnd.kubernetes.protobuf`."""
    return envelope(_MESSAGES[document["kind"]], document)
