"""Who a container's process is: user, groups and capabilities out of its security context."""

from dataclasses import dataclass
from typing import Any

from tests.cluster.kubelet.errors import ConfigurationProblem
from tests.cluster.kubelet.images import Image
from tests.cluster.kubelet.podobject import PodObject

Json = dict[str, Any]

DEFAULT_CAPABILITIES = frozenset(
    {"AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD"}
    | {"NET_BIND_SERVICE", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"}
)
"""What Docker and containerd leave to root."""
_TO_CHANGE_USER = frozenset({"SETUID", "SETGID", "SETPCAP"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """`capabilities` are those of root; another user has none, as in a real container."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    capabilities: frozenset[str]
    read_only_root: bool

    @property
    def sandbox_capabilities(self) -> frozenset[str]:
        """What bubblewrap must leave, so that the process can become the user."""
        return self.capabilities if self.uid == 0 and self.gid == 0 else self.capabilities | _TO_CHANGE_USER

    @property
    def prefix(self) -> list[str]:
        """The command that becomes this user and executes what follows; empty for root."""
        if self.uid == 0 and self.gid == 0:
            return []
        groups = f"--groups={','.join(map(str, self.groups))}" if self.groups else "--clear-groups"
        user = ["/usr/bin/setpriv", f"--reuid={self.uid}", f"--regid={self.gid}", groups]
        return [*user, "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"]


def identity(pod: PodObject, container: Json, image: Image) -> Identity:
    """Container over pod over image. Raises `ConfigurationProblem` when `runAsNonRoot` is not met."""
    context = {**pod.security, **(container.get("securityContext") or {})}
    uid = context.get("runAsUser", image.uid) or 0
    gid = context.get("runAsGroup")
    if gid is None:
        gid = image.gid if image.gid is not None and "runAsUser" not in context else 0
    if context.get("runAsNonRoot") and uid == 0:
        raise ConfigurationProblem("container has runAsNonRoot and image will run as root")
    groups = [*pod.security.get("supplementalGroups", ()), pod.security.get("fsGroup")]
    changes = context.get("capabilities") or {}
    return Identity(
        uid=uid,
        gid=gid,
        groups=tuple(group for group in groups if group is not None),
        capabilities=_capabilities(changes.get("add") or (), changes.get("drop") or ()),
        read_only_root=bool(context.get("readOnlyRootFilesystem")),
    )


def _capabilities(add: list[str] | tuple[str, ...], drop: list[str] | tuple[str, ...]) -> frozenset[str]:
    dropped = {name.upper().removeprefix("CAP_") for name in drop}
    kept = frozenset() if "ALL" in dropped else DEFAULT_CAPABILITIES - dropped
    return kept | {name.upper().removeprefix("CAP_") for name in add if name.upper() != "ALL"}
