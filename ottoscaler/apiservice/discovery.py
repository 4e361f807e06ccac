"""What the server says of itself: groups, versions, resources.

The aggregator polls these, and an answer other than 2xx, or an empty list of resources, takes discovery
down for the whole cluster; so they are built from names alone, when the names change, and never touch a
backend.
"""

import hashlib
import platform
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from ottoscaler import __version__
from ottoscaler.apiservice.media_types import Transform
from ottoscaler.apiservice.response import Document

GROUP = "external.metrics.k8s.io"
VERSION = "v1beta1"
GROUP_VERSION = f"{GROUP}/{VERSION}"
KIND = "ExternalMetricValueList"
VERBS = ("get",)

DISCOVERY_V2 = Transform("apidiscovery.k8s.io", "v2", "APIGroupDiscoveryList")
DISCOVERY_V2BETA1 = Transform("apidiscovery.k8s.io", "v2beta1", "APIGroupDiscoveryList")
AGGREGATED = frozenset([DISCOVERY_V2, DISCOVERY_V2BETA1])

_VERSION = {"groupVersion": GROUP_VERSION, "version": VERSION}
_GROUP = {"name": GROUP, "versions": [_VERSION], "preferredVersion": _VERSION}

GROUP_LIST = Document({"kind": "APIGroupList", "apiVersion": "v1", "groups": [_GROUP]})
GROUP_DOCUMENT = Document({"kind": "APIGroup", "apiVersion": "v1", **_GROUP})

RELEASE = Document(
    {
        "major": __version__.split(".")[0],
        "minor": __version__.split(".")[1],
        "gitVersion": f"v{__version__}",
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": platform.python_implementation(),
        "platform": f"{sys.platform}/{platform.machine()}",
    }
)
"""`/version`, with the keys of k8s.io/apimachinery/pkg/version.Info."""


def root(paths: Sequence[str]) -> Document:
    """`/`: where one can go from here."""
    return Document({"paths": list(paths)})


def resource_list(metrics: Sequence[str]) -> Document:
    """`/apis/<group>/<version>`."""
    resources = [
        {"name": name, "singularName": "", "namespaced": True, "kind": KIND, "verbs": VERBS}
        for name in metrics
    ]
    return Document(
        {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": GROUP_VERSION,
            "resources": resources,
        }
    )


def aggregated(metrics: Sequence[str], form: Transform) -> tuple[Document, str]:
    """`/apis` as the aggregator asks for it, and its entity tag."""
    resources = [
        {
            "resource": name,
            "responseKind": {"group": GROUP, "version": VERSION, "kind": KIND},
            "scope": "Namespaced",
            "singularResource": "",
            "verbs": VERBS,
        }
        for name in metrics
    ]
    content: dict[str, Any] = {
        "kind": form.kind,
        "apiVersion": f"{form.group}/{form.version}",
        "metadata": {},
        "items": [
            {
                "metadata": {"name": GROUP},
                "versions": [{"version": VERSION, "resources": resources, "freshness": "Current"}],
            }
        ],
    }
    tag = entity_tag(msgspec.json.encode(content))
    headers = (("Cache-Control", "public"), ("ETag", tag), ("Vary", "Accept"))
    return Document(content, headers=headers), tag


def entity_tag(content: bytes) -> str:
    """A strong validator for `content`, quoted."""
    return f'"{hashlib.sha256(content).hexdigest().upper()}"'
