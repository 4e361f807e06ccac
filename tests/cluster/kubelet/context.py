"""What every pod of the node shares."""

from dataclasses import dataclass

from ottoscaler.runtime.kube import KubeClient
from tests.cluster.kubelet.events import Events
from tests.cluster.kubelet.images import Images
from tests.cluster.kubelet.objects import Objects
from tests.cluster.kubelet.probers import Probers
from tests.cluster.kubelet.runtime.client import RuntimeClient
from tests.cluster.kubelet.services import Services
from tests.cluster.kubelet.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeContext:
    """One node's connections and stores; they live as long as the kubelet does."""

    settings: Settings
    api: KubeClient
    runtime: RuntimeClient
    images: Images
    services: Services
    objects: Objects
    events: Events
    probers: Probers
