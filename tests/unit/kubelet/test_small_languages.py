"""References in commands, quantities, image names and the node's own settings."""

import pytest

from tests.cluster.kubelet.fields import expand
from tests.cluster.kubelet.images import canonical
from tests.cluster.kubelet.quantity import divide, to_number
from tests.cluster.kubelet.settings import Settings, SettingsError

ARGUMENTS = ["/tmp/c", "node-1", "172.30.0.1", "10.244.0.1"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$(A)-$(B)", "1-$(B)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(A", "$(A"),
        ("$A $", "$A $"),
        ("$(A)$(A)", "11"),
        ("$(X.Y-Z)", "2"),
    ],
)
def test_references_are_expanded_as_kubernetes_does(text: str, expected: str) -> None:
    assert expand(text, {"A": "1", "X.Y-Z": "2"}) == expected


@pytest.mark.parametrize(
    ("quantity", "number"),
    [("1", 1), ("500m", 0.5), ("1.5", 1.5), ("10Mi", 10 << 20), ("2k", 2000), ("1Ti", 1 << 40)],
)
def test_quantities(quantity: str, number: float) -> None:
    assert to_number(quantity) == number


@pytest.mark.parametrize("quantity", ["", "x", "1 Mi", "-1", "1Q"])
def test_what_is_no_quantity(quantity: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        to_number(quantity)


@pytest.mark.parametrize(
    ("quantity", "divisor", "expected"),
    [("250m", "1m", 250), ("250m", "1", 1), ("128Mi", "1Mi", 128), ("1", "0", 1), ("100Mi", "1Gi", 1)],
)
def test_a_resource_is_told_in_its_divisor_rounded_up(quantity: str, divisor: str, expected: int) -> None:
    assert divide(quantity, divisor) == expected


@pytest.mark.parametrize(
    "name",
    [
        "busybox",
        "busybox:latest",
        "docker.io/busybox",
        "docker.io/library/busybox:latest",
        "busybox@sha256:00",
    ],
)
def test_an_image_has_many_names(name: str) -> None:
    assert canonical(name) == "busybox:latest"


def test_a_registry_with_a_port_is_no_tag() -> None:
    assert canonical("localhost:5000/app") == "localhost:5000/app:latest"


def test_a_node_has_room_for_500_workers_unless_told_otherwise() -> None:
    settings = Settings.read(ARGUMENTS, {})
    assert int(settings.capacity["pods"]) >= 600
    assert settings.pod_cidr == "10.244.0.0/20"
    told = Settings.read(ARGUMENTS, {"KUBELET_MAX_PODS": "5", "KUBELET_LOG_MAX_SIZE": "1Mi"})
    assert (told.capacity["pods"], told.log_max_bytes) == ("5", 1 << 20)


@pytest.mark.parametrize(
    ("arguments", "environ", "message"),
    [
        (["x"], {}, "usage"),
        (ARGUMENTS, {"KUBELET_BACKOFF_SECONDS": "soon"}, "KUBELET_BACKOFF_SECONDS: 'soon'"),
    ],
)
def test_bad_settings_are_named(arguments: list[str], environ: dict[str, str], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings.read(arguments, environ)
