"""Writes `charts/ottoscaler/values.schema.json`, so that Helm refuses what the processes would refuse.

The chart's own values are described here; the blocks `config` and `orchestrator.config` are generated
from the types of the adapter and of the orchestrator.

    python scripts/chart_schema.py [--check]
"""

import json
import sys
from pathlib import Path
from typing import Any

from ottoscaler.adapter.config.schema import schema
from ottoscaler.hpa.manifest import POSITIVE_QUANTITY
from ottoscaler.orchestrator.config.model import Root
from ottoscaler.runtime.schema import DIALECT, struct_schema

TARGET = Path(__file__).parents[1] / "charts" / "ottoscaler" / "values.schema.json"

ANY_OBJECT: dict[str, Any] = {"type": "object"}
OBJECTS: dict[str, Any] = {"type": "array", "items": ANY_OBJECT}
TEXT: dict[str, Any] = {"type": "string"}
NAME: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": 253}


def strict(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    """An object with these keys and no other."""
    made: dict[str, Any] = {"type": "object", "additionalProperties": False, "properties": properties}
    return made | ({"required": list(required)} if required else {})


def _rules() -> dict[str, Any]:
    policy = strict(
        {
            "type": {"enum": ["Pods", "Percent"]},
            "value": {"type": "integer", "minimum": 1},
            "periodSeconds": {"type": "integer", "minimum": 1, "maximum": 1800},
        },
        *("type", "value", "periodSeconds"),
    )
    return strict(
        {
            "stabilizationWindowSeconds": {"type": "integer", "minimum": 0, "maximum": 3600},
            "policies": {"type": "array", "minItems": 1, "items": policy},
            "selectPolicy": {"enum": ["Max", "Min", "Disabled"]},
            "tolerance": {"type": ["string", "number"]},
        }
    )


def _hpa() -> dict[str, Any]:
    return strict(
        {
            "name": NAME,
            "namespace": NAME,
            "queue": NAME,
            "metric": NAME,
            "jobsPerPod": {"type": ["string", "integer"], "minimum": 1, "pattern": POSITIVE_QUANTITY},
            "minReplicas": {"type": "integer", "minimum": 1},
            "maxReplicas": {"type": "integer", "minimum": 1},
            "target": strict({"name": NAME, "kind": NAME, "apiVersion": NAME}, "name"),
            "selector": {"type": "object", "additionalProperties": TEXT},
            "behavior": strict({"scaleUp": _rules(), "scaleDown": _rules()}),
        },
        "target",
    )


def _orchestrator() -> dict[str, Any]:
    return strict(
        {
            "enabled": {"type": "boolean"},
            "config": struct_schema(Root),
            "redisPasswordSecret": strict({"name": TEXT, "key": NAME}),
            "tls": strict({"secretName": TEXT, "clientCA": {"type": "boolean"}}),
            "env": OBJECTS,
            "volumeMounts": OBJECTS,
            "resources": ANY_OBJECT,
            "terminationGracePeriodSeconds": {"type": "integer", "minimum": 1},
        }
    )


def values_schema() -> dict[str, Any]:
    """The schema of the chart's values."""
    config = {key: value for key, value in schema().items() if key not in ("$schema", "title")}
    values = strict(
        {
            "replicas": {"type": "integer", "minimum": 1},
            "image": strict(
                {
                    "repository": NAME,
                    "tag": TEXT,
                    "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
                }
            ),
            "imagePullSecrets": OBJECTS,
            "config": config,
            "env": OBJECTS,
            "volumes": OBJECTS,
            "volumeMounts": OBJECTS,
            "certificate": strict(
                {
                    "mode": {"enum": ["own", "certManager", "secret"]},
                    "secretName": TEXT,
                    "caBundle": TEXT,
                    "issuerRef": ANY_OBJECT,
                }
            ),
            "apiService": strict({"create": {"type": "boolean"}}),
            "hpaController": strict({"serviceAccount": NAME, "namespace": NAME}),
            "hpas": {"type": "array", "items": _hpa()},
            "log": strict(
                {
                    "level": {"enum": ["debug", "info", "warning", "error"]},
                    "format": {"enum": ["text", "json"]},
                }
            ),
            "resources": ANY_OBJECT,
            "orchestrator": _orchestrator(),
            "podAnnotations": {"type": "object", "additionalProperties": TEXT},
            "nodeSelector": {"type": "object", "additionalProperties": TEXT},
            "tolerations": OBJECTS,
            "affinity": ANY_OBJECT,
            "priorityClassName": TEXT,
            "global": ANY_OBJECT,
        }
    )
    return {"$schema": DIALECT, "title": "Values of the Ottoscaler chart", **values}


def main(arguments: list[str]) -> int:
    """Writes the file, or with `--check` says whether it is what would be written."""
    text = json.dumps(values_schema(), indent=2) + "\n"
    if "--check" not in arguments:
        TARGET.write_text(text)
        return 0
    if TARGET.read_text() == text:
        return 0
    print(f"{TARGET.name} is out of date: run `make chart-schema`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
