"""Everything that a container needs to start, gathered: image, user, environment, mounts, log."""

from pathlib import Path
from typing import Any

from tests.cluster.kubelet import environment, sandbox
from tests.cluster.kubelet.context import NodeContext
from tests.cluster.kubelet.errors import ConfigurationProblem, ImageMissing, ImageNeverPulled
from tests.cluster.kubelet.images import Image
from tests.cluster.kubelet.objects import ObjectReader
from tests.cluster.kubelet.podobject import PodObject
from tests.cluster.kubelet.runtime.protocol import ContainerSpec
from tests.cluster.kubelet.security import identity
from tests.cluster.kubelet.volumes import Volumes

Json = dict[str, Any]


def record_id(pod: PodObject, container: str, attempt: int) -> str:
    """A container's name at the runtime."""
    return f"{pod.uid}-{container}-{attempt}"


def log_file(directory: Path, container: str, attempt: int) -> Path:
    """Where an attempt's output goes; `directory` is the pod's."""
    return directory / "logs" / container / f"{attempt}.log"


def termination_file(directory: Path, container: str) -> Path:
    """What the container finds at its `terminationMessagePath`."""
    return directory / "termination" / container


async def prepare(
    container: Json,
    pod: PodObject,
    *,
    attempt: int,
    directory: Path,
    address: str,
    volumes: Volumes,
    reader: ObjectReader,
    context: NodeContext,
) -> ContainerSpec:
    """What to tell the runtime. Raises `CannotStart`."""
    if container.get("restartPolicy"):
        raise ConfigurationProblem("this node runs no restartable init containers (sidecars)")
    image = _image(container, context)
    user = identity(pod, container, image)
    links = pod.spec.get("enableServiceLinks") is not False
    variables = await environment.build(
        container,
        pod,
        base=sandbox.base_environment(image, user, pod.hostname),
        services=context.services.environment(pod.namespace, links=links),
        reader=reader,
        address=address,
        settings=context.settings,
    )
    name = container["name"]
    termination = termination_file(directory, name)
    termination.parent.mkdir(parents=True, exist_ok=True)
    termination.write_bytes(b"")
    termination.chmod(0o666)
    options = sandbox.options(
        container,
        image=image,
        identity=user,
        variables=variables,
        volumes=volumes,
        etc=directory / "etc",
        hostname=pod.hostname,
        termination_log=termination,
    )
    return ContainerSpec(
        id=record_id(pod, name, attempt),
        pod=pod.uid,
        name=name,
        attempt=attempt,
        options=options,
        command=sandbox.command(container, image, variables),
        identity=user.prefix,
        environment=variables,
        log=str(log_file(directory, name, attempt)),
        host_network=pod.host_network,
    )


def _image(container: Json, context: NodeContext) -> Image:
    try:
        return context.images.find(container["image"])
    except ImageMissing as missing:
        if container.get("imagePullPolicy") == "Never":
            raise ImageNeverPulled(
                f'container image "{container["image"]}" is not present with pull policy of Never'
            ) from missing
        raise
