"""A pod as the API server holds it, with names for the parts that the kubelet asks for."""

from collections.abc import Mapping
from typing import Any

Json = dict[str, Any]


class PodObject:
    """A read-only view of one version of a pod."""

    __slots__ = ("json", "metadata", "spec")

    def __init__(self, json: Json) -> None:
        self.json = json
        self.metadata: Json = json["metadata"]
        self.spec: Json = json["spec"]

    @property
    def uid(self) -> str:
        return str(self.metadata["uid"])

    @property
    def name(self) -> str:
        return str(self.metadata["name"])

    @property
    def namespace(self) -> str:
        return str(self.metadata["namespace"])

    @property
    def key(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def path(self) -> str:
        """Of the object, in the API."""
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.name}"

    @property
    def labels(self) -> Mapping[str, str]:
        return self.metadata.get("labels") or {}

    @property
    def status(self) -> Json:
        return self.json.get("status") or {}

    @property
    def finished(self) -> bool:
        """It reached a phase that it never leaves."""
        return self.status.get("phase") in ("Succeeded", "Failed")

    @property
    def init_containers(self) -> list[Json]:
        return self.spec.get("initContainers") or []

    @property
    def containers(self) -> list[Json]:
        return self.spec["containers"]  # type: ignore[no-any-return]

    @property
    def volumes(self) -> list[Json]:
        return self.spec.get("volumes") or []

    @property
    def restart_policy(self) -> str:
        return str(self.spec.get("restartPolicy", "Always"))

    @property
    def service_account(self) -> str:
        return str(self.spec.get("serviceAccountName") or "default")

    @property
    def host_network(self) -> bool:
        return bool(self.spec.get("hostNetwork"))

    @property
    def hostname(self) -> str:
        """At most 63 characters, as the kernel's and DNS's labels are."""
        return str(self.spec.get("hostname") or self.name)[:63].rstrip("-.")

    @property
    def grace_seconds(self) -> float:
        """For an end that nobody asked for: what the pod itself wants."""
        return float(self.spec.get("terminationGracePeriodSeconds", 30))

    @property
    def deletion_grace(self) -> float | None:
        """Seconds granted by whoever deleted the pod; None while nobody did."""
        if "deletionTimestamp" not in self.metadata:
            return None
        return float(self.metadata.get("deletionGracePeriodSeconds", self.grace_seconds))

    @property
    def security(self) -> Json:
        return self.spec.get("securityContext") or {}
