"""The variables that existing installations set, read as the document that they stand for.

So one decoder judges both, and an error names the variable where it would name a line.
"""

from collections.abc import Mapping
from typing import Any

from ottoscaler.runtime.config import log_from, mapping, redis_url_from, without_service_links
from ottoscaler.runtime.document import Node

_JOBS_PATH = "requestedJobs/eventstorming_generator"
_DEPLOYMENT = "eventstorming-generator"
_ADDRESSES = {"api": "API_ADDRESS", "http": "HTTP_ADDRESS"}
_REDIS_VARIABLES = ("REDIS_HOST", "REDIS_PORT", "REDIS_STREAM", "REDIS_CONSUMER_GROUP")


def document_from(environ: Mapping[str, str]) -> Node:
    """The document; it has no `queues` when no variable names one.

    `FIREBASE_DATABASE_URL` makes the queue of generator jobs, named like the deployment that works it;
    any of the Redis variables makes the queue `scale-events`. `API_ADDRESS` and `HTTP_ADDRESS` say where
    to listen.
    """
    environ = without_service_links(environ)
    queues: list[Node] = []
    if environ.get("FIREBASE_DATABASE_URL"):
        queues.append(_firebase(environ))
    if any(environ.get(name) for name in _REDIS_VARIABLES):
        queues.append(_redis(environ))
    root: dict[str, Node] = {}
    if queues:
        root["queues"] = Node(queues, "environment")
    for block, variable in _ADDRESSES.items():
        if environ.get(variable):
            root[block] = mapping({"address": _value(environ, variable)}, place=variable)
    log = log_from(environ)
    if log is not None:
        root["log"] = log
    return Node(root, "environment", keys=dict.fromkeys(root, "environment"))


def _firebase(environ: Mapping[str, str]) -> Node:
    block = {
        "databaseURL": _value(environ, "FIREBASE_DATABASE_URL"),
        "path": Node(environ.get("FIREBASE_QUEUE_PATH") or _JOBS_PATH, "FIREBASE_QUEUE_PATH"),
    }
    if environ.get("FIREBASE_SERVICE_ACCOUNT_PATH"):
        block["serviceAccountFile"] = _value(environ, "FIREBASE_SERVICE_ACCOUNT_PATH")
    name = Node(environ.get("AUTO_SCALE_DEPLOYMENT_NAME") or _DEPLOYMENT, "AUTO_SCALE_DEPLOYMENT_NAME")
    namespace = Node(environ.get("AUTO_SCALE_NAMESPACE") or "default", "AUTO_SCALE_NAMESPACE")
    return mapping(
        {
            "name": name,
            "namespaces": Node([namespace], "AUTO_SCALE_NAMESPACE"),
            "firebase": mapping(block, place="FIREBASE_DATABASE_URL"),
        },
        place="FIREBASE_DATABASE_URL",
    )


def _redis(environ: Mapping[str, str]) -> Node:
    block = {
        "url": redis_url_from(environ),
        "stream": Node(environ.get("REDIS_STREAM") or "otto:scale:events", "REDIS_STREAM"),
        "group": Node(environ.get("REDIS_CONSUMER_GROUP") or "ottoscaler", "REDIS_CONSUMER_GROUP"),
    }
    return mapping(
        {"name": Node("scale-events", "environment"), "redis": mapping(block, place="REDIS_HOST")},
        place="REDIS_HOST",
    )


def _value(environ: Mapping[str, str], name: str, value: Any = None) -> Node:
    return Node(environ[name] if value is None else value, name)
