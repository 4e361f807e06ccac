"""What a container sees of its pod."""

from pathlib import Path
from typing import Protocol

from tests.cluster.kubelet.context import NodeContext
from tests.cluster.kubelet.grace import GracePeriod
from tests.cluster.kubelet.objects import ObjectReader
from tests.cluster.kubelet.podobject import PodObject
from tests.cluster.kubelet.volumes import Volumes


class Surroundings(Protocol):
    """The pod around a container; its parts change while the container lives."""

    @property
    def object(self) -> PodObject:
        """The newest version of the pod."""
        ...

    @property
    def address(self) -> str: ...

    @property
    def directory(self) -> Path:
        """The pod's files on the node."""
        ...

    @property
    def volumes(self) -> Volumes: ...

    @property
    def reader(self) -> ObjectReader: ...

    @property
    def context(self) -> NodeContext: ...

    @property
    def ending(self) -> GracePeriod | None:
        """Set once the pod is to end: nothing is started any more."""
        ...

    def changed(self) -> None:
        """The status is to be written again."""
        ...
