"""Why a pod or container cannot be started at the moment. Each is shown in the pod's status and retried."""


class CannotStart(Exception):
    """`reason` is the container's waiting reason, `event` that of the warning event."""

    reason = "CreateContainerError"
    event = "Failed"


class ConfigurationProblem(CannotStart):
    """The pod asks for something that does not exist or that its own rules forbid."""

    reason = "CreateContainerConfigError"


class ImageMissing(CannotStart):
    """No such image on this node, and no registry to pull it from."""

    reason = "ErrImagePull"


class ImageNeverPulled(ImageMissing):
    """The image is missing and `imagePullPolicy: Never` forbids to look further."""

    reason = "ErrImageNeverPull"


class VolumeProblem(CannotStart):
    """A volume's source is missing or of a kind that this node does not have."""

    reason = "ContainerCreating"
    event = "FailedMount"


class SandboxProblem(CannotStart):
    """The pod's network could not be made."""

    reason = "ContainerCreating"
    event = "FailedCreatePodSandBox"


class RuntimeProblem(CannotStart):
    """The container runtime refused."""

    reason = "RunContainerError"
