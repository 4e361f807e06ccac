"""What goes wrong with Firestore, in words for people; an index that is missing is named, ready to be created."""

from ottoscaler.adapter.reading import FailureCode
from ottoscaler.adapter.sources.base import SourceError
from ottoscaler.adapter.sources.firestore_plan import Index
from ottoscaler.adapter.sources.firestore_settings import FirestoreSettings

_BAD_CREDENTIAL = "Getting metadata from plugin failed"
"""How gRPC says that a token could not be had."""

_MEANINGS: dict[str, tuple[str, FailureCode]] = {
    "UNAVAILABLE": ("Firestore cannot be reached", "unreachable"),
    "DEADLINE_EXCEEDED": ("Firestore does not answer in time", "unreachable"),
    "INTERNAL": ("Firestore failed", "unreachable"),
    "ABORTED": ("Firestore failed", "unreachable"),
    "UNAUTHENTICATED": ("Firestore refused the credential", "unauthorized"),
    "PERMISSION_DENIED": (
        "its credential may not read Firestore: it needs the role Datastore Viewer",
        "forbidden",
    ),
    "NOT_FOUND": ("there is no such project or Firestore database", "missing"),
    "RESOURCE_EXHAUSTED": ("Firestore limits reads for now, or the quota is used up", "limited"),
    "INVALID_ARGUMENT": ("Firestore did not understand the query", "invalid"),
}


def refused(
    status: str, text: str, *, settings: FirestoreSettings, indexes: tuple[Index, ...] = ()
) -> SourceError:
    """A gRPC error; `text` is Firestore's, for the log. `indexes` are those that the query needs."""
    detail = f"{status}: {text}"
    if status == "FAILED_PRECONDITION" and indexes and "index" in text.lower():
        return SourceError(missing_index(settings, indexes), detail=detail, code="missing")
    if _BAD_CREDENTIAL in text:
        return SourceError(
            "its credential was refused: check the service account and its key, and this pod's clock",
            detail=detail,
            code="unauthorized",
        )
    reason, code = _MEANINGS.get(status, (f"Firestore answered {status}", "error"))
    return SourceError(reason, detail=detail, code=code)


def missing_index(settings: FirestoreSettings, indexes: tuple[Index, ...]) -> str:
    """Which index to create, and how."""
    commands = " and ".join(f"`{create_command(settings, index)}`" for index in indexes)
    return f"its collection lacks a composite index: run {commands}"


def create_command(settings: FirestoreSettings, index: Index) -> str:
    """The command that creates a composite index."""
    fields = " ".join(f"--field-config=field-path={field},order=ascending" for field in index)
    project = "" if settings.project is None else f" --project={settings.project}"
    database = "" if settings.database == "(default)" else f" --database={settings.database}"
    return (
        f"gcloud firestore indexes composite create{project}{database} "
        f"--collection-group={settings.group} --query-scope=collection {fields}"
    )
