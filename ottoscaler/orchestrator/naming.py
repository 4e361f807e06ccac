"""Names and labels of workers from whatever ids callers send.

Two rules hold for any text: equal ids give equal names, and different ids never give the same one. A
valid label value stands for itself, so people can select by what they know; everything else becomes a
readable part and a digest. A value that happens to look like such a digest form is encoded too, or it
could stand for two ids.
"""

import base64
import hashlib
import re
import unicodedata

MANAGED_BY = {"managed-by": "ottoscaler"}
SELECTOR = "managed-by=ottoscaler"
"""What every worker carries, and people and our watch select by."""

DOMAIN = "ottoscaler.dev"
"""Prefix of our annotations and of the scheduling gate."""

_LABEL = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_ENCODED = re.compile(r".*--[0-9a-v]{26}", re.DOTALL)
_FORBIDDEN_IN_SLUG = re.compile(r"[^a-z0-9]+")
_LABEL_DIGEST = 26
_NAME_DIGEST = 13
"""65 bits: at a million names at once, two meet by chance once in 10^8 installations. It is checked."""


def digest(*parts: str, length: int = _LABEL_DIGEST) -> str:
    """A digest of the sequence of `parts` in `length` characters of 5 bits, legal in any name."""
    whole = hashlib.sha256()
    for part in parts:
        encoded = part.encode(errors="surrogatepass")
        whole.update(b"%d:" % len(encoded))
        whole.update(encoded)
    return base64.b32hexencode(whole.digest()).decode().lower()[:length]


def slug(text: str, limit: int) -> str:
    """What of `text` can stand in a pod's name, for people to recognise it; may be empty."""
    plain = unicodedata.normalize("NFKD", text[:1024]).encode("ascii", "ignore").decode().lower()
    return _FORBIDDEN_IN_SLUG.sub("-", plain).strip("-")[:limit].strip("-")


def label_value(text: str) -> str:
    """`text` itself when it is a valid label value, else a form that only it has."""
    if not text or (_LABEL.fullmatch(text) and not _ENCODED.fullmatch(text)):
        return text
    return f"{slug(text, 35) or 'x'}--{digest(text)}"


def scaling_pod(task_id: str, order_key: str, index: int) -> str:
    """`otto-agent-<task>-<digest>-<index>`: the same order and index always give the same name.

    `order_key` tells orders for one task apart: the event's id, or the request's. At most 63
    characters, so that the pod's hostname is its name.
    """
    key = digest("scaling", task_id, order_key, length=_NAME_DIGEST)
    return "-".join(part for part in ("otto-agent", slug(task_id, 30), key, str(index)) if part)


def pipeline_pod(pipeline_id: str, stage_id: str, run_key: str, attempt: int, index: int) -> str:
    """`otto-<pipeline>-<stage>-<digest>-<index>`; `run_key` tells runs of one pipeline id apart."""
    key = digest("pipeline", pipeline_id, stage_id, run_key, str(attempt), length=_NAME_DIGEST)
    parts = ("otto", slug(pipeline_id, 19), slug(stage_id, 16), key, str(index))
    return "-".join(part for part in parts if part)


def run_name(pipeline_id: str) -> str:
    """The name of the ConfigMap that holds the run of a pipeline."""
    return "-".join(part for part in ("otto-run", slug(pipeline_id, 20), digest(pipeline_id)) if part)
